"""States written beside training: whole, of the moment they were asked for, one at a time, never lost in silence."""

from __future__ import annotations

import json
import math
import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from toolgen.checkpoint.layout import METRICS, PROGRESS, RUN
from toolgen.errors import CheckpointError, DivergenceError, OutputError
from toolgen.files import temporary_folder
from toolgen.training import saving
from toolgen.training.loop import fingerprint_in
from toolgen.training.saving import TENSORS, Progress, StateWriter, resume, tensors_of, trained_parameters

Parts = tuple[torch.nn.Module, torch.optim.Optimizer]


def fresh() -> Parts:
    """A model and its optimizer, before the first step."""
    model = torch.nn.Linear(4, 4)
    return model, torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)


@pytest.fixture
def parts() -> Parts:
    """The same after a step."""
    made = fresh()
    take_step(made)
    return made


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / METRICS).write_text('{"step": 1}\n')
    return tmp_path / "state"


def writer_of(target: Path) -> StateWriter:
    return StateWriter(target, in_place=True)


def take_step(parts: Parts) -> None:
    model, optimizer = parts
    model(torch.randn(3, 4)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def start(writer: StateWriter, parts: Parts, step: int) -> None:
    model, optimizer = parts
    writer.start(tensors_of(trained_parameters(model), optimizer), Progress(step), writer._target.parent / METRICS)


def put_back(target: Path, parts: Parts) -> Progress:
    model, optimizer = parts
    return resume(target, trained_parameters(model), optimizer)


def values(parts: Parts) -> list[torch.Tensor]:
    """Everything that a state brings back."""
    model, optimizer = parts
    moments = [optimizer.state[one][name] for one in model.parameters() for name in ("exp_avg", "exp_avg_sq", "step")]
    return [one.detach().clone() for one in (*model.parameters(), *moments)]


def held_back(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Writing waits until the event is set."""
    go_on = threading.Event()

    def waiting(*arguments: Any, **settings: Any) -> None:
        assert go_on.wait(30)
        save_file(*arguments, **settings)

    monkeypatch.setattr(saving, "save_file", waiting)
    return go_on


def beside(call: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=call)
    thread.start()
    return thread


def test_a_state_is_that_of_the_moment_it_was_asked_for(
    parts: Parts, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = held_back(monkeypatch)
    expected = values(parts)
    with writer_of(target) as writer:
        start(writer, parts, step=7)
        assert not (target).exists()  # not whole yet
        go_on.set()
        writer.before_change()
        take_step(parts)
    assert not all(torch.equal(*pair) for pair in zip(values(parts), expected, strict=True))
    assert put_back(target, other := fresh()) == Progress(step=7)
    assert all(torch.equal(*pair) for pair in zip(values(other), expected, strict=True))
    put_back(target, parts)
    assert all(torch.equal(*pair) for pair in zip(values(parts), expected, strict=True))
    assert not temporary_folder(target).exists()


def test_weights_do_not_change_under_the_pen_and_no_second_write_begins(
    parts: Parts, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = held_back(monkeypatch)
    with writer_of(target) as writer:
        for call in (writer.before_change, lambda: start(writer, parts, step=2), writer.finish):
            go_on.clear()
            start(writer, parts, step=1)
            waiting = beside(call)
            waiting.join(0.05)
            assert waiting.is_alive()
            go_on.set()
            waiting.join(30)
            assert not waiting.is_alive()
            writer.finish()
    assert json.loads((target / PROGRESS).read_text())["step"] == 1


def test_a_failed_write_is_one_clear_line_and_keeps_the_state_before(
    parts: Parts, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with writer_of(target) as writer:
        start(writer, parts, step=1)
        writer.finish()

        def full(_content: Any, path: Path, **_settings: Any) -> None:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(saving, "save_file", full)
        start(writer, parts, step=2)
        with pytest.raises(OutputError, match=r"No space left on device \(what was saved before is kept\)") as caught:
            writer.before_change()
        assert "\n" not in str(caught.value)
        monkeypatch.undo()
        start(writer, parts, step=3)  # and a later one may succeed
    assert put_back(target, parts).step == 3


def test_the_end_of_a_run_waits_for_the_write_and_tells_of_its_failure(
    parts: Parts, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with writer_of(target) as writer:
        start(writer, parts, step=1)
    assert (target / PROGRESS).exists()

    def broken(*_arguments: Any, **_settings: Any) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(saving, "save_file", broken)
    with pytest.raises(OutputError, match="the disk is gone"), writer_of(target) as writer:
        start(writer, parts, step=2)


def saved(target: Path, parts: Parts) -> None:
    with writer_of(target) as writer:
        start(writer, parts, step=3)


@pytest.mark.parametrize("name", [TENSORS, METRICS, PROGRESS])
@pytest.mark.parametrize("fault", ["missing", "empty", "cut", "flipped", "other type"])
def test_a_damaged_part_of_a_state_is_one_line_that_names_restart(
    parts: Parts, target: Path, name: str, fault: str
) -> None:
    saved(target, parts)
    file, before = target / name, values(parts)
    content = file.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    file.unlink()
    if fault != "missing":
        file.write_bytes({"empty": b"", "cut": content[:-3], "flipped": flipped, "other type": b"[1]"}[fault])
    with pytest.raises(CheckpointError, match=r"is damaged: .*; add --restart to start over$") as caught:
        put_back(target, parts)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(*pair) for pair in zip(values(parts), before, strict=True))


def test_a_pipe_in_the_place_of_a_state_is_not_waited_for(parts: Parts, target: Path) -> None:
    for name in (TENSORS, METRICS, PROGRESS):
        saved(target, parts)
        (target / name).unlink()
        os.mkfifo(target / name)
        with pytest.raises(CheckpointError, match=f"{name} .*; add --restart"):
            put_back(target, parts)
        (target / name).unlink()
    os.mkfifo(target / RUN)
    assert fingerprint_in(target / RUN) is None


@pytest.mark.parametrize(("key", "value"), [("step", 4), ("step", "3"), ("seconds", None), ("files", {}), ("more", 1)])
def test_the_place_of_a_state_cannot_be_changed_by_hand(parts: Parts, target: Path, key: str, value: Any) -> None:
    saved(target, parts)
    record = json.loads((target / PROGRESS).read_text())
    (target / PROGRESS).write_text(json.dumps({**record, key: value}))
    with pytest.raises(CheckpointError, match="add --restart"):
        put_back(target, parts)


def test_a_pickle_that_was_put_beside_a_state_is_never_opened(parts: Parts, target: Path, tmp_path: Path) -> None:
    class Planted:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "it-ran",)

    saved(target, parts)
    names = ("custom_checkpoint_0.pkl", "random_states_0.pkl", "optimizer.bin", "scheduler.bin", "pytorch_model.bin")
    for name in names:
        (target / name).write_bytes(pickle.dumps(Planted()))
    assert put_back(target, parts) == Progress(step=3)
    assert not (tmp_path / "it-ran").exists()
    pickle.loads((target / names[0]).read_bytes())
    assert (tmp_path / "it-ran").exists()  # it would have run


def test_a_state_of_another_model_is_refused(parts: Parts, target: Path) -> None:
    saved(target, parts)
    other = torch.nn.Linear(5, 4)
    with pytest.raises(CheckpointError, match="is of another model: weight/weight; add --restart"):
        put_back(target, (other, torch.optim.AdamW(other.parameters())))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_numbers_never_take_the_place_of_sound_ones(
    parts: Parts, target: Path, value: float
) -> None:
    saved(target, parts)
    with torch.no_grad():
        next(parts[0].parameters())[0, 0] = value
    expected = pytest.raises(DivergenceError, match=r"at step 4: weight holds NaN or infinity; .*--restart")
    with expected, writer_of(target) as writer:
        start(writer, parts, step=4)
    assert put_back(target, fresh()).step == 3
