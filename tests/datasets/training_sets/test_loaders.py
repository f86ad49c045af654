"""Each training set's loader, on a few records in its publisher's format."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toolgen.datasets.training_sets import (
    api_bank,
    catalogs,
    dialogues,
    function_sets,
    hammerbench,
    intents,
    sequences,
    star,
)
from toolgen.datasets.training_sets.conversation import Conversation
from toolgen.datasets.training_sets.reading import LoadedSet

Write = Callable[..., Path]


def calls(conversation: Conversation) -> list[tuple[str, Any]]:
    return [(action.tool, dict(action.arguments)) for action in conversation.actions]


def endings(conversation: Conversation) -> list[str]:
    return [turn.ending for turn in conversation.turns]


def reasons(loaded: LoadedSet) -> list[str]:
    return [loss.reason for loss in loaded.report.losses]


# --- function-calling records -----------------------------------------------------------------------------------------


def test_xlam_gives_a_request_with_calls_and_candidates(write: Write) -> None:
    tools = [
        {"name": "sum", "description": "Adds.", "parameters": {"a": {"type": "int"}, "b": {"type": "int, optional"}}},
        {"name": "rain", "description": "Rain.", "parameters": {}},
    ]
    answer = {"role": "assistant", "tool_calls": [{"name": "sum", "arguments": {"a": "1"}}]}
    record = {"id": "x-1", "messages": [{"role": "user", "content": "1 + 0?"}, answer], "tools": tools}
    silent = {**record, "messages": [record["messages"][0], {"role": "assistant", "tool_calls": []}]}

    loaded = function_sets.load_xlam(write("messages", record, silent))

    (one,) = loaded.conversations
    assert [tool.name for tool in one.tools] == ["sum", "rain"]
    assert calls(one) == [("sum", {"a": 1})]
    assert reasons(loaded) == ["it calls nothing"]


GLAIVE_TOOLS = json.dumps([{"type": "function", "function": {"name": "rate", "description": "", "parameters": {}}}])


def test_glaive_gives_conversations_with_results_questions_and_declines(write: Write) -> None:
    def message(role: str, content: str) -> dict[str, str]:
        return {"role": role, "content": content}

    talk = [
        message("user", "What is the rate?"),
        message("assistant", "Of which currency?"),
        message("user", "The euro's."),
        message("tool_call", '{"name": "rate", "arguments": "{\\"of\\": \\"EUR\\"}"}'),
        message("tool_response", '{"rate": 2}'),
        message("assistant", "It is 2."),
        message("user", "Book a flight."),
        message("assistant", "I'm sorry, but I don't have the ability to book flights."),
    ]
    write("glaive-1000", {"messages": talk, "tools": GLAIVE_TOOLS}, {"messages": talk})
    demo = [{"from": "human", "value": "Rate?"}, {"from": "gpt", "value": "2."}]
    folder = write("llamafactory_glaive_toolcall_en_demo", {"conversations": demo, "tools": GLAIVE_TOOLS})

    loaded = function_sets.load_glaive(folder)

    first, second = loaded.conversations
    assert calls(first) == [("rate", {"of": "EUR"})]
    assert first.actions[0].result == '{"rate": 2}'
    assert endings(first) == ["asked", "answered", "declined"]
    assert endings(second) == ["answered"]
    assert reasons(loaded) == ["it offers no tool: small talk or knowledge alone"]


def test_toolrl_reads_the_tools_of_the_instruction_and_the_calls_after_the_thought(write: Write) -> None:
    instruction = 'Tools:\n1. Name: Find It\nDescription: Finds.\nParameters: {"q": {"type": "str"}}\n\n**Steps**'
    record = {
        "instruction": instruction,
        "input": "**History**\n<user> Find x and y </user>",
        "output": "<think> a <tool_call> is enough </think>\n<tool_call>\n"
        '{"name": "Find It", "parameters": {"q": "x"}}\n{"name": "Find It", "parameters": {"q": "y"}}\n</tool_call>',
    }

    loaded = function_sets.load_toolrl(write("rlla_sft", record, {**record, "instruction": "none"}))

    (one,) = loaded.conversations
    assert calls(one) == [("Find It", {"q": "x"}), ("Find It", {"q": "y"})]
    assert len(one.turns[0].steps) == 1
    assert reasons(loaded) == ["its instruction lists no tool"]


# --- HammerBench ------------------------------------------------------------------------------------------------------

REPORT, PLAY = "Car.Accidents.report", "Music.play"


def hammer(kind: str, tools: list[str], *messages: tuple[str, Any]) -> dict[str, Any]:
    return {
        "type": kind,
        "messages": [{"role": role, "content": content} for role, content in messages],
        "tools": tools,
    }


def call(name: str, **arguments: str) -> tuple[str, Any]:
    return "function call", {"name": name, "arguments": arguments}


def test_hammerbench_asks_for_what_is_missing_and_declines_what_is_not_offered(write: Write) -> None:
    properties = {"place": {"type": "string", "description": "Where"}, "plate": {"type": "string"}}
    schema = {"type": "object", "properties": properties, "required": ["place", "plate"]}
    write("tools", *({"name": name, "description": "It.", "parameters": schema} for name in (REPORT, PLAY)))
    slots = hammer(
        "HammerBench_Based",
        [REPORT, PLAY],
        ("user", "An accident!"),
        call(REPORT),
        ("assistant", "Where?"),
        ("user", "In Rome."),
        call(REPORT, place="Rome"),
    )
    shift = hammer(
        "HammerBench_IS",
        [REPORT],
        ("user", "An accident!"),
        call(REPORT),
        ("assistant", "Where?"),
        ("user", "Oh no, play a song"),
        ("assistant", "Sorry, no tool is suitable for your request."),
    )
    absent = hammer("ir_ST_Perfect", [PLAY], ("user", "An accident in Rome!"), call(REPORT, place="Rome"))
    vague = hammer("ST_Imperfect", [REPORT], ("user", "An accident!"), call(REPORT))
    folder = write("en", slots, shift, absent, vague, hammer("ST", [REPORT], ("user", "Hm")))

    loaded = hammerbench.load(folder)

    assert [endings(one) for one in loaded.conversations] == (
        [["asked", "answered"], ["asked", "declined"], ["declined"], ["answered"]]
    )
    slots_read, _, _, vague_read = loaded.conversations
    assert calls(slots_read) == [("Car.Accidents&&report", {"place": "Rome"})]
    assert slots_read.tools[0].required == ("place",)  # the file requires both, the finished call gives one
    assert (vague_read.relevant, calls(vague_read)) == (("Car.Accidents&&report",), [])
    assert reasons(loaded) == ["its last words have no answer"]


# --- API-Bank ---------------------------------------------------------------------------------------------------------


def test_api_bank_reads_dialogues_and_chains_without_the_tool_search(write: Write, tmp_path: Path) -> None:
    table = io.StringIO()
    rows = csv.DictWriter(table, ["类名", "api_info"])
    rows.writeheader()
    info = "description = 'Reads the balance.'\ninput_parameters = {'token': {'type': 'str', 'description': ''}}\n"
    rows.writerow({"类名": "QueryBalance", "api_info": info + "output_parameters = {}"})
    rows.writerow({"类名": "Broken", "api_info": "description = ("})
    (tmp_path / "all_apis.csv").write_text(table.getvalue(), encoding="utf-8")
    search = {"role": "API", "api_name": "ToolSearcher", "param_dict": {"keywords": "x"}, "result": {}}
    result = {"output": {"balance": 7}, "exception": None}
    query = {"role": "API", "api_name": "QueryBalance", "param_dict": {"token": "t1"}, "result": result}
    turns = [{"role": "User", "text": "My balance? Token t1."}, search, query, {"role": "AI", "text": "It is 7."}]
    stray = [turns[0], {**query, "api_name": "GetToday"}]
    file = "level-1/QueryBalance-level-1-1.jsonl"
    write("lv1-lv2-dialogues", {"file": file, "turns": turns}, {"file": file, "turns": stray})
    found = "{'name': 'FindDoctor', 'description': 'Finds.', 'input_parameters': {'city': {'type': 'str', 'description': ''}}}"
    start = "{}\nUser: A doctor in New York!TIME: 2034-04-15 10:00:00\n"
    searched = f"API-Request: [ToolSearcher(keywords='doctor')]->{found}\n"
    called = "API-Request: [FindDoctor(city=New York)]->{'name': 'Dr. Who'}\n"
    folder = write(
        "lv3-train",
        {"input": start + "Generate API Request: ", "output": "API-Request: [ToolSearcher(keywords='doctor')]"},
        {"input": start + searched + called + "Generate AI Response: ", "output": "AI: Dr. Who.\n"},
    )

    loaded = api_bank.load(folder)

    dialogue, chain = loaded.conversations
    assert calls(dialogue) == [("QueryBalance", {"token": "t1"})]
    assert dialogue.actions[0].result == '{"balance": 7}'
    assert chain.turns[0].text == "A doctor in New York!"
    assert chain.system == "The current time is 2034-04-15 10:00:00."
    assert calls(chain) == [("FindDoctor", {"city": "New York"})]
    assert chain.turns[0].answer == "Dr. Who."
    assert reasons(loaded) == ["it calls 'GetToday', which is not described"]
    assert any("Broken" in note for note in loaded.report.notes)


# --- sequences --------------------------------------------------------------------------------------------------------


def test_seq_apiblend_takes_the_first_accepted_value_and_leaves_out_empty_ones(write: Write) -> None:
    stars = {"type": "object", "properties": {"stars": {"type": "integer"}, "area": {"type": "string"}}}
    for part in ("SeqMultiWOZ", "SeqSNIPS"):
        write(f"{part}.functions", {"name": "hotel", "description": "", "parameters": stars}, {"name": "police"})
    truth = {"hotel": {"stars": ["4", "four"], "area": [""]}, "police": {}}
    record = {
        "question": "4 stars, and the police!",
        "function": ["police", "hotel"],
        "id": "S_0",
        "ground_truth": truth,
    }
    write("SeqSNIPS")
    (one,) = sequences.load_seq_apiblend(write("SeqMultiWOZ", record)).conversations

    assert calls(one) == [("MultiWOZ&&hotel", {"stars": 4}), ("MultiWOZ&&police", {})]


def test_t_eval_reads_the_apis_of_the_prompt_and_leaves_out_the_final_action(write: Write) -> None:
    number = {"name": "id", "type": "NUMBER", "description": "Its id."}
    api = {"name": "Shop.find", "description": "Finds.", "required_parameters": [number], "optional_parameters": []}
    system = f"You have access to the following API:\n[['Shop.find', {api}]]\nPlease generate a plan."
    prompt = [{"role": "system", "content": system}, {"role": "user", "content": "Find 7!"}]
    plan = [{"name": "Shop.find", "args": {"id": 7}}, {"name": "FinishAction", "args": {}}]

    (one,) = sequences.load_t_eval(write("plan_json_v1", {"origin_prompt": prompt, "ground_truth": plan})).conversations

    assert calls(one) == [("Shop&&find", {"id": 7})]
    assert one.tools[0].required == ("id",)


def test_toolverifier_names_the_tool_without_arguments(tmp_path: Path) -> None:
    choices = (
        'User: Rain?\n###\nTool Choices: Rain = Tells rain.\nSun = Tells sun.\n###\nThought: so.\nAct: CALLTOOL["{}"]'
    )
    table = io.StringIO()
    rows = csv.writer(table)
    rows.writerows([["text"], [choices.format("Rain")], [choices.format("Snow")]])
    (tmp_path / "train.csv.gz").write_bytes(gzip.compress(table.getvalue().encode()))

    loaded = sequences.load_toolverifier(tmp_path)

    (one,) = loaded.conversations
    assert (one.turns[0].text, one.relevant, [tool.id for tool in one.tools]) == ("Rain?", ("Rain",), ["Rain", "Sun"])
    assert reasons(loaded) == ["it chooses 'Snow', which is not among its choices"]


def test_shortcutsbench_knows_the_calls_only_where_every_input_is_readable(write: Write) -> None:
    write("apis", {"id": "get_pet_for_shop", "info": "Gets a pet."}, {"id": "list_for_shop", "info": " "})

    def step(name: str, text: str | None) -> dict[str, Any]:
        return {"api_name": name, "api_action": text, "api_reaction": None}

    good = step("get_pet_for_shop", 'Action: get_pet_for_shop\nAction Input: {\n "id": 4\n}')
    unclear = step("list_for_shop", "Action: list_for_shop\nAction Input: none")
    end = step("Finish", None)
    folder = write(
        "queries",
        {"id": "1", "query": "Pet 4?", "action_seqs": [good, end]},
        {"id": "2", "query": "Pet 4, and all?", "action_seqs": [good, unclear, end]},
        {"id": "3", "query": "Nothing", "action_seqs": [end]},
        {"id": "4", "query": "Stray", "action_seqs": [step("stray", None)]},
    )

    loaded = sequences.load_shortcutsbench(folder)

    sure, unsure = loaded.conversations
    assert calls(sure) == [("shop&&get_pet", {"id": 4})]
    assert (calls(unsure), unsure.relevant) == ([], ("shop&&get_pet", "shop&&list"))
    assert [(tool.description, [*tool.properties]) for tool in loaded.tools] == [("Gets a pet.", ["id"]), ("List", [])]
    assert reasons(loaded) == ["it calls nothing", "it calls 'stray', which is not described"]


# --- dialogues --------------------------------------------------------------------------------------------------------


def test_star_reads_calls_results_questions_and_what_is_out_of_scope(write: Write, tmp_path: Path) -> None:
    parameters = [
        {"Name": "City", "Type": "Categorical", "Categories": ["Rome", "Oslo"], "ReadableName": "City"},
        {"Name": "PIN", "Type": "ShortString", "ReadableName": "PIN"},
        {"Name": "Days", "Type": "Integer", "Min": 1, "Max": 7, "ReadableName": "Days"},
    ]
    api = {"input": parameters, "output": [], "required": ["City"]}
    (tmp_path / "apis.json").write_text(json.dumps({"weather": api, "bank_balance": api}))

    def wizard(text: str, label: str = "") -> dict[str, Any]:
        return {"Agent": "Wizard", "Action": "pick_suggestion", "Text": text, "ActionLabel": label}

    def user(text: str) -> dict[str, Any]:
        return {"Agent": "User", "Action": "utter", "Text": text}

    def query(city: str) -> dict[str, Any]:
        constraints = [{"City": city}, {"PIN": "0123"}, {"Days": "2"}]
        return {"Agent": "Wizard", "Action": "query", "APIName": "weather", "Constraints": constraints}

    item = {"Agent": "KnowledgeBase", "Action": "return_item", "Item": {"APIName": "weather", "Weather": "rain"}}
    guide = {"Agent": "UserGuide", "Action": "instruct", "Text": "Be kind."}
    scenario = {"WizardCapabilities": [{"Domain": "weather", "Task": "weather"}]}
    asking = [wizard("Hello"), guide, user("Hi"), user("Weather?"), wizard("Where?", "weather_ask_location")]
    telling = [user("Rome"), query('api.is_equal_to("Rome")'), item, wizard("Rain.", "weather_inform_forecast")]
    leaving = [user("My cat is ill."), wizard("I cannot help.", "out_of_scope")]
    folder = write(
        "dialogues",
        {"Scenario": scenario, "Events": [*asking, *telling, *leaving]},
        {"Scenario": scenario, "Events": [user("Rome?"), query('api.is_one_of(["Rome", "Oslo"])')]},
    )

    loaded = star.load(folder)

    (one,) = loaded.conversations
    assert [turn.text for turn in one.turns] == ["Hi\nWeather?", "Rome", "My cat is ill."]
    assert endings(one) == ["asked", "answered", "declined"]
    assert calls(one) == [("weather&&weather", {"City": "Rome", "PIN": "0123", "Days": 2})]
    assert one.actions[0].result == '{"Weather": "rain"}'
    assert [tool.name for tool in one.tools] == ["weather"]
    assert one.tools[0].properties["Days"] == {"type": "integer", "description": "Days", "minimum": 1, "maximum": 7}
    assert reasons(loaded) == ["a call asks for a condition (is_one_of) instead of a value"]


def test_taskmaster_puts_the_parts_of_a_call_together(write: Write) -> None:
    def annotation(name: str, value: str, context: str) -> dict[str, str]:
        return {"name": name, "value": value, "context": context}

    parts = [
        annotation("api_call", "get_menu_items", "api_call_0"),
        annotation("request", '{"query": "latte"}', "api_call_0"),
        annotation("api_response", "get_menu_items", "api_response_0"),
        annotation("response", "[]", "api_response_0"),
        annotation("api_call", "show_menu", "api_call_1"),
        annotation("response", "shown", "api_response_1"),
    ]
    talk: list[dict[str, Any]] = [
        {"speaker": "user", "text": "A latte", "annotations": parts},
        {"speaker": "assistant", "text": "None left."},
    ]
    broken = [{**talk[0], "annotations": [annotation("request", "{", "api_call_0")]}]
    folder = write(
        "dialogues", {"conversation_id": "d1", "utterances": talk}, {"conversation_id": "d2", "utterances": broken}
    )

    loaded = dialogues.load_taskmaster4(folder)

    (one,) = loaded.conversations
    assert calls(one) == [("coffee shop&&get_menu_items", {"query": "latte"}), ("coffee shop&&show_menu", {})]
    assert [action.result for action in one.actions] == ["[]", "shown"]
    assert one.is_complete
    assert len(reasons(loaded)) == 1


def test_tau_bench_gives_the_calls_of_a_retail_task(write: Write) -> None:
    action = {"name": "cancel_pending_order", "kwargs": {"order_id": "#W1"}}
    folder = write(
        "retail_tasks_train", {"instruction": "Cancel #W1.", "actions": [action]}, {"instruction": "Hm", "actions": []}
    )

    loaded = dialogues.load_tau_bench(folder)

    (one,) = loaded.conversations
    assert calls(one) == [("retail&&cancel_pending_order", {"order_id": "#W1"})]
    assert one.tools[0].description == "Cancel a pending order, with the reason."
    assert reasons(loaded) == ["it calls nothing"]


def test_obsidian_leaves_out_the_context_rejected_halves_and_names_that_are_rare(write: Write) -> None:
    def record(user: str, name: str = "", label: bool | None = True, text: str | None = None) -> dict[str, Any]:
        arguments = json.dumps({"context": {"sessionId": "s"}, "path": "a.md"})
        called = [{"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}] if name else None
        answer = {"role": "assistant", "content": text, "tool_calls": called}
        messages = [{"role": "system", "content": "Vault"}, {"role": "user", "content": user}, answer]
        return {"conversations": messages, "label": label}

    usual = [record("Open a.md", "vaultManager_openNote") for _ in range(20)]
    asking = record("Delete the old files", text="Which ones?")
    others = [
        record("Open it", "vaultManager_openNote", label=False),
        record("Fix it", "vaultManager_fixAll"),
        record("Result: {}", "vaultManager_openNote"),
        record("How many notes?", text="You have 7 notes."),
        record("How many notes?", text="I found 7 notes. Any more?") | {"behavior": "context_continuity"},
    ]

    loaded = dialogues.load_obsidian(write("vaultManager_tools", *usual, asking, *others))

    assert len(loaded.conversations) == 21
    assert calls(loaded.conversations[0]) == [("vaultManager&&openNote", {"path": "a.md"})]
    assert loaded.conversations[0].system == "Vault"
    assert endings(loaded.conversations[-1]) == ["asked"]
    assert set(reasons(loaded)) == {
        "the rejected half of a pair",
        "it calls 'vaultManager_fixAll', a name that occurs fewer than 20 times",
        "it begins with a result instead of a request",
        "it answers without a call what only a call could tell",
    }


# --- intents ----------------------------------------------------------------------------------------------------------


def test_snips_makes_an_intent_a_tool_with_its_slots_as_arguments(write: Write) -> None:
    parts = [{"text": "rate "}, {"text": "Emma ", "entity": "object_name"}, {"text": "five", "entity": "rating_value"}]
    twice = [parts[1], parts[1]]

    loaded = intents.load_snips(write("utterances", *({"intent": "RateBook", "data": one} for one in (parts, twice))))

    (one,) = loaded.conversations
    assert one.turns[0].text == "rate Emma five"
    assert calls(one) == [("RateBook", {"object_name": "Emma", "rating_value": "five"})]
    assert reasons(loaded) == ["it gives a slot twice"]


def test_no_intent_is_taken_more_often_than_another(write: Write) -> None:
    names = ["RateBook"] * 1500 + ["PlayMusic"] * 1500
    records = ({"intent": name, "data": [{"text": f"number {n}"}]} for n, name in enumerate(names))

    taken = intents.load_snips(write("utterances", *records)).conversations

    assert sorted(action.tool for one in taken for action in one.actions) == ["PlayMusic"] * 500 + ["RateBook"] * 500


def test_hwu64_leaves_out_small_talk(write: Write) -> None:
    place = {"start": 0, "end": 4, "value": "hall", "entity": "house_place"}
    light = {"text": "hall light off", "intent": "iot_hue_lightoff", "entities": [place]}
    folder = write("annotated", light, {"text": "thanks", "intent": "general_praise", "entities": []})

    loaded = intents.load_hwu64(folder)

    assert [calls(one) for one in loaded.conversations] == [[("iot&&hue_lightoff", {"house_place": "hall"})]]
    assert [tool.description for tool in loaded.tools] == ["Switch lights off."]


def test_clinc150_gives_requests_that_no_offered_intent_fits(tmp_path: Path) -> None:
    data = {"train": [[f"text {n}", f"intent_{n}"] for n in range(30)], "oos_train": [["why?", "oos"], ["how?", "oos"]]}
    (tmp_path / "data_full.json.gz").write_bytes(gzip.compress(json.dumps(data).encode()))

    loaded = intents.load_clinc150(tmp_path)

    assert [next(one.requests()).tools for one in loaded.conversations] == [(), ()]
    assert [len(one.tools) for one in loaded.conversations] == [10, 10]
    assert len(loaded.tools) == 30


def test_in3_asks_for_the_most_important_missing_detail(write: Write) -> None:
    details = [{"importance": "1", "inquiry": "Budget?"}, {"importance": "3", "inquiry": "How long?"}]
    vague = {"task": "Plan a trip.", "vague": True, "missing_details": details}

    loaded = intents.load_in3(write("train", vague, {"task": "Add 1 and 1.", "vague": False}))

    (one,) = loaded.conversations
    assert (one.turns[0].answer, endings(one)) == ("How long?", ["asked"])
    assert reasons(loaded) == ["it is not vague, and holds no tool"]


# --- catalogs ---------------------------------------------------------------------------------------------------------


def test_tooluniverse_keeps_example_arguments_in_the_schema(write: Write) -> None:
    schema = {"type": "object", "properties": {"year": {"type": "integer"}}}
    record = {
        "name": "list",
        "type": "ADATool",
        "description": "Lists.",
        "parameter": schema,
        "test_examples": [{"year": 1}],
    }

    loaded = catalogs.load_tooluniverse(write("tools", record, record))

    (tool,) = loaded.tools
    assert (tool.id, tool.parameters["examples"]) == ("ADA&&list", [{"year": 1}])
    assert reasons(loaded) == ["its id occurs again; the first one was kept"]


def test_toucan_reads_listed_and_crawled_tools_and_loses_those_without_a_description(write: Write) -> None:
    listed = {"name": "search", "description": "Searches.", "input_schema": {"properties": {"q": {"type": "string"}}}}
    crawled = {
        "name": "update",
        "description": "Deploy Server Notion @x/notion Try in Playground update Updates a page.",
        "parameters": [{"name": "id", "type": "String", "required": True}],
    }
    empty = {"name": "get", "description": "Deploy Server @x/notion Try in Playground get", "parameters": []}
    unknown = {"name": "put", "description": "Description not available", "parameters": []}

    loaded = catalogs.load_toucan(write("servers", {"server": "notion", "tools": [listed, crawled, empty, unknown]}))

    search, update = loaded.tools
    assert (search.id, [*search.properties]) == ("notion&&search", ["q"])
    assert (update.description, update.required) == ("Updates a page.", ("id",))
    assert reasons(loaded) == ["it has no description"] * 2


def test_docker_reads_schemas_and_lists_of_arguments(write: Write) -> None:
    tools = [
        {"name": "a", "description": "A.", "inputSchema": {"type": "object", "properties": {"x": {"type": "integer"}}}},
        {"name": "b", "description": "B.", "arguments": [{"name": "y", "type": "string", "desc": "Y."}]},
        {"name": "c", "description": "C."},
    ]

    loaded = catalogs.load_docker(write("servers", {"server": "s", "tools": tools}, {"server": "t", "tools": None}))

    assert [dict(tool.properties) for tool in loaded.tools] == [
        {"x": {"type": "integer"}},
        {"y": {"type": "string", "description": "Y."}},
        {},
    ]
