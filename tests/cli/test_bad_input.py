"""Bad input of every kind, from the table `bad_input.yaml`: one line of error and the right exit code, soon, no traceback."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from toolgen.catalog import Catalog
from toolgen.cli.app import make_app
from toolgen.datasets import Dataset, save_dataset
from toolgen.testing import tiny_base, tiny_catalog, tiny_checkpoint, tiny_dataset

TABLE = yaml.safe_load(Path(__file__).with_name("bad_input.yaml").read_text(encoding="utf-8"))
ROWS = [tuple(row) for rows in TABLE.values() for row in rows]
SECONDS = 20  # for one row; all of them together take less than that on a machine that does nothing else

FUNCTION = {
    "name": "w",
    "description": "d",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
FILES = {
    "empty.json": "",
    "word.json": "hello",
    "cut.json": '{"a": [1,',
    "numbers.json": "[1, 2]",
    "deep.json": "[" * 100_000,
    "nameless.json": '[{"description": "d"}]',
    "tools.json": json.dumps([FUNCTION]),
    "laughs.yaml": LAUGHS,
    "bad.zip": "PK nonsense",
    "bad.tgz": "nonsense",
    "servers.json": '{"servers": 3}',
    "raises.py": "raise ValueError('of its own')",
    "syntax.py": "def f(:",
    "exits.py": "import sys; sys.exit(7)",
    "queries.jsonl": '{"id": 1, "text": "weather"}\n',
    "null-text.jsonl": '{"id": 1, "text": null}\n',
    "no-id.jsonl": '{"text": "weather"}\n',
    "no-methods.yaml": "datasets: {d: data}\nmethods: {}\n",
    "odd.yaml": "datasets: {d: data}\nmethods: 3\n",
    "result-odd.json": '{"kind": "retrieval", "format": 1}',
    "beir-zero/queries.jsonl": "{}",
    "beir-no-qrels/corpus.jsonl": '{"_id": "a", "title": "A"}',
    "beir-no-qrels/queries.jsonl": '{"_id": "q", "text": "Q"}',
    "beir-broken/corpus.jsonl": '{"_id": ',
    "beir-broken/queries.jsonl": '{"_id": "q", "text": "Q"}',
    "beir-broken/qrels/test.tsv": "q\ta\t1",
    "folder/readme.txt": "nothing to read",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the rows name."""
    root = tmp_path_factory.mktemp("bad")
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    (root / "binary.json").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    os.mkfifo(root / "pipe")
    for name in ("zero", "beir-zero/corpus.jsonl"):
        (root / name).symlink_to("/dev/zero")
    _datasets(root)
    _models(root)
    return root


def _datasets(root: Path) -> None:
    save_dataset(tiny_dataset(), root / "data")
    small = Dataset(name="other", version="", source="", licence="", catalog=Catalog(list(tiny_catalog())[:3]))
    save_dataset(small, root / "data-other")
    metadata = json.loads((root / "data/dataset.json").read_text(encoding="utf-8"))
    changes: dict[str, Any] = {
        "data-empty-meta": "",
        "data-list-meta": "[]",
        "data-old": json.dumps(metadata | {"format": 1}),
        "data-new": json.dumps(metadata | {"format": 99}),
        "data-few-keys": json.dumps({"format": metadata["format"]}),
        "data-odd-files": json.dumps(metadata | {"files": 3}),
    }
    for name, text in changes.items():
        shutil.copytree(root / "data", root / name)
        (root / name / "dataset.json").write_text(text, encoding="utf-8")
    for name in ("data-changed", "data-missing", "data-pipe"):
        shutil.copytree(root / "data", root / name)
    with (root / "data-changed/catalog.jsonl").open("a", encoding="utf-8") as file:
        file.write("{}\n")
    (root / "data-missing/queries.test.jsonl").unlink()
    (root / "data-pipe/dataset.json").unlink()
    os.mkfifo(root / "data-pipe/dataset.json")


def _models(root: Path) -> None:
    tiny_base(root / "base", max_position_embeddings=1024)
    for name, file in (("base-no-weights", "model.safetensors"), ("base-broken-config", "config.json")):
        shutil.copytree(root / "base", root / name)
        (root / name / file).unlink()
    (root / "base-broken-config/config.json").write_text('{"model_type": ', encoding="utf-8")
    tiny_checkpoint().save(root / "ckpt")
    metadata = json.loads((root / "ckpt/toolgen.json").read_text(encoding="utf-8"))
    for name, text in {
        "ckpt-nometa": None,
        "ckpt-list-meta": "[]",
        "ckpt-old": json.dumps(metadata | {"format": 0}),
    }.items():
        shutil.copytree(root / "ckpt", root / name)
        (root / name / "toolgen.json").unlink()
        if text is not None:
            (root / name / "toolgen.json").write_text(text, encoding="utf-8")
    for name, file in (("ckpt-no-catalog", "catalog.jsonl"), ("ckpt-no-weights", "model.safetensors")):
        shutil.copytree(root / "ckpt", root / name)
        (root / name / file).unlink()


@contextmanager
def in_time(command: str) -> Iterator[None]:
    def late(*_: object) -> None:
        pytest.fail(f"toolgen {command} takes more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def check(stderr: str, code: int, expected: int, says: str) -> None:
    assert "Traceback" not in stderr and "unexpected " not in stderr.replace("unexpected extra argument", ""), stderr
    *before, last = stderr.splitlines() or [""]  # what was begun may be said before
    assert last.startswith("error: ") and len(before) <= 3, stderr
    assert not any(line.startswith("error") for line in before), stderr
    assert says in last
    assert code == expected


def test_the_table_is_large_and_has_no_row_twice() -> None:
    assert len(ROWS) >= 150
    assert len({command for command, *_ in ROWS}) == len(ROWS)


@pytest.mark.parametrize(("command", "code", "says"), ROWS, ids=[command for command, *_ in ROWS])
def test_a_row_is_one_line_and_its_exit_code(
    place: Path, monkeypatch: pytest.MonkeyPatch, command: str, code: int, says: str
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("TOOLGEN_CACHE", str(place / "cache"))
    with in_time(command):
        result = CliRunner().invoke(make_app(), shlex.split(command))
    check(result.stderr, result.exit_code, code, says)
    assert not (place / "out").exists()


@pytest.mark.parametrize("command", ["nonsense", "catalog build openai:zero -o out", "search data --queries pipe"])
def test_a_real_process_says_the_same(place: Path, command: str) -> None:
    (row,) = [row for row in ROWS if row[0] == command]
    done = subprocess.run(
        [sys.executable, "-m", "toolgen", *shlex.split(command)], cwd=place, capture_output=True, text=True, timeout=60
    )
    check(done.stderr, done.returncode, row[1], row[2])
