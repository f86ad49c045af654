"""Requests by a language model: what is asked, what is read out of its answers, and how an interrupt is survived."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen.catalog import Tool
from toolgen.datasets.written import (
    AT_ONCE,
    documentation_turn,
    drafts_by_model,
    drafts_by_trained,
    parse_requests,
    prompt_for,
)
from toolgen.errors import InputError, UsageError
from toolgen.llm import ChatMessage

TOOLS = [Tool(id=f"p&&tool_{i}", provider="p", name=f"tool_{i}", description=f"Does thing {i}.") for i in range(40)]


class Echo:
    """Answers each conversation with numbered requests that name the described thing; fails after `calls` calls."""

    name = "echo"

    def __init__(self, calls: int = 1000) -> None:
        self.calls = calls
        self.asked = 0

    def write(
        self, prompts: Sequence[Sequence[ChatMessage]], *, max_tokens: int, temperature: float = 0.7, seed: int = 0
    ) -> list[str]:
        del max_tokens, temperature, seed
        if not self.calls:
            raise KeyboardInterrupt
        self.calls -= 1
        self.asked += len(prompts)
        things = [prompt[-1]["content"].splitlines()[1] for prompt in prompts]
        return [f"1. please: {thing}\n2. i want it: {thing}" for thing in things]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Here are 2 requests:\n1. find a taxi\n2) book it now", ["find a taxi", "book it now"]),
        ('- "a table for two"\n* call tool_3 now\n\n- word', ["a table for two"]),
        ('```json\n["one wish", "two wishes"]\n```', ["one wish", "two wishes"]),
        ("same thing\nsame thing\n1. 22 33", ["same thing"]),
        ("a [broken list", ["a [broken list"]),
        (
            "Here's a list:\nWrite 2 requests\ncity (string, required): the city\nweather next days\nsnow in May?",
            ["snow in May?"],
        ),
        ("", []),
    ],
)
def test_requests_are_read_out_of_lists_of_any_kind(answer: str, expected: list[str]) -> None:
    assert parse_requests(answer, TOOLS[3]) == expected


@given(st.text())
def test_any_answer_can_be_read(answer: str) -> None:
    assert all(2 <= len(text.split()) <= 60 for text in parse_requests(answer, TOOLS[0]))


def test_the_prompt_shows_the_documentation_and_the_style() -> None:
    *_, last = prompt_for(TOOLS[7], "vague", 5)
    assert "Does thing 7." in last["content"] and "Write 5 requests" in last["content"]
    assert prompt_for(TOOLS[7], "vague", 5)[0] != prompt_for(TOOLS[7], "specified", 5)[0]


def test_an_interrupted_run_asks_only_for_what_is_missing(tmp_path: Path) -> None:
    whole = [*drafts_by_model(TOOLS, Echo(), 2, 0, tmp_path / "whole.jsonl")]
    assert {draft.tool for draft in whole} == {tool.id for tool in TOOLS}
    assert {(draft.by, draft.style) for draft in whole} == {("echo", "vague"), ("echo", "specified")}
    work = tmp_path / "work.jsonl"
    with pytest.raises(KeyboardInterrupt):
        [*drafts_by_model(TOOLS, Echo(calls=1), 2, 0, work)]
    with work.open("a", encoding="utf-8") as file:
        file.write('{"key": "p&&cut o')  # the line that was being written
    again = Echo()
    assert [*drafts_by_model(TOOLS, again, 2, 0, work)] == whole
    assert again.asked == 2 * (len(TOOLS) - AT_ONCE)


def test_a_file_that_is_no_runs_is_left_as_it_is(tmp_path: Path) -> None:
    work = tmp_path / "work.jsonl"
    work.write_text("mine\nno end")
    with pytest.raises(UsageError, match="other settings"):
        [*drafts_by_model(TOOLS[:2], Echo(), 2, 0, work)]
    assert work.read_text() == "mine\nno end"


def test_answers_of_other_settings_are_not_taken_up(tmp_path: Path) -> None:
    work = tmp_path / "work.jsonl"
    [*drafts_by_model(TOOLS[:2], Echo(), 2, 0, work)]
    with pytest.raises(UsageError, match="other settings"):
        [*drafts_by_model(TOOLS[:2], Echo(), 2, 1, work)]


@pytest.mark.parametrize(
    "line", ["{", "3", "{}", '{"key": "a", "answers": null}', '{"key": 1, "answers": ["a"]}', "[" * 9999]
)
def test_a_kept_answer_that_was_changed_is_named(tmp_path: Path, line: str) -> None:
    work = tmp_path / "work.jsonl"
    [*drafts_by_model(TOOLS[:2], Echo(), 2, 0, work)]
    first, second, *rest = work.read_text(encoding="utf-8").split("\n")
    work.write_text("\n".join([first, second, line, *rest]), encoding="utf-8")
    with pytest.raises(InputError, match=r"work\.jsonl, line 3: .*; delete the file") as caught:
        [*drafts_by_model(TOOLS[:2], Echo(), 2, 0, work)]
    assert "\n" not in str(caught.value)


def test_a_model_whose_name_holds_a_separator_of_lines_goes_on_with_its_answers(tmp_path: Path) -> None:
    model = Echo()
    model.name = "echo\u2028two"
    whole = [*drafts_by_model(TOOLS[:2], model, 2, 0, tmp_path / "work.jsonl")]
    asked = model.asked
    assert [*drafts_by_model(TOOLS[:2], model, 2, 0, tmp_path / "work.jsonl")] == whole and model.asked == asked


class Trained:
    """Answers a documentation with one request, another one each time; every fourth answer is none."""

    name = "trained"

    def write(
        self, prompts: Sequence[Sequence[ChatMessage]], *, max_tokens: int, temperature: float = 0.7, seed: int = 0
    ) -> list[str]:
        del max_tokens, temperature, seed
        assert all(list(prompt) == [documentation_turn(TOOLS[i // 4])] for i, prompt in enumerate(prompts))
        poor = ["", "<<p&&tool_1>> of them", "one-word", "call tool_9 now"]
        return [poor[i % 16 // 4] if i % 4 == 3 else f"do thing\n{i} please" for i in range(len(prompts))]


def test_a_trained_writer_is_asked_with_the_documentation_alone_and_gives_one_request_an_answer(tmp_path: Path) -> None:
    drafts = [*drafts_by_trained(TOOLS[:10], Trained(), 4, 0, tmp_path / "work.jsonl")]
    assert {draft.style for draft in drafts} == {"trained"}
    texts = [draft.text for draft in drafts if draft.tool == TOOLS[0].id]
    assert texts == ["do thing 0 please", "do thing 1 please", "do thing 2 please"]
    assert len(drafts) == 3 * 10 + 2  # tool_9's identifier in a request for tools 3 and 7 is no identifier of theirs
