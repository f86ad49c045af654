"""Every command on a catalog, dataset, checkpoint and results whose texts are hostile: what is shown is text and no more."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from toolgen.catalog import Catalog, Tool
from toolgen.cli.app import make_app
from toolgen.datasets import Dataset, Query, Task, Trajectory, Turn, save_dataset
from toolgen.testing import tiny_base, tiny_checkpoint, tiny_dataset

MARKUP = "[/users/{id}] [link=https://evil.example]a[/link] :key: [bold]b"
CONTROL = "\x1b[31mEVIL\x1b]8;;https://evil.example\x07\x1b]52;c;ZXZpbA==\x07\x9b2J\u202egnp\u2066\x00\x08"
BREAKS = "\u2028error: forged\nerror: forged\rerror: forged\x85error: forged\x0berror: forged"
BAD = f"{MARKUP} {CONTROL} {BREAKS}"

OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
OURS = re.compile(r"\x1b\[[0-9;?]*[A-HJKhlm]")  # colours, and the cursor of a progress bar


def hostile_tools() -> list[Tool]:
    schema = {"type": "string", "description": BAD, "enum": [BAD]}
    parameters = {"type": "object", "properties": {BAD: schema}, "required": [BAD]}
    plain = [replace(tool, description=f"{BAD} {tool.description}", category=BAD) for tool in tiny_dataset().catalog]
    return [
        *plain,
        Tool(id=f"p&&{BAD}", provider=BAD, name=BAD, description=BAD, category=BAD, parameters=parameters),
        Tool(id=f"q&&{BAD}", provider=BAD, name=BAD, description=BAD, category=BAD, parameters=parameters),
    ]


def hostile_dataset() -> Dataset:
    tiny = tiny_dataset()
    query = Query(id=BAD, text=BAD, tools=(f"p&&{BAD}",), category=BAD)
    task = Task(id=BAD, turns=(Turn(text=BAD, calls=()),), category=BAD)
    run = tiny.trajectories["train"][0]
    messages = ({"role": "user", "content": BAD}, *run.messages[1:])
    return replace(
        tiny,
        name=BAD,
        version=BAD,
        source=BAD,
        licence=BAD,
        catalog=Catalog(hostile_tools()),
        queries={split: (query, *queries) for split, queries in tiny.queries.items()},
        tasks={"test": (task,)},
        trajectories={"train": (Trajectory(id=BAD, query=BAD, messages=messages, outcome=run.outcome),)},
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything; the name of a dataset's folder is hostile too."""
    folder = tmp_path_factory.mktemp("hostile")
    dataset = hostile_dataset()
    save_dataset(dataset, folder / "data")
    save_dataset(replace(dataset, catalog=Catalog(hostile_tools()[:-1])), folder / "old [bold]\x1b[31mEVIL")
    tiny_checkpoint(catalog=dataset.catalog, max_position_embeddings=4096).save(folder / "ckpt")
    tiny_base(folder / "base", max_position_embeddings=4096)
    request = {"id": BAD, "text": BAD}
    (folder / "requests.jsonl").write_text(json.dumps(request) + "\n")
    surrogate = BAD + "\ud800"
    function = {
        "name": surrogate,
        "description": surrogate,
        "parameters": {"type": surrogate, "properties": [surrogate]},
    }
    (folder / "tools.json").write_text(
        json.dumps([{"type": "function", "function": function}, {"type": surrogate}, surrogate])
    )
    (folder / "recipe.yaml").write_text(f'"{json.dumps(BAD)[1:-1]}": 1\n')
    return folder


