"""The forms in which conversations with calls are published: the same conversation is read the same from each."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest

from toolgen.datasets.call_messages import Unreadable
from toolgen.datasets.call_records import Record, read_record

SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "description": "The city"}}}
PLAIN = {"name": "w", "description": "d", "parameters": SCHEMA}
OPENAI = {"type": "function", "function": PLAIN}
ASKED, ROME, OSLO = "Rome and Oslo?", {"city": "Rome"}, {"city": "Oslo"}


def openai(arguments: Any = json.dumps) -> dict[str, Any]:
    def call(key: str, given: Any) -> dict[str, Any]:
        return {"id": key, "type": "function", "function": {"name": "w", "arguments": arguments(given)}}

    return {
        "tools": [OPENAI],
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": ASKED}]},
            {"role": "assistant", "content": None, "tool_calls": [call("1", ROME), call("2", OSLO)]},
            {"role": "tool", "tool_call_id": "2", "content": "5"},
            {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "20"}]},
            {"role": "assistant", "content": "Warm, cold"},
        ],
    }


def legacy() -> dict[str, Any]:
    def call(given: Any) -> dict[str, Any]:
        return {"role": "assistant", "content": None, "function_call": {"name": "w", "arguments": json.dumps(given)}}

    results = [{"role": "function", "name": "w", "content": text} for text in ("20", "5")]
    messages = [{"role": "user", "content": ASKED}, call(ROME), results[0], call(OSLO), results[1]]
    return {"functions": [PLAIN], "messages": [*messages, {"role": "assistant", "content": "Warm, cold"}]}


def anthropic() -> dict[str, Any]:
    def call(key: str, given: Any) -> dict[str, Any]:
        return {"type": "tool_use", "id": key, "name": "w", "input": given}

    results = [
        {"type": "tool_result", "tool_use_id": "2", "content": [{"type": "text", "text": "5"}]},
        {"type": "tool_result", "tool_use_id": "1", "content": "20"},
    ]
    return {
        "tools": [{"name": "w", "description": "d", "input_schema": SCHEMA}],
        "messages": [
            {"role": "user", "content": ASKED},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "?"}, call("1", ROME), call("2", OSLO)]},
            {"role": "user", "content": results},
            {"role": "assistant", "content": [{"type": "text", "text": "Warm, cold"}]},
        ],
    }


def bedrock() -> dict[str, Any]:
    calls = [{"toolUse": {"toolUseId": k, "name": "w", "input": given}} for k, given in (("1", ROME), ("2", OSLO))]
    results = [
        {"toolResult": {"toolUseId": key, "content": [content]}}
        for key, content in (("2", {"json": 5}), ("1", {"text": "20"}))
    ]
    spec = {"name": "w", "description": "d", "inputSchema": {"json": SCHEMA}}
    return {
        "schemaVersion": "bedrock-conversation-2024",
        "system": [{"text": "s"}],
        "toolConfig": {"tools": [{"toolSpec": spec}]},
        "messages": [
            {"role": "user", "content": [{"text": ASKED}]},
            {"role": "assistant", "content": calls},
            {"role": "user", "content": results},
            {"role": "assistant", "content": [{"text": "Warm, cold"}]},
        ],
    }


def gemini() -> dict[str, Any]:
    calls = [{"functionCall": {"name": "w", "args": given}} for given in (ROME, OSLO)]
    results = [{"functionResponse": {"name": "w", "response": value}} for value in (20, 5)]
    return {
        "systemInstruction": {"parts": [{"text": "s"}]},
        "tools": [{"functionDeclarations": [PLAIN]}],
        "contents": [
            {"role": "user", "parts": [{"text": ASKED}]},
            {"role": "model", "parts": calls},
            {"role": "user", "parts": results},
            {"role": "model", "parts": [{"text": "Warm, cold"}]},
        ],
    }


def hermes(*, python: bool = False, lines: bool = False) -> dict[str, Any]:
    calls = [{"arguments": given, "name": "w"} for given in (ROME, OSLO)]
    listed = json.dumps(OPENAI) if lines else json.dumps([OPENAI])
    system = f"Signatures are within <tools></tools> tags: <tools>\n{listed}\n</tools> Use <tool_call> tags."
    tagged = [f"<tool_call>\n{one if python else json.dumps(one)}\n</tool_call>" for one in calls]
    said = [
        ("system", system),
        ("human", ASKED),
        ("gpt", "<think>Both.</think>\n" + "\n".join(tagged)),
        ("tool", "<tool_response>\n20\n</tool_response>\n<tool_response>\n5\n</tool_response>"),
        ("gpt", "Warm, cold"),
    ]
    return {"conversations": [{"from": role, "value": text} for role, text in said]}


def marked(begin: str, key: str = "arguments", system: Any = PLAIN, end: str = "") -> dict[str, Any]:
    """Calls in a text, between marks or bare, as Llama, Mistral, Granite and others write them."""
    calls = json.dumps([{"name": "w", key: given} for given in (ROME, OSLO)])
    messages = [("system", json.dumps([system], indent=1)), ("user", ASKED), ("assistant", f"{begin}{calls}{end}")]
    messages += [("ipython", "[20, 5]"), ("assistant", "Warm, cold")]
    return {"messages": [{"role": role, "content": text} for role, text in messages]}


def llama_semicolons() -> dict[str, Any]:
    calls = [json.dumps({"name": "w", "parameters": given}) for given in (ROME, OSLO)]
    return marked("<|python_tag|>") | {
        "messages": [
            {"role": "user", "content": ASKED},
            {"role": "ai", "content": f"<|python_tag|>{'; '.join(calls)}<|eom_id|>"},
            {"role": "ipython", "content": "[20, 5]"},
            {"role": "ai", "content": "Warm, cold<|eot_id|>"},
        ],
        "tools": json.dumps(OPENAI),
    }


def glaive() -> dict[str, Any]:
    """Functions one after another in the system's text, arguments in single quotes, each turn with its end."""
    functions = "\n\n".join(json.dumps(PLAIN | {"name": name}, indent=4) for name in ("w", "other"))
    calls = [
        f'<functioncall> {{"name": "w", "arguments": \'{json.dumps(given)}\'}} <|endoftext|>' for given in (ROME, OSLO)
    ]
    said = [("system", f"Use these functions {{if required}} -\n{functions}"), ("human", ASKED), ("gpt", calls[0])]
    said += [("tool", "20"), ("gpt", calls[1]), ("tool", "5"), ("gpt", "Warm, cold <|endoftext|>\n")]
    return {"conversations": [{"from": role, "value": text} for role, text in said]}


