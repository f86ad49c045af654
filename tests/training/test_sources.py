"""Where examples come from: every tool, every request of the training split, every conversation, and nothing else."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from toolgen.catalog.text import views
from toolgen.catalog.tool import Definition
from toolgen.catalog.words import content_words
from toolgen.datasets import Dataset, Outcome, Query, Synthetic, Task, Trajectory, Turn, TurnOutcome
from toolgen.datasets.messages import FINISH, NO_TOOL, call_message, user_message
from toolgen.datasets.trajectory import Status
from toolgen.errors import UsageError
from toolgen.testing import tiny_checkpoint
from toolgen.training import STAGES, StageConfig
from toolgen.training.examples import TrainingExample, VariedExamples, targets_of
from toolgen.training.joining import calls_in, is_joinable
from toolgen.training.sources import (
    SHORT_SAMPLES,
    SHORT_WORDS,
    abstentions,
    asking,
    joined,
    recall,
    requests,
    short,
    shortened,
    synthetic,
    trajectories,
    view_source,
)
from toolgen.virtualization import PromptProtocol

CHECKPOINT = tiny_checkpoint()
CONFIG = StageConfig(max_tokens=320)
WRITTEN = Synthetic(style="vague", by="rules")


def read(ids: tuple[int, ...] | list[int]) -> str:
    return str(CHECKPOINT.tokenizer.decode(list(ids)))


@pytest.mark.parametrize("view", ["document", "name", "description", "parameters"])
def test_a_view_gives_one_example_for_each_tool_that_has_it(dataset: Dataset, view: str) -> None:
    tools = [tool for tool in dataset.catalog if view in views(tool)]
    examples = view_source(view)(CHECKPOINT, dataset, CONFIG)
    assert len(examples) == len(tools) >= 12
    for tool, example in zip(tools, examples, strict=True):
        assert example.choices == ((len(example) - 1, (CHECKPOINT.vocabulary.token_id(tool.id),)),)
        assert not example.text


def test_recall_writes_the_documentation_after_the_token_as_the_agent_will_read_it(dataset: Dataset) -> None:
    for tool, example in zip(dataset.catalog, recall(CHECKPOINT, dataset, CONFIG), strict=True):
        documentation = CHECKPOINT.protocol.documentation(tool.id).replace("<<", "< <")
        written = read([example.ids[i + 1] for i in example.text])
        assert written == f"<|im_end|>\n<|im_start|>documentation\n{documentation}<|im_end|>\n"
        assert not example.choices and len(example) <= CONFIG.max_tokens


def test_recall_is_cut_at_the_limit(dataset: Dataset) -> None:
    for example in recall(CHECKPOINT, dataset, StageConfig(max_tokens=24)):
        assert len(example) <= 24 and max(example.text) + 1 < 24


def test_asking_writes_one_request_of_each_tool_that_is_asked_for_alone(dataset: Dataset) -> None:
    alone = [query for query in dataset.queries["train"] if len(query.tools) == 1]
    examples = asking(CHECKPOINT, dataset, CONFIG)
    assert len(examples) == len({query.tools for query in alone}) > 1
    for example in examples:
        request = read([example.ids[i + 1] for i in example.text]).removesuffix("<|im_end|>")
        (tool,) = {query.tools[0] for query in alone if query.text == request}
        assert views(dataset.catalog.get(tool))["name"] in read(example.ids) and not example.choices


def test_synthetic_requests_are_a_source_of_their_own(dataset: Dataset) -> None:
    tool = dataset.catalog[0]
    made = Query(id="s", text="do it", tools=(tool.id,), origin=WRITTEN)
    more = replace(dataset, queries={**dataset.queries, "train": (*dataset.queries["train"], made)})
    assert list(requests(CHECKPOINT, more, CONFIG)) == list(requests(CHECKPOINT, dataset, CONFIG))
    assert not synthetic(CHECKPOINT, dataset, CONFIG)
    (example,) = synthetic(CHECKPOINT, more, CONFIG)
    assert example.choices[0][1] == (CHECKPOINT.vocabulary.token_id(tool.id),)
    assert not example.among_asked


def test_a_request_for_two_tools_is_one_target_set(dataset: Dataset) -> None:
    examples = requests(CHECKPOINT, dataset, CONFIG)
    queries = [query for query in dataset.queries["train"] if query.tools]
    assert len(examples) == len(queries)
    for query, example in zip(queries, examples, strict=True):
        ((position, targets),) = example.choices
        assert position == len(example) - 1
        assert [CHECKPOINT.vocabulary.tool_id(token) for token in targets] == list(query.tools)
        assert query.text in read(example.ids)


def prompted(example: TrainingExample) -> str:
    """The user's text of an example."""
    return read(example.ids).partition("<|im_start|>user\n")[2].partition("<|im_end|>")[0]