COMMANDS = """
catalog show data
catalog search data EVIL
catalog validate data
catalog diff OLD data
catalog diff data OLD
catalog duplicates data --threshold 0.5
catalog queries data -o data-queries
catalog rewrite data --how short -o data-short
catalog build openai:tools.json -o built
catalog build openai:OLD -o built
catalog build python:BAD.py -o built
catalog show OLD
catalog show BAD
catalog BAD
catalog search data
search data EVIL
search ckpt EVIL
search ckpt BAD
search ckpt --queries requests.jsonl
search ckpt --queries requests.jsonl -o rankings.jsonl
search ckpt --queries tools.json
search ckpt EVIL --retriever BAD
run ckpt BAD --max-steps 2
run ckpt BAD --environment BAD
evaluate retrieval data data --retriever bm25 --split test -o bm25.json
evaluate retrieval ckpt data --split test -o generative.json
evaluate agent ckpt data --split test --limit 2 -o agent.json
report bm25.json generative.json agent.json -o report.html
report tools.json -o report.html
plan --tools 5
plan BAD
virtualize OLD --base base -o virtual
virtualize data --base BAD -o virtual2
train memorization ckpt data -o trained --set steps=1
train memorization ckpt data -o trained --recipe recipe.yaml
train memorization ckpt data -o trained --set BAD=1
train memorization --show-config
train reinforce ckpt data -o learned --set steps=1 --set batch_size=2 --set group_size=2 --set argument_tokens=8
train reinforce ckpt data -o learned --set reward.BAD=1
mcp data --install claude
experiment recipe.yaml
tools list ckpt
tools remove ckpt BAD
tools add ckpt openai:tools.json
index openai:tools.json -o indexed --base base --no-fit
fetch base BAD
fetch dataset BAD
catalog mix BAD -o mixed
catalog mix data -o mixed --set BAD
tools update ckpt openai:tools.json
tools update ckpt BAD
index BAD -o indexed2 --base base
serve BAD
serve data --retriever BAD
mcp BAD
mcp data --retriever BAD
pretrain data -o pretrained --base BAD
pretrain BAD -o pretrained --base base
pretrain data -o pretrained --base base --set BAD=1
quickstart -o quick --only BAD
quickstart -o quick --list --set BAD=1
quickstart -o BAD --list
"""


def commands() -> Iterator[list[str]]:
    named = {"OLD": "old [bold]\x1b[31mEVIL", "BAD": BAD}
    for line in COMMANDS.strip().splitlines():
        yield [re.sub("OLD|BAD", lambda match: named[match[0]].replace("\x00", ""), word) for word in line.split(" ")]


def check(output: str) -> None:
    """No effect of a foreign text."""
    assert "\x1b[31mEVIL" not in output
    assert "\x1b]" not in output
    shown = OURS.sub("", output)
    assert not OBEYED.search(shown), repr(shown[max(0, OBEYED.search(shown).start() - 60) :][:120])  # type: ignore[union-attr]
    assert not re.search("^error: forged", shown, re.MULTILINE)
    assert "Traceback" not in shown
    assert "MarkupError" not in shown


@pytest.mark.parametrize("arguments", list(commands()), ids=COMMANDS.strip().splitlines())
def test_no_command_shows_more_than_text(place: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.chdir(place)
    result = CliRunner().invoke(make_app(), arguments)
    check(result.stdout)
    check(result.stderr)
    assert "unexpected" not in result.stderr, result.stderr


JSON_COMMANDS = [
    ["catalog", "show", "data"],
    ["catalog", "search", "data", "EVIL"],
    ["catalog", "duplicates", "data"],
    ["search", "ckpt", "EVIL"],
]


@pytest.mark.parametrize("arguments", JSON_COMMANDS, ids=" ".join)
def test_json_keeps_every_character_as_an_escape(
    place: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(place)
    result = CliRunner().invoke(make_app(), [*arguments, "--json"])
    check(result.stdout)
    assert "EVIL" in json.dumps(json.loads(result.stdout), ensure_ascii=False)


def under_a_terminal(script: str, folder: Path, **environment: str) -> str:
    """What a person sees of a Python script in a terminal."""
    parent, child = pty.openpty()
    settings = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "300", **environment}
    command = [sys.executable, "-c", script]
    process = subprocess.Popen(command, cwd=folder, stdin=child, stdout=child, stderr=child, env=settings)
    os.close(child)
    seen = b""
    with suppress(OSError):  # the terminal is gone when the process is
        while part := os.read(parent, 1 << 16):
            seen += part
    process.wait()
    os.close(parent)
    return seen.decode("utf-8")


def script_of(chosen: list[list[str]]) -> str:
    return (
        f"from toolgen.cli.app import make_app\nfor arguments in {chosen!r}:\n"
        "    try:\n        make_app()(arguments)\n    except SystemExit:\n        pass\n"
    )


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_a_terminal_obeys_nothing_of_it_either(place: Path, locale: str) -> None:
    chosen = [arguments for arguments in commands() if arguments[0] in ("catalog", "search", "report", "fetch", "plan")]
    seen = under_a_terminal(script_of(chosen), place, LC_ALL=locale, LANG=locale).replace("\r", "")
    check(seen)
    assert "\x1b[" in seen, "it was not taken for a terminal"
    assert "[/users/{id}] [link=https://evil.example]" in seen


def test_output_in_an_encoding_without_most_letters_is_escaped(place: Path) -> None:
    settings: dict[str, Any] = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    for arguments, as_json in (
        (["catalog", "show", "data"], False),
        (["catalog", "search", "data", "EVIL", "--json"], True),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "toolgen", *arguments], cwd=place, env=settings, capture_output=True, check=True
        )
        text = done.stdout.decode("ascii")
        check(text)
        if as_json:
            assert json.loads(text)["results"]
