"""Requests for a tool as a language model writes them, from its documentation and a few examples.

Prompts as in ToolBench (arXiv 2307.16789, section 2.2), but for one tool and in two styles. What comes back is only a
draft: `synthetic.keep_useful` decides. Knows no particular model: a `LanguageModel` is handed in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from toolgen.catalog.text import document
from toolgen.catalog.tool import Tool, canonical_json
from toolgen.datasets.messages import DOCUMENTATION
from toolgen.datasets.synthetic import SPARE, TRAINED, Draft
from toolgen.errors import InputError, UsageError
from toolgen.files import append_record, write_text
from toolgen.foreign.data import line_values, lines_so_far
from toolgen.foreign.typed import typed_lines
from toolgen.llm import ChatMessage, LanguageModel

MAX_DOCUMENTATION = 1200  # characters of a tool's documentation in the prompt
AT_ONCE = 16  # after the answers for so many tools or requests they are saved
TOKENS_A_REQUEST = 40
SHORT_DOCUMENTATION = 450  # characters of it that a trained writer reads; more only makes it slower
TRAINED_TEMPERATURE = 0.8
TRAINED_TOKENS = 64  # of one of its requests, at most

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
    return {"role": DOCUMENTATION, "content": document(tool)[:SHORT_DOCUMENTATION]}


def parse_requests(answer: str, tool: Tool) -> list[str]:
    """The requests in an answer: a list of lines or a JSON list; bullets and quotes are taken off. Lines that name the
    tool's identifier, introduce the list, copy the prompt, or are too short or too long are no requests."""
    return list(dict.fromkeys(text for text in listed(answer) if _is_request(text, tool)))


def _is_request(text: str, tool: Tool) -> bool:
    is_sentence = 2 <= len(text.split()) <= 60 and re.search(r"[^\W\d_]", text) is not None
    return is_sentence and text not in _COPIES and not _NO_REQUEST.search(text) and not _names(text, tool)


def listed(answer: str) -> list[str]:
    """The items of an answer that is a list of lines or a JSON list, without bullets and quotes."""
    return [" ".join(_BULLET.sub("", line, count=1).split()).strip("\"'` ") for line in _lines(answer)]


def drafts_by_model(
    tools: Sequence[Tool],
    llm: LanguageModel,
    per_tool: int,
    seed: int,
    work: Path,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    spare: int = SPARE,
) -> Iterator[Draft]:
    """`spare` drafts for each of `per_tool` requests, half of each style. Answers are kept in `work` as they come, so that
    an interrupted run resumes; UsageError if that file was begun with other settings."""
    each = -(-per_tool * spare // len(STYLES))
    answers = ask_in_parts(
        [_key(tool) for tool in tools],
        lambda place: [prompt_for(tools[place], style, each) for style in STYLES],
        llm,
        work,
        {"model": llm.name, "per_style": each, "seed": seed},
        max_tokens=each * TOKENS_A_REQUEST,
        seed=seed,
        on_progress=on_progress,
    )
    for tool, written in zip(tools, answers, strict=True):
        for style, answer in zip(STYLES, written, strict=True):
            for text in parse_requests(answer, tool)[:each]:
                yield Draft(tool.id, text, style, llm.name)


def drafts_by_trained(
    tools: Sequence[Tool],
    llm: LanguageModel,
    per_tool: int,
    seed: int,
    work: Path,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[Draft]:
    """`per_tool` drafts a tool by a writer that `toolgen train writer` taught: it answers a documentation with one request,
    another one each time, and nearly all are of use. `work` as for `drafts_by_model`."""
    answers = ask_in_parts(
        [_key(tool) for tool in tools],
        lambda place: [[documentation_turn(tools[place])]] * per_tool,
        llm,
        work,
        {"model": llm.name, "requests": per_tool, "seed": seed},
        max_tokens=TRAINED_TOKENS,
        temperature=TRAINED_TEMPERATURE,
        seed=seed,
        on_progress=on_progress,
    )
    for tool, written in zip(tools, answers, strict=True):
        for text in dict.fromkeys(" ".join(answer.split()) for answer in written):
            if "<<" not in text and _is_request(text, tool):
                yield Draft(tool.id, text, TRAINED, llm.name)


def ask_in_parts(
    keys: Sequence[str],
    prompts: Callable[[int], Sequence[Sequence[ChatMessage]]],
    llm: LanguageModel,
    work: Path,
    settings: Mapping[str, Any],
    *,
    max_tokens: int,
    temperature: float = 0.7,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[list[str]]:
    """The answers to the conversations `prompts(place)` of each key, AT_ONCE keys at a time. They are kept in the file `work`
    as they come, so that an interrupted run resumes; UsageError if that was begun with other `settings`."""
    answers = _answers_so_far(work, settings)
    missing = [place for place, key in enumerate(keys) if key not in answers]
    for start in range(0, len(missing), AT_ONCE):
        part = missing[start : start + AT_ONCE]
        asked = {place: prompts(place) for place in part}
        texts = iter(
            llm.write(
                [prompt for several in asked.values() for prompt in several],
                max_tokens=max_tokens,
                temperature=temperature,
                seed=seed + start,
            )
        )
        for place, several in asked.items():
            answers[keys[place]] = [next(texts) for _ in several]
            append_record(work, {"key": keys[place], "answers": answers[keys[place]]})
        if on_progress:
            on_progress(len(keys) - len(missing) + start + len(part), len(keys))
    return [answers[key] for key in keys]


def _key(tool: Tool) -> str:
    return f"{tool.id} {tool.content_hash}"


@dataclass(frozen=True)
class _Answers:
    """A line of the work file."""

    key: str
    answers: list[str]


def _answers_so_far(work: Path, settings: Mapping[str, Any]) -> dict[str, list[str]]:
    """The answers in the work file, which is begun if there is none."""
    begin = canonical_json(settings).encode() + b"\n"
    lines = lines_so_far(work)
    if not lines:
        write_text(work, begin.decode())
        return {}
    if not lines.startswith(begin):
        raise UsageError(
            f"{work} holds answers of an unfinished run with other settings; repeat that run or delete the file"
        )

    def refuse(line: str, reason: str) -> None:
        raise InputError(f"{work}, {line}: {reason}; delete the file to have all written anew")

    written = islice(line_values(lines, str(work), refuse), 1, None)  # behind the settings
    return {kept.key: kept.answers for kept in typed_lines(_Answers, written, refuse)}


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