def test_short_examples_are_a_few_words_of_name_and_description_in_order(dataset: Dataset) -> None:
    examples = short(CHECKPOINT, dataset, CONFIG)
    assert len(examples) == SHORT_SAMPLES * len(dataset.catalog)
    for place, example in enumerate(examples):
        tool, text = dataset.catalog[place // SHORT_SAMPLES], prompted(example)
        known = content_words(" ".join((re.sub(r"[_.]", " ", views(tool)["name"]), tool.description)))
        found = [known.index(word) for word in text.split()]
        assert 1 <= len(found) <= SHORT_WORDS and found == sorted(set(found))
        assert example.choices == ((len(example) - 1, (CHECKPOINT.vocabulary.token_id(tool.id),)),)
    forecast = [prompted(example) for example in examples[:SHORT_SAMPLES]]
    assert len(set(forecast)) > 1
    assert list(short(CHECKPOINT, dataset, CONFIG)) == list(examples)


def test_shortened_requests_keep_the_tools_and_some_of_the_words(dataset: Dataset) -> None:
    queries = [query for query in dataset.queries["train"] if query.tools]
    examples = shortened(CHECKPOINT, dataset, CONFIG)
    assert len(examples) == SHORT_SAMPLES * len(queries)
    for place, example in enumerate(examples):
        query = queries[place // SHORT_SAMPLES]
        ((_, targets),) = example.choices
        assert [CHECKPOINT.vocabulary.tool_id(token) for token in targets] == list(query.tools)
        assert set(prompted(example).split()) <= set(content_words(query.text)) and example.among_asked
    other = shortened(CHECKPOINT, dataset, StageConfig(max_tokens=320, seed=1))
    assert [prompted(example) for example in examples] != [prompted(example) for example in other]


def test_joined_requests_ask_for_the_tools_of_each_of_their_parts(dataset: Dataset) -> None:
    written = Query(id="written", text="made up", tools=(dataset.catalog[-1].id,), origin=WRITTEN)
    asked = [*(query for query in dataset.searches("train") if len(query.tools) == 1), written]
    dataset = replace(dataset, queries={**dataset.queries, "train": tuple(asked)})
    examples = joined(CHECKPOINT, dataset, CONFIG)
    assert len(examples) == len(asked)
    counts = set()
    for query, example in zip(asked, examples, strict=True):
        parts = [one for one in asked if one.text in example.request]
        assert example.request.startswith(query.text) and len(parts) <= 3
        ((_, targets),) = example.choices
        assert {CHECKPOINT.vocabulary.tool_id(token) for token in targets} == {one.tools[0] for one in parts}
        assert len(targets) == len(parts)  # no tool twice
        assert example.among_asked == all(not one.is_synthetic for one in parts)
        counts.add(len(parts))
    assert counts >= {2, 3}
    assert list(joined(CHECKPOINT, dataset, CONFIG)) == list(examples)


def test_a_request_without_a_tool_teaches_to_decline(dataset: Dataset) -> None:
    wrong = Query(id="wrong", text="Will it rain?", tools=(), faults=("weather&&get_forecast does it",))
    more = replace(dataset, queries={**dataset.queries, "train": (*dataset.queries["train"], wrong)})
    examples = abstentions(CHECKPOINT, more, CONFIG)
    assert len(examples) == 2
    assert {example.choices[0][1] for example in examples} == {(CHECKPOINT.vocabulary.token_id(NO_TOOL),)}


def test_development_and_test_requests_are_never_trained_on(dataset: Dataset) -> None:
    held_out = [query.text for split in ("dev", "test") for query in dataset.queries[split]]
    for stage in STAGES.values():
        for source in stage.sources.values():
            for example in source(CHECKPOINT, dataset, CONFIG):
                assert not any(text in read(example.ids) for text in held_out)


def test_multi_turn_tasks_are_no_requests(dataset: Dataset) -> None:
    task = Task(id="m", turns=(Turn(text="first"), Turn(text="second")))
    assert not requests(CHECKPOINT, replace(dataset, queries={}, tasks={"train": (task,)}), CONFIG)


def test_a_conversation_is_supervised_where_the_assistant_writes(dataset: Dataset) -> None:
    example = trajectories(CHECKPOINT, dataset, CONFIG)[0]
    names = [CHECKPOINT.vocabulary.tool_id(token) for _, (token,) in example.choices]
    assert names == ["weather&&get_forecast", "finish"]
    written = read([example.ids[i + 1] for i in example.text])
    assert written == '{"city": "Oslo"}<|im_end|>{"answer": "It is done."}<|im_end|>'


def test_a_question_back_is_taught_and_a_decline_alone_is_left_to_its_own_source(dataset: Dataset) -> None:
    task = Task(id="vague", turns=(Turn(text="Plan it.", calls=()),))
    messages = ({"role": "user", "content": "Plan it."}, call_message(FINISH, {"answer": "Plan what?"}, "call_1"))
    expected: dict[Status, int] = {"finished": 1, "declined": 0}
    for status, taught in expected.items():
        outcome = Outcome(turns=(TurnOutcome(status=status),))
        trajectory = Trajectory(id="vague", query="vague", messages=messages, outcome=outcome)
        one = replace(dataset, tasks={"train": (task,)}, trajectories={"train": (trajectory,)})
        assert len(trajectories(CHECKPOINT, one, CONFIG)) == taught


def with_trajectory(dataset: Dataset, status: Status = "finished") -> Dataset:
    first, second = dataset.trajectories["train"][:2]
    outcome = Outcome(turns=(TurnOutcome(status=status),))
    both = Trajectory(id="t", query=first.query, messages=(*first.messages, *second.messages), outcome=outcome)
    return replace(dataset, trajectories={"train": (both,)})


def test_a_long_conversation_is_several_examples_that_teach_each_part_once(dataset: Dataset) -> None:
    (whole,) = trajectories(CHECKPOINT, with_trajectory(dataset), StageConfig(max_tokens=512))
    first, second = trajectories(CHECKPOINT, with_trajectory(dataset), StageConfig(max_tokens=len(whole) - 1))
    assert whole.ids[: len(first)] == first.ids and read(first.ids).endswith("<|im_end|>\n")
    for part in (first, second):
        assert "<|im_start|>user" in read(part.ids) and len(part) < len(whole)
    written = [read([one.ids[place + 1] for place in one.text]) for one in (whole, first, second)]
    assert written[0] == written[1] + written[2]
    chosen = [[token for _, (token,) in one.choices] for one in (whole, first, second)]
    assert chosen[0] == chosen[1] + chosen[2]


def test_tokens_weigh_what_their_kind_does(dataset: Dataset) -> None:
    kinds = ("structure", "key", "value", "stop", "answer", "text")
    weights = dict(zip(kinds, (0.1, 0.5, 2.0, 3.0, 0.25, 1.0), strict=True))
    config = CONFIG.model_copy(update={"token_weights": weights})
    plain, weighed = (trajectories(CHECKPOINT, dataset, one)[0] for one in (CONFIG, config))
    assert (plain.ids, plain.text, plain.choices) == (weighed.ids, weighed.text, weighed.choices)
    assert plain.text_weights == () and plain.text_weight == len(plain.text)
    said: dict[float, str] = {}
    for place, weight in zip(weighed.text, weighed.text_weights, strict=True):
        said[weight] = said.get(weight, "") + read([weighed.ids[place + 1]])
    assert "Oslo" in said[2.0] and "city" in said[0.5] and "It is done." in said[0.25]
    assert said[3.0] == "<|im_end|>" * 2 and "{" in said[0.1]
    nothing = CONFIG.model_copy(update={"token_weights": dict.fromkeys(kinds, 0.0) | {"value": 1.0}})
    values = trajectories(CHECKPOINT, dataset, nothing)[0]
    assert 0 < len(values.text) < len(plain.text) and values.choices


def test_a_turn_that_is_too_long_for_itself_loses_its_end(dataset: Dataset) -> None:
    parts = trajectories(CHECKPOINT, with_trajectory(dataset), StageConfig(max_tokens=48))
    assert parts and all(len(part) <= 48 and (part.choices or part.text) for part in parts)


def test_a_conversation_shows_the_definition_that_its_task_means(dataset: Dataset) -> None:
    first = dataset.trajectories["train"][0]
    definition = Definition(tool="weather&&get_forecast", description="Wholly other.", parameters={"type": "object"})
    turns = (Turn(text="x", calls=()),)
    task = Task(id=first.query, turns=turns, definitions=(definition,))
    (example,) = trajectories(
        CHECKPOINT, replace(dataset, tasks={"train": (task,)}, trajectories={"train": (first,)}), CONFIG
    )
    assert "documentation\nweather.get_forecast\nWholly other.<|im_end|>" in read(example.ids)


def test_a_share_of_the_conversations_has_random_names_others_in_each_epoch(dataset: Dataset) -> None:
    city = {"type": "string", "description": "Where."}
    schema = {"type": "object", "properties": {"city": city}, "required": ["city"]}
    definition = Definition(tool="weather&&get_forecast", description="Forecast.", parameters=schema)
    first = dataset.trajectories["train"][0]
    task = Task(id=first.query, turns=(Turn(text="x", calls=()),), definitions=(definition,))
    many = tuple(replace(first, id=f"copy {i}") for i in range(40))
    one = replace(dataset, tasks={"train": (task,)}, trajectories={"train": many})
    usual = trajectories(CHECKPOINT, one, CONFIG)
    varied = trajectories(CHECKPOINT, one, CONFIG.model_copy(update={"rename": 0.66}))
    assert isinstance(varied, VariedExamples) and list(varied) == usual
    drawn = {epoch: [varied.drawn(place, epoch) for place in range(40)] for epoch in range(2)}
    assert [varied.drawn(place, 1) for place in range(40)] == drawn[1] and drawn[0] != drawn[1]
    for examples in drawn.values():
        others = [example for example in examples if example != usual[0]]
        assert 18 <= len(others) <= 34 and len({example.ids for example in others}) == len(others)
        for example in others:
            choices = [[tokens for _, tokens in one.choices] for one in (example, usual[0])]
            assert choices[0] == choices[1]  # the token of the tool stays
            text = read(example.ids)
            shown = re.search(r"documentation\n(\w+)\nForecast.\n- (\w+) \(string, required\): Where.", text)
            assert shown and "city" not in text.split("documentation")[1] and "weather" not in shown[0]
            assert read([example.ids[i + 1] for i in example.text]).startswith(f'{{"{shown[2]}": "Oslo"}}')


def test_a_share_of_the_conversations_has_thoughts_before_actions_also_under_random_names(dataset: Dataset) -> None:
    def supervised(example: TrainingExample) -> str:
        return read([example.ids[place + 1] for place in example.text])

    whole = StageConfig(max_tokens=1024)
    none, some, every = (
        [supervised(one) for one in trajectories(CHECKPOINT, dataset, whole.model_copy(update={"thoughts": share}))]
        for share in (0.0, 0.5, 1.0)
    )
    assert len(none) == len(some) == len(every)
    assert not any("All is done." in one for one in none)
    assert all(re.match(r"To [\w ]+[.:]", one) and "All is done." in one for one in every)
    assert {*none} & {*some} and {*every} & {*some} and {*some} <= {*none, *every}
    both = trajectories(CHECKPOINT, dataset, whole.model_copy(update={"thoughts": 1.0, "rename": 1.0}))
    assert isinstance(both, VariedExamples)
    for place, known in enumerate(every):
        renamed = supervised(both.drawn(place, 0))
        assert renamed.startswith("To ") and renamed.split()[1] != known.split()[1], "the name that is shown"


def test_a_share_of_the_conversations_of_one_request_is_joined_with_others_in_each_epoch(dataset: Dataset) -> None:
    whole = StageConfig(max_tokens=1024)
    usual = trajectories(CHECKPOINT, dataset, whole)
    assert not isinstance(usual, VariedExamples)
    some, every, short = (
        trajectories(CHECKPOINT, dataset, whole.model_copy(update=settings))
        for settings in ({"join": 0.5}, {"join": 1.0}, {"join": 1.0, "max_tokens": max(map(len, usual))})
    )
    assert isinstance(some, VariedExamples) and isinstance(every, VariedExamples) and isinstance(short, VariedExamples)
    assert list(some) == list(every) == list(usual)
    places = range(len(usual))
    drawn = {epoch: [every.drawn(place, epoch) for place in places] for epoch in range(2)}
    assert drawn[0] != drawn[1] and drawn[1] == [every.drawn(place, 1) for place in places]
    fewer = [some.drawn(place, 0) for place in places]
    joined = [(one, whole) for one, whole in zip(drawn[0], usual, strict=True) if one != whole]
    assert 0 < sum(one != whole for one, whole in zip(fewer, usual, strict=True)) < len(joined)
    for one, alone in joined:
        (text,) = re.findall(r"user\n(.*?)<", read(one.ids), re.DOTALL)
        (first,) = re.findall(r"user\n(.*?)<", read(alone.ids), re.DOTALL)
        chosen, known = ([token for _, tokens in example.choices for token in tokens] for example in (one, alone))
        assert text.startswith(first.rstrip(".!")) and len(text) > len(first)
        assert chosen[: len(known) - 1] == known[:-1] and chosen[-1] == known[-1] and len(chosen) > len(known)
    assert all(len(short.drawn(place, 0)) <= max(map(len, usual)) for place in places)


def test_a_share_of_the_conversations_of_one_request_has_other_values_in_each_epoch(dataset: Dataset) -> None:
    first, cities = dataset.trajectories["train"][0], ("Oslo", "Rome", "Lima", "Cairo", "Quito")
    messages = json.dumps((user_message("The weather in Oslo?"), *first.messages[1:]))
    written = [json.loads(messages.replace("Oslo", city)) for city in cities]
    five = tuple(replace(first, id=city, messages=tuple(one)) for city, one in zip(cities, written, strict=True))
    cities_alone = replace(dataset, trajectories={"train": five})
    usual = trajectories(CHECKPOINT, cities_alone, CONFIG)
    some, every = (
        trajectories(CHECKPOINT, cities_alone, CONFIG.model_copy(update={"vary": share})) for share in (0.5, 1.0)
    )
    assert isinstance(some, VariedExamples) and isinstance(every, VariedExamples) and list(every) == list(usual)
    drawn = {epoch: [every.drawn(place, epoch) for place in range(5)] for epoch in range(20)}
    assert drawn[0] != drawn[1] and drawn[1] == [every.drawn(place, 1) for place in range(5)]
    changed = [
        (one, known) for examples in drawn.values() for one, known in zip(examples, usual, strict=True) if one != known
    ]
    assert 0 < sum(some.drawn(place, epoch) != usual[place] for place in range(5) for epoch in drawn) < len(changed)
    for one, known in changed:
        (text,) = re.findall(r"user\n(.*?)<", read(one.ids), re.DOTALL)
        (city,) = (city for city in cities if city in text)
        assert f'"{city}"' in read(one.ids) and city not in read(known.ids)
        assert [tokens for _, tokens in one.choices] == [tokens for _, tokens in known.choices]


def test_a_part_of_a_long_conversation_is_not_joined(dataset: Dataset) -> None:
    by_call = {min(calls_in(one.messages)): one for one in dataset.trajectories["train"] if is_joinable(one.messages)}
    first, second, last = [*by_call.values()][:3]
    turn = (user_message("Please. " * 50), *first.messages[1:])
    alone, both = (replace(first, messages=messages) for messages in (turn, (*turn, *second.messages)))
    known = trajectories(
        CHECKPOINT, replace(dataset, trajectories={"train": (alone, last)}), StageConfig(max_tokens=4096)
    )
    settings = StageConfig(max_tokens=len(known[0]), join=1.0)
    parts = trajectories(CHECKPOINT, replace(dataset, trajectories={"train": (both, last)}), settings)
    assert isinstance(parts, VariedExamples) and len(parts) == 3
    assert len(parts[1]) + len(parts[2]) < settings.max_tokens, "together they would fit"
    assert all(parts.drawn(place, epoch) == parts[place] for place in range(3) for epoch in range(100))


def test_conversations_that_mean_other_definitions_of_a_tool_are_not_joined(dataset: Dataset) -> None:
    first = dataset.trajectories["train"][0]
    definition = Definition(tool="weather&&get_forecast", description="Wholly other.", parameters={"type": "object"})
    turns = (Turn(text="x", calls=()),)
    tasks = tuple(Task(id=f"{i}", turns=turns, definitions=(definition,) if i else ()) for i in range(2))
    changed = json.dumps(first.messages).replace("Oslo", "Rome")
    two = (replace(first, id="a", query="0"), replace(first, id="b", query="1", messages=tuple(json.loads(changed))))
    same = replace(two[1], query="0")
    for both, joins in ((two, False), ((two[0], same), True)):
        one = replace(dataset, tasks={"train": tasks}, trajectories={"train": both})
        every = trajectories(CHECKPOINT, one, StageConfig(max_tokens=1024, join=1.0))
        assert isinstance(every, VariedExamples)
        assert any(every.drawn(0, epoch) != every[0] for epoch in range(10)) is joins


def test_a_conversation_that_failed_is_left_out(dataset: Dataset) -> None:
    assert trajectories(CHECKPOINT, with_trajectory(dataset, status="error"), CONFIG) == []


def test_a_source_that_the_stage_does_not_have_is_named(dataset: Dataset) -> None:
    with pytest.raises(UsageError, match="the memorization stage has no source 'requests'; it has document, name"):
        STAGES["memorization"].examples(CHECKPOINT, dataset, StageConfig(shares={"requests": 1.0}))


def test_a_source_without_a_share_is_not_made(dataset: Dataset) -> None:
    assert STAGES["retrieval"].examples(
        CHECKPOINT, dataset, StageConfig(shares={"requests": 1.0, "name": 0})
    ).keys() == {"requests"}


def test_examples_are_made_when_they_are_drawn_and_know_their_targets_before(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = ("requests", "shortened", "keywords", "short", "description", "abstentions")
    config = StageConfig(shares=dict.fromkeys(shares, 1.0))
    prompts = []

    def counted(*arguments: Any, **options: Any) -> list[int]:
        prompts.append(arguments)
        return prompt(*arguments, **options)

    prompt = PromptProtocol.prompt
    monkeypatch.setattr(PromptProtocol, "prompt", counted)
    sources = STAGES["retrieval"].examples(CHECKPOINT, dataset, config)
    assert not prompts
    for examples in sources.values():
        known = targets_of(examples)
        assert known and known == targets_of(list(examples))
        assert examples[0] == examples[:1][0]
    assert prompts
