"""Requests for a tool as a language model writes them, from its documentation and a few examples.

Prompts as in ToolBench (arXiv 2307.16789, section 2.2), but for one tool and in two styles. What comes back is only a
draft: `synthetic.keep_useful` decides. Knows no particular model: a `TextWriter` is handed in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolgen.catalog.text import document
from toolgen.catalog.tool import Tool, canonical_json
from toolgen.datasets.synthetic import SPARE, Draft
from toolgen.errors import UsageError
from toolgen.llm import ChatMessage, TextWriter

MAX_DOCUMENTATION = 1200  # characters of a tool's documentation in the prompt
TOOLS_AT_ONCE = 16  # after so many the answers are saved
TOKENS_A_REQUEST = 40
SHORT_DOCUMENTATION = 450  # characters of it that a trained writer reads; more only makes it slower

STYLES: Mapping[str, str] = {
    "vague": "Requests are short, 2 to 8 words, as people type them into a search box, without details.",
    "specified": "Requests are one or two sentences and give a value for every required parameter.",
}
_EXAMPLE = (
    "get_forecast\nReturns the weather forecast of a city.\n- city (string, required)\n- days (integer, required)"
)
_EXAMPLE_ANSWERS: Mapping[str, Sequence[str]] = {
    "vague": ("weather next days", "will it rain this week?", "forecast for my trip"),
    "specified": (
        "What will the weather be like in Lima over the next 3 days?",
        "I'm in Oslo until Friday, so give me a forecast for 4 days.",
        "Please check the weather in Turin for the coming 7 days.",
    ),
}
# `1. text`, `2) text`, `- text`, `* text`
_BULLET = re.compile(r"^\s*(?:\d{1,2}\s*[.):]|[-*•])\s*")
# What introduces a list, repeats the task, or copies a line of the documentation or of the example.
_NO_REQUEST = re.compile(
    r"^(?:here (?:are|is)|here's|sure|requests?|of course|certainly|write \d+|def)\b|\((?:\w+, )*required\)",
    re.IGNORECASE,
)
_COPIES = frozenset(text for texts in _EXAMPLE_ANSWERS.values() for text in texts)


def prompt_for(tool: Tool, style: str, count: int) -> list[ChatMessage]:
    """The conversation that asks for `count` requests in one of STYLES."""
    task = f"Write requests of users whom this tool can help. {STYLES[style]} Never name the tool. One request a line."
    example = "\n".join(f"{number}. {text}" for number, text in enumerate(_EXAMPLE_ANSWERS[style], start=1))
    return [
        {"role": "system", "content": task},
        {"role": "user", "content": f"{_EXAMPLE}\n\nWrite {len(_EXAMPLE_ANSWERS[style])} requests."},
        {"role": "assistant", "content": example},
        {"role": "user", "content": f"{document(tool)[:MAX_DOCUMENTATION]}\n\nWrite {count} requests."},
    ]


def documentation_turn(tool: Tool) -> ChatMessage:
    """What a trained writer (`toolgen train writer`) answers with a request for this tool."""
    return {"role": "documentation", "content": document(tool)[:SHORT_DOCUMENTATION]}


def parse_requests(answer: str, tool: Tool) -> list[str]:
    """The requests in an answer: a list of lines or a JSON list; bullets and quotes are taken off. Lines that name the
    tool's identifier, introduce the list, copy the prompt, or are too short or too long are no requests."""
    found = []
    for text in listed(answer):
        is_sentence = 2 <= len(text.split()) <= 60 and re.search(r"[^\W\d_]", text) is not None
        if is_sentence and text not in _COPIES and not _NO_REQUEST.search(text) and not _names(text, tool):
            found.append(text)
    return list(dict.fromkeys(found))


def listed(answer: str) -> list[str]:
    """The items of an answer that is a list of lines or a JSON list, without bullets and quotes."""
    return [" ".join(_BULLET.sub("", line, count=1).split()).strip("\"'` ") for line in _lines(answer)]


def drafts_by_model(
    tools: Sequence[Tool],
    writer: TextWriter,
    per_tool: int,
    seed: int,
    work: Path,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    spare: int = SPARE,
) -> Iterator[Draft]:
    """`spare` drafts for each of `per_tool` requests, half of each style. Answers are kept in `work` as they come, so that
    an interrupted run goes on where it stopped; UsageError if that file was begun with other settings."""
    each = -(-per_tool * spare // len(STYLES))
    settings = {"model": writer.name, "per_style": each, "seed": seed}
    answers = _answers_so_far(work, settings)
    missing = [tool for tool in tools if _key(tool) not in answers]
    with work.open("a", encoding="utf-8") as file:
        for start in range(0, len(missing), TOOLS_AT_ONCE):
            part = missing[start : start + TOOLS_AT_ONCE]
            prompts = [prompt_for(tool, style, each) for tool in part for style in STYLES]
            texts = writer.write(prompts, max_tokens=each * TOKENS_A_REQUEST, seed=seed + start)
            for i, tool in enumerate(part):
                answers[_key(tool)] = texts[i * len(STYLES) : (i + 1) * len(STYLES)]
                file.write(json.dumps({"tool": _key(tool), "answers": answers[_key(tool)]}) + "\n")
            file.flush()
            if on_progress:
                on_progress(len(tools) - len(missing) + start + len(part), len(tools))
    for tool in tools:
        for style, answer in zip(STYLES, answers[_key(tool)], strict=True):
            for text in parse_requests(answer, tool)[:each]:
                yield Draft(tool.id, text, style, writer.name)


def _key(tool: Tool) -> str:
    return f"{tool.id} {tool.content_hash}"


def _answers_so_far(work: Path, settings: Mapping[str, Any]) -> dict[str, list[str]]:
    """The answers in the work file; a line that an interrupt cut off is dropped."""
    if not work.exists():
        work.parent.mkdir(parents=True, exist_ok=True)
        work.write_text(canonical_json(settings) + "\n", encoding="utf-8")
        return {}
    lines = work.read_text(encoding="utf-8").splitlines(keepends=True)
    if not lines or lines[0].strip() != canonical_json(settings):
        raise UsageError(
            f"{work} holds answers of an unfinished run with other settings; repeat that run or delete the file"
        )
    whole = [line for line in lines if line.endswith("\n")]
    work.write_text("".join(whole), encoding="utf-8")
    records = [json.loads(line) for line in whole[1:]]
    return {record["tool"]: record["answers"] for record in records}


def _lines(answer: str) -> list[str]:
    start, stop = answer.find("["), answer.rfind("]")
    if 0 <= start < stop:
        try:
            listed = json.loads(answer[start : stop + 1])
        except ValueError:
            listed = None
        if isinstance(listed, list) and listed and all(isinstance(item, str) for item in listed):
            return listed
    return answer.splitlines()


def _names(text: str, tool: Tool) -> bool:
    """Whether a text holds the tool's identifier as such; a name that is an ordinary word is none."""
    return bool(re.search(r"[\W_]|[a-z][A-Z]", tool.name)) and tool.name.lower() in text.lower()
