"""States written beside training: whole, of the moment they were asked for, one at a time, and never lost in silence."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import accelerate.utils
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from toolgen.checkpoint.layout import PROGRESS
from toolgen.errors import OutputError
from toolgen.files import temporary_folder
from toolgen.training import saving
from toolgen.training.saving import StateWriter

Parts = tuple[Accelerator, torch.nn.Module, Any, Any]


@pytest.fixture
def parts() -> Iterator[Parts]:
    """A model that has taken a step, its optimizer and its schedule, as a run has them."""
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True)
    model: torch.nn.Module = torch.nn.Linear(4, 4)
    model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=0.1))
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer.optimizer, 0.9)
    accelerator.register_for_checkpointing(schedule)
    made = accelerator, model, optimizer, schedule
    take_step(made)
    yield made
    AcceleratorState._reset_state(reset_partial_state=True)


def take_step(parts: Parts) -> None:
    _, model, optimizer, schedule = parts
    model(torch.randn(3, 4)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    schedule.step()


def start(writer: StateWriter, parts: Parts, step: int) -> None:
    _, model, optimizer, schedule = parts
    writer.start(model, optimizer, schedule, {"step": step})


def values(parts: Parts) -> list[Any]:
    """Everything that a state brings back."""
    _, model, optimizer, schedule = parts
    tensors = [p.detach().clone() for p in model.parameters()]
    moments = [one[name].clone() for one in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq", "step")]
    return [*tensors, *moments, torch.get_rng_state(), torch.tensor(schedule.get_last_lr())]


def held_back(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Writing waits until the event is set."""
    go_on = threading.Event()

    def waiting(*arguments: Any, **settings: Any) -> None:
        assert go_on.wait(30)
        accelerate.utils.save(*arguments, **settings)

    monkeypatch.setattr(saving, "save", waiting)
    return go_on


def beside(call: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=call)
    thread.start()
    return thread


def test_a_state_is_that_of_the_moment_it_was_asked_for(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accelerator = parts[0]
    go_on = held_back(monkeypatch)
    expected = values(parts)
    with StateWriter(accelerator, tmp_path / "state") as writer:
        start(writer, parts, step=7)
        torch.randn(5)
        assert not (tmp_path / "state").exists()  # not whole yet
        go_on.set()
        writer.before_change()
        take_step(parts)
    assert not all(torch.equal(*pair) for pair in zip(values(parts), expected, strict=True))
    accelerator.load_state(str(tmp_path / "state"))
    assert all(torch.equal(*pair) for pair in zip(values(parts), expected, strict=True))
    assert json.loads((tmp_path / "state" / PROGRESS).read_text()) == {"step": 7}
    assert not temporary_folder(tmp_path / "state").exists()


def test_weights_do_not_change_under_the_pen_and_no_second_write_begins(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accelerator = parts[0]
    go_on = held_back(monkeypatch)
    with StateWriter(accelerator, tmp_path / "state") as writer:
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
    assert json.loads((tmp_path / "state" / PROGRESS).read_text())["step"] == 1


def test_a_failed_write_is_one_clear_line_and_keeps_the_state_before(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accelerator = parts[0]
    with StateWriter(accelerator, tmp_path / "state") as writer:
        start(writer, parts, step=1)
        writer.finish()

        def full(_content: Any, path: Path, **_settings: Any) -> None:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(saving, "save", full)
        start(writer, parts, step=2)
        with pytest.raises(OutputError, match=r"No space left on device \(what was saved before is kept\)") as caught:
            writer.before_change()
        assert "\n" not in str(caught.value)
        monkeypatch.undo()
        start(writer, parts, step=3)  # and a later one may succeed
    assert json.loads((tmp_path / "state" / PROGRESS).read_text()) == {"step": 3}


def test_the_end_of_a_run_waits_for_the_write_and_tells_of_its_failure(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accelerator = parts[0]
    with StateWriter(accelerator, tmp_path / "state") as writer:
        start(writer, parts, step=1)
    assert (tmp_path / "state" / PROGRESS).exists()

    def broken(*_arguments: Any, **_settings: Any) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(saving, "save", broken)
    with pytest.raises(OutputError, match="the disk is gone"), StateWriter(accelerator, tmp_path / "state") as writer:
        start(writer, parts, step=2)