def gemini_with_thoughts() -> dict[str, Any]:
    record = gemini()
    record["contents"][-1]["parts"].insert(0, {"text": "Twenty is warm.", "thought": True})
    return record


def gemini_in_python() -> dict[str, Any]:
    text = (
        json.dumps(gemini()).replace("functionCall", "function_call").replace("functionResponse", "function_response")
    )
    return json.loads(text.replace("functionDeclarations", "function_declarations"))  # type: ignore[no-any-return]


def hermes_indented() -> dict[str, Any]:
    listed = "\n".join(json.dumps(one, indent=2) for one in (OPENAI, OPENAI | {"function": PLAIN | {"name": "other"}}))
    text = json.dumps(hermes()).replace(json.dumps(json.dumps([OPENAI]))[1:-1], json.dumps(listed)[1:-1])
    return json.loads(text)  # type: ignore[no-any-return]


def sharegpt() -> dict[str, Any]:
    said = [
        ("human", ASKED),
        ("function_call", json.dumps([{"name": "w", "arguments": one} for one in (ROME, OSLO)])),
        ("observation", "[20, 5]"),
        ("gpt", "Warm, cold"),
    ]
    return {"conversations": [{"from": role, "value": text} for role, text in said], "tools": json.dumps([PLAIN])}


def responses() -> list[dict[str, Any]]:
    """Items of OpenAI's Responses, whose calls and results stand between the messages."""

    def call(key: str, given: Any) -> dict[str, Any]:
        return {"type": "function_call", "id": f"fc_{key}", "call_id": key, "name": "w", "arguments": json.dumps(given)}

    return [
        {"role": "user", "content": [{"type": "input_text", "text": ASKED}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        call("1", ROME),
        call("2", OSLO),
        {"type": "function_call_output", "call_id": "2", "output": "5"},
        {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "20"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Warm, cold"}]},
    ]


def langchain(*, blocks: bool = False) -> list[dict[str, Any]]:
    """Messages as LangChain dumps them; with `blocks`, Anthropic's calls stand in the content, too."""
    given = [("1", ROME), ("2", OSLO)]
    calls = [{"name": "w", "args": one, "id": key, "type": "tool_call"} for key, one in given]
    said = [{"type": "tool_use", "id": key, "name": "w", "input": one} for key, one in given] if blocks else ""
    return [
        {"type": "system", "content": "s", "additional_kwargs": {}},
        {"type": "human", "content": ASKED, "additional_kwargs": {}, "example": False},
        {"type": "ai", "content": said, "tool_calls": calls, "invalid_tool_calls": [], "id": "run-1"},
        {"type": "tool", "content": "5", "tool_call_id": "2", "name": "w", "status": "success"},
        {"type": "tool", "content": "20", "tool_call_id": "1", "name": "w", "status": "success"},
        {"type": "ai", "content": "Warm, cold", "tool_calls": []},
    ]


def constructor(message: dict[str, Any]) -> dict[str, Any]:
    return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "Message"], "kwargs": message}


FORMS = {
    "responses": {"tools": [{"type": "function", **PLAIN}], "input": responses()},
    "responses, stored": {"tools": [PLAIN], "input": ASKED, "output": responses()[1:]},
    "responses, as messages": {"tools": [PLAIN], "messages": responses()},
    "trl, in two parts": {
        "tools": [OPENAI],
        "prompt": openai()["messages"][:2],
        "completion": openai()["messages"][2:],
    },
    "trl, a text": {"tools": [OPENAI], "prompt": ASKED, "completion": json.dumps(openai()["messages"][2:])},
    "langchain": {"tools": [OPENAI], "messages": langchain()},
    "langchain, blocks": {"tools": [OPENAI], "messages": langchain(blocks=True)},
    "langchain, data": {
        "tools": [OPENAI],
        "messages": [{"type": one["type"], "data": one} for one in langchain()],
    },
    "langchain, dumped": {"tools": [OPENAI], "messages": [constructor(one) for one in langchain()]},
    "openai": openai(),
    "trl": openai(lambda given: given),
    "legacy": legacy(),
    "anthropic": anthropic(),
    "bedrock": bedrock(),
    "gemini": gemini(),
    "hermes": hermes(),
    "hermes, Python": hermes(python=True),
    "hermes, lines": hermes(lines=True),
    "hermes, indented": hermes_indented(),
    "llama": marked("<|python_tag|>", "parameters", OPENAI),
    "llama, bare": marked("", "parameters"),
    "mistral": marked("[TOOL_CALLS] "),
    "mistral, end marked": marked("[TOOL_CALLS] ", end="</s>"),
    "granite": marked("<|tool_call|>"),
    "phi": marked("<|tool_call|>", end="<|/tool_call|>"),
    "nemotron": marked("<TOOLCALL>", end="</TOOLCALL>"),
    "in a fence": marked("```json\n", end="\n```"),
    "after a thought": marked("<thinking>Both, with <tool_call>?</thinking>"),
    "after the end of a thought": marked("Both.\n</think>\n\n"),
    "llama, semicolons": llama_semicolons(),
    "glaive": glaive(),
    "glaive, closed": marked("<functioncall> ", end="</functioncall>"),
    "gemini, thoughts": gemini_with_thoughts(),
    "gemini in Python": gemini_in_python(),
    "sharegpt": sharegpt(),
    "messages as text": openai() | {"messages": json.dumps(openai()["messages"])},
}


def read(record: Any) -> Record:
    return read_record(record, "r", {})


@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_the_same_turn(form: str) -> None:
    record = read(FORMS[form])
    assert {function["name"] for function in record.functions} - {"other"} == {"w"}
    (turn,) = record.turns
    assert turn.text == ASKED
    assert turn.calls == [("w", ROME), ("w", OSLO)]
    assert [result for step in turn.steps[:-1] for result in step.results or ()] == ["20", "5"]
    assert turn.steps[-1].text == "Warm, cold"


def test_words_before_a_call_are_kept_and_split_requests_are_one() -> None:
    call = {"name": "w", "arguments": ROME}
    record = read(
        {
            "tools": [PLAIN],
            "messages": [
                {"role": "user", "content": "Hello."},
                {"role": "user", "content": "Rome?"},
                {"role": "assistant", "content": f"I look.\n<tool_call>{json.dumps(call)}</tool_call>"},
            ],
        }
    )
    (turn,) = record.turns
    assert turn.text == "Hello.\nRome?"
    assert [(step.text, step.calls) for step in turn.steps] == [("I look.", []), ("", [("w", ROME)])]


def test_a_user_says_no_results_and_what_is_asked_beside_them_comes_after() -> None:
    call = {"type": "tool_use", "id": "1", "name": "w", "input": ROME}
    result = {"type": "tool_result", "tool_use_id": "1", "content": "20"}
    messages = [
        {"role": "user", "content": "What does <tool_response>5</tool_response> mean?"},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [{"type": "text", "text": "And Oslo?"}, result]},
        {"role": "assistant", "content": json.dumps({"name": "unknown", "arguments": {}})},
    ]
    first, second = read({"tools": [PLAIN], "messages": messages}).turns
    assert "<tool_response>" in first.text and first.steps[0].results == ["20"]
    assert second.text == "And Oslo?" and second.calls == [("unknown", {})]


