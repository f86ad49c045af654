"""What a folder is, and where a training towards it stands, without opening a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolgen.checkpoint.layout import MARKERS, Kind, is_kind, read_metadata, read_metrics, saved_step, work_folder
from toolgen.datasets import save_dataset
from toolgen.errors import CheckpointError
from toolgen.files import write_records
from toolgen.testing import tiny_checkpoint, tiny_dataset


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, Path]:
    made: dict[Kind, Path] = {kind: tmp_path_factory.mktemp("layout") / kind for kind in MARKERS}
    tiny_checkpoint().save(made["checkpoint"])
    save_dataset(tiny_dataset(), made["dataset"])
    return made


@pytest.mark.parametrize("kind", ["checkpoint", "dataset"])
def test_a_folder_is_of_the_kind_that_was_written(folders: dict[Kind, Path], kind: Kind) -> None:
    assert [found for found in MARKERS if is_kind(folders[kind], found)] == [kind]


def test_steps_come_back_and_one_that_a_crash_cut_off_is_left_out(tmp_path: Path) -> None:
    steps: list[dict[str, Any]] = [{"stage": "agent", "step": 1, "loss": 0.5}, {"text": "Größe\u2028"}]
    path = tmp_path / "metrics.jsonl"
    write_records(path, steps)
    with path.open("a") as file:
        file.write('{"st')
    assert read_metrics(path) == steps
    assert read_metrics(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize("line", ["{", "[1]", "null", '{"step": "one"}', '{"step": null}', "\xff", "[" * 9999])
def test_a_line_that_is_no_step_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n' + line.encode("latin-1") + b"\n")
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl, line 2: .*restore the file, or remove it"):
        read_metrics(tmp_path / "metrics.jsonl")


@pytest.mark.parametrize(
    "fault",
    [
        {"confidences": []},
        {"confidences": [0.9, 0.2]},
        {"confidences": [0.2, 5]},
        {"weights": [1, 2]},
        {"weights": [1, 1e308, -1e308, 0]},
    ],
)
def test_a_calibration_that_no_fit_gives_is_named(tmp_path: Path, fault: dict[str, Any]) -> None:
    checkpoint = tiny_checkpoint()
    checkpoint.save(tmp_path / "checkpoint")
    path = tmp_path / "checkpoint" / "toolgen.json"
    calibration = {"weights": [0.0, 1.0, 0.0, 0.0], "confidences": [0.2, 0.9]}
    metadata = json.loads(path.read_text())
    path.write_text(json.dumps({**metadata, "calibrations": {"bm25": calibration}}))
    read_metadata(path.parent)
    path.write_text(json.dumps({**metadata, "calibrations": {"bm25": {**calibration, **fault}}}))
    with pytest.raises(CheckpointError, match=r"toolgen\.json is damaged: calibrations\.bm25"):
        read_metadata(path.parent)


def test_a_folder_of_something_else_is_of_no_kind(tmp_path: Path) -> None:
    assert not any(is_kind(folder, kind) for folder in (tmp_path, tmp_path / "nothing") for kind in MARKERS)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"step": null}', '{"step": 1e999}', "[" * 9999])
def test_a_training_that_saved_nothing_readable_begins_at_the_first_step(tmp_path: Path, content: str) -> None:
    output = tmp_path / "checkpoint"
    assert saved_step(output) == 0
    state = work_folder(output) / "state"
    state.mkdir(parents=True)
    (state / "progress.json").write_text(content)
    assert saved_step(output) == 0
    (state / "progress.json").write_text(json.dumps({"step": 7, "tokens": 9}))
    assert saved_step(output) == 7
