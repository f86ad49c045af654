"""Own files with random faults: reading them succeeds, or ends in a ToolgenError of one line, and never in anything else.

A few seconds by default. `TOOLGEN_FUZZ_SECONDS=60 pytest tests/test_mutations.py` looks longer, `TOOLGEN_FUZZ_SEED` elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from toolgen.agent.environments.protocol import ToolResult
from toolgen.agent.loop import AgentEvent
from toolgen.agent.policy import Action
from toolgen.agent.record import RunRecorder, read_run, recorded_results
from toolgen.catalog import Catalog, Tool
from toolgen.checkpoint import Checkpoint
from toolgen.cli.steps import LEDGER, Graph
from toolgen.datasets import Dataset, load_dataset, save_dataset
from toolgen.datasets.query import Call, Query, Synthetic
from toolgen.datasets.validate import validate_dataset
from toolgen.errors import ToolgenError
from toolgen.evaluation import evaluate_retrieval, load_result
from toolgen.evaluation.agent_results import AgentRecord, AgentResult, Effort, summarize
from toolgen.evaluation.report import write_report
from toolgen.evaluation.report.training import curves
from toolgen.evaluation.scorers import Score
from toolgen.evaluation.validity import Validity
from toolgen.fetching.cache import Origin, read_origin, write_origin
from toolgen.inference.row_maker import RowMaker
from toolgen.retrieval.bm25 import BM25Retriever
from toolgen.testing import tiny_catalog, tiny_checkpoint, tiny_dataset
from toolgen.training.saving import Progress, StateWriter, put_curve_back, resume, tensors_of, trained_parameters

SECONDS = float(os.environ.get("TOOLGEN_FUZZ_SECONDS", "8")) / 6
SEED = int(os.environ.get("TOOLGEN_FUZZ_SEED", "0"))

VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 10**400, -(2**63), "", "x", "\ud800", "\0", "a" * 5000, [], {}, [None], [[]], {"": None},
    ["x", "x"], [1, 2], {"type": 3}, {"$ref": "#/nowhere"}, {"properties": []}, {"required": "x"}, float("nan"), float("inf"),
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value inside."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield from places(inner, (*path, key))


def changed_value(value: Any, random: Random) -> Any:
    """The same with one value removed, replaced, put elsewhere or nested deep."""
    *way, last = random.choice([path for path in places(value) if path] or [("x",)])
    holder = value
    for key in way:
        holder = holder[key]
    match random.randrange(5):
        case 0:
            del holder[last]
        case 1 | 2:
            holder[last] = random.choice(VALUES)
        case 3:
            for _ in range(random.choice([3, 300])):
                holder[last] = [holder[last]] if random.random() < 0.5 else {"x": holder[last]}
        case 4 if isinstance(holder, dict):
            holder[random.choice(["x", "id", "kind", ""])] = holder.pop(last)
    return value


def changed_text(text: bytes, random: Random) -> bytes:
    """The same with bytes cut, flipped, doubled or put in front."""
    at = random.randrange(len(text) + 1)
    return [
        text[:at],
        b"",
        b"\xef\xbb\xbf" + text,
        text.replace(b"\n", b"\r\n"),
        text[:at] + bytes([random.randrange(256)]) + text[at + 1 :],
        text[:at]
        + random.choice([b"NaN", b"1e999", b'"\\ud800"', b"\0", b"\xff", b"[" * 3000, b"\xe2\x80\xa8"])
        + text[at:],
        random.randbytes(50),
        text + text,
        b"[1]",
        b"null",
    ][random.randrange(10)]


def mutated(text: bytes, random: Random) -> bytes:
    """A file of JSON, or of JSON lines, with a fault."""
    if random.random() < 0.3:
        return changed_text(text, random)
    parts = text.splitlines() if text.count(b"\n{") else [text]
    at = random.randrange(len(parts))
    try:
        parts[at] = json.dumps(changed_value(json.loads(parts[at]), random)).encode()
    except (ValueError, KeyError, IndexError, TypeError):
        return changed_text(text, random)
    return b"\n".join(parts) + b"\n"


def attacked(folder: Path, names: list[str], use: Callable[[], object], seal: Callable[[], None] = lambda: None) -> int:
    """Mutates one of the files at a time for a while; how often reading them still succeeded."""
    random, succeeded, tried = Random(SEED), 0, 0
    originals = {file: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    until = time.monotonic() + SECONDS
    while time.monotonic() < until or tried < 20:
        file = folder / random.choice(names)
        tried += 1
        file.write_bytes(content := mutated(originals[file], random))
        seal()
        try:
            use()
            succeeded += 1
        except ToolgenError as error:
            assert "\n" not in str(error), f"{file.name}: {error}"
        except Exception as error:
            raise AssertionError(f"{file.name}, seed {SEED}, try {tried}: {error!r} for {content[:600]!r}") from error
        for one, text in originals.items():
            one.write_bytes(text)
    return succeeded


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    made = tiny_dataset()
    tool = made.catalog[0]
    query = Query(
        id="made", text="weather", tools=(tool.id,), calls=(Call(tool=tool.id, arguments={"city": "Rome"}),), category="c",
        origin=Synthetic(style="short", by="rules"), faults=("one",),
    )  # fmt: skip
    queries = {**made.queries, "test": (*made.queries["test"], query)}
    return replace(made, queries=queries)


def test_datasets_with_faults(dataset: Dataset, tmp_path: Path) -> None:
    """Hashes are made to fit, as a hostile sender would."""
    save_dataset(dataset, tmp_path / "data")
    folder = tmp_path / "data"

    def seal() -> None:
        try:
            metadata = json.loads((folder / "dataset.json").read_bytes())
            for name in metadata["files"]:
                metadata["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            (folder / "dataset.json").write_text(json.dumps(metadata))
        except (ValueError, KeyError, TypeError, AttributeError, OSError):
            pass

    def use() -> None:
        loaded = load_dataset(folder)
        validate_dataset(loaded)
        BM25Retriever().index(loaded.catalog)
        assert loaded.tool_sets is not None and loaded.asked_tools is not None

    names = [file.name for file in folder.iterdir() if file.stat().st_size]
    assert attacked(folder, names, use, seal)


def test_results_with_faults(dataset: Dataset, tmp_path: Path) -> None:
    retriever = BM25Retriever()
    result = evaluate_retrieval(retriever, dataset, "train", limit=4)
    trajectory = next(one for found in dataset.trajectories.values() for one in found)
    record = AgentRecord(
        id="1", kind="single_turn", category="c", text="t", asked=True, expected=(), score=Score(correct=True),
        validity=Validity(), trajectory=trajectory,
    )  # fmt: skip
    agent = AgentResult(
        name="agent", split="test", metrics=summarize([record]), validity=Validity(), effort=Effort.mean([record]),
        records=(record,), provenance=result.provenance,
    )  # fmt: skip
    folder = tmp_path / "results"
    folder.mkdir()
    result.save(folder / "bm25.json")
    agent.save(folder / "agent.json")
    assert load_result(folder / "agent.json") == agent and load_result(folder / "bm25.json") == result

    def use() -> None:
        write_report([load_result(file) for file in sorted(folder.iterdir())], tmp_path / "report.html")

    assert attacked(folder, ["bm25.json", "agent.json"], use)


def test_checkpoints_with_faults(tmp_path: Path) -> None:
    folder = tmp_path / "ckpt"
    checkpoint = tiny_checkpoint(catalog=Catalog(tiny_catalog()[:4]))
    checkpoint.metrics = [{"stage": "agent", "step": step, "loss": 1 / step, "dev_recall@5": 0.5} for step in (1, 2)]
    width = checkpoint.model.config.hidden_size
    checkpoint.row_maker = RowMaker(width).state_dict()
    checkpoint.row_map = {"center": torch.zeros(width), "map": torch.zeros(2 * width + 1, width)}
    checkpoint.text_states = torch.zeros(3, width).half()
    checkpoint.save(folder)
    names = ["toolgen.json", "catalog.jsonl", "config.json", "tokenizer_config.json", "generation_config.json"]
    names += ["metrics.jsonl", "row_maker.safetensors", "row_map.safetensors", "text_states.safetensors"]
    new = Tool(id="new&&tool", provider="new", name="tool", description="Tells the tide.")

    def use() -> None:
        loaded = Checkpoint.load(folder)
        loaded.search("weather", k=2)
        curves(loaded.metrics)
        loaded.with_tools([new])
        RowMaker.load(folder, width)

    assert attacked(folder, names, use)
    content = (folder / "model.safetensors").read_bytes()
    for cut in (0, 7, 100, len(content) - 1):
        (folder / "model.safetensors").write_bytes(content[:cut])
        with pytest.raises(ToolgenError):
            Checkpoint.load(folder)
    shutil.rmtree(folder)


def test_states_of_stopped_trainings_with_faults(tmp_path: Path) -> None:
    module = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    (tmp_path / "curve.jsonl").write_text('{"step": 1, "loss": 0.5}\n')
    trained, state = trained_parameters(module), tmp_path / "state"
    with StateWriter(state, in_place=True) as writer:
        writer.start(tensors_of(trained, optimizer), Progress(1, 2, 3.0), tmp_path / "curve.jsonl")

    def use() -> None:
        assert resume(state, trained, optimizer) == Progress(1, 2, 3.0)
        put_curve_back(state, tmp_path / "curve.jsonl")

    def use_or_name_the_way_out() -> None:
        try:
            use()
        except ToolgenError as error:
            assert "--restart" in str(error)
            raise

    attacked(state, [file.name for file in state.iterdir()], use_or_name_the_way_out)
    use()


def test_files_of_runs_with_faults(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    action, result = Action(tool="a&&b", arguments={"city": "Rome"}), ToolResult(content="20")
    with RunRecorder(folder / "run.jsonl") as record:
        record(AgentEvent(kind="action", turn=1, action=action))
        record(AgentEvent(kind="result", turn=1, action=action, result=result))
    call = Call(tool="a&&b", arguments={"city": "Rome"})
    assert recorded_results(read_run(folder / "run.jsonl")) == [(call, result)]
    assert attacked(folder, ["run.jsonl"], lambda: recorded_results(read_run(folder / "run.jsonl")))


def test_memories_of_what_was_done_with_faults(tmp_path: Path) -> None:
    """A damaged one is as good as none."""
    folder = tmp_path / "memories"
    folder.mkdir()
    (folder / "model.bin").write_bytes(b"12345")
    write_origin(folder, Origin(name="n", route="hub", source="s", sha256=None, licence="MIT"))
    record = {"key": "k", "seconds": 1.5, "finished": "2026-01-01T00:00:00"}
    (folder / LEDGER).write_text(json.dumps({"steps": {"one": record}}))

    def use() -> None:
        Graph(folder, [], {}, title="test")
        origin = read_origin(folder)
        assert origin is None or isinstance(origin.licence, str)

    assert attacked(folder, [LEDGER, "origin.json"], use)