@pytest.mark.parametrize(
    "text",
    [
        '<function=w>{"city": "Rome"}</function>',
        'I look.\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>w\n{"city": "Rome"}',
        '<|channel|>commentary to=functions.w <|message|>{"city": "Rome"}<|call|>',
        '<|START_ACTION|>[{"tool_name": "w", "parameters": {}}]<|END_ACTION|>',
        'Thought: I look.\nAction: w\nAction Input: {"city": "Rome"}',
    ],
)
def test_a_call_in_a_form_that_is_not_read_is_no_answer(text: str) -> None:
    messages = openai()["messages"]
    with pytest.raises(Unreadable, match="written in a form that is not read: '"):
        read({"tools": [PLAIN], "messages": [*messages[:-1], {"role": "assistant", "content": text}]})


@pytest.mark.parametrize("nothing", ["", None, [], {}, "{}"])
def test_a_call_may_have_no_arguments(nothing: Any) -> None:
    record = openai(lambda _given: nothing)
    assert read(record).turns[0].calls == [("w", {}), ("w", {})]


def test_tools_are_in_the_tags_that_hold_them() -> None:
    record = hermes()
    system = record["conversations"][0]
    system["value"] = f"Tools stand in <tools> tags. {system['value']}"
    assert [function["name"] for function in read(record).functions] == ["w"]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image", "source": {"data": "AAAA"}},
        {"type": "image_url", "image_url": {}},
        {"document": {"name": "d"}},
    ],
)
def test_a_result_that_is_no_text_is_not_read_as_one(part: dict[str, Any]) -> None:
    record = openai()
    record["messages"][3]["content"] = [part]
    with pytest.raises(Unreadable, match=r"a part of a result is no text: (image|image_url|document)$"):
        read(record)
    record["messages"][3]["content"] = [{"type": "storm", "image": "x.png"}]  # JSON of a tool
    assert read(record).turns[0].steps[0].results == ["20", '{"type": "storm", "image": "x.png"}']


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([{"role": "assistant", "content": "Hi"}], "nobody asks"),
        ([{"role": "user", "content": "Hi"}], "has no answer"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], "no text, call or result: .type, image"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "content": "<tool_call>\n{'name"}], "is no JSON"),
        ([{"role": "user", "content": "x"}, {"type": "web_search_call", "id": "w"}], "is by 'web_search_call'"),
        ([{"role": "user", "content": "x"}, {"type": "ai", "invalid_tool_calls": [{"name": "w"}]}], "invalid_tool"),
        ([{"role": "user", "content": "x"}, {"role": "narrator", "content": "y"}], "is by 'narrator'; expected system"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [{"name": 3}]}], "expected a call"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": {"id": "1"}}], "tool_calls are a dict"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "function_call": {"name": "w", "args": 0}}], "expected"),
        (["x"], "a message of it is no object: 'x'"),
        ([None], "a message of it is no object: 'None'"),
        ("{", "its messages are no JSON"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_why(messages: Any, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        read({"tools": [PLAIN], "messages": messages})


def test_a_chat_in_two_parts_needs_both() -> None:
    with pytest.raises(Unreadable, match="its first request has no answer"):
        read({"tools": [PLAIN], "prompt": ASKED, "chosen": "Warm", "rejected": "Cold"})
    with pytest.raises(
        Unreadable, match=r"or tools with a chat \(conversations, messages, contents, prompt and completion"
    ):
        read({"tools": [PLAIN], "text": ASKED})


def test_a_call_without_its_result_has_none() -> None:
    record = openai()
    del record["messages"][4]
    assert read(record).turns[0].steps[0].results is None


@pytest.mark.parametrize("place", ["system", "assistant"])
@pytest.mark.parametrize(
    "mark", ["<tool_response>", "<think>", "<tools>", "<tool_call>", '[{"a": 1}, ', '{"name": ', "{"]
)
def test_many_beginnings_without_an_end_take_no_time(mark: str, place: str) -> None:
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    messages.insert(0 if place == "system" else 2, {"role": place, "content": mark * 30_000})
    start = time.process_time()
    with contextlib.suppress(Unreadable):
        read({"messages": messages} if place == "system" else {"tools": [PLAIN], "messages": messages})
    assert time.process_time() - start < 10  # some of them took minutes
