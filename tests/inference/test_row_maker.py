"""Reading documentation: each prompt once, and in bf16 where that is quick."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pytest import MonkeyPatch

from toolgen.fetching import parts
from toolgen.inference import weights
from toolgen.inference.machine import native_bf16
from toolgen.inference.passes import last_states
from toolgen.inference.row_maker import states_after
from toolgen.testing import tiny_checkpoint


def test_prompts_that_repeat_are_read_once_and_each_gets_its_own_state() -> None:
    checkpoint = tiny_checkpoint()
    prompts = [[5, 6, 7], [9], [5, 6, 7], [8, 3, 5, 2, 4], [9]]
    told: list[tuple[int, int]] = []
    found = states_after(checkpoint, prompts, lambda *count: told.append(count))
    alone = torch.cat([last_states(checkpoint.model, [prompt]) for prompt in prompts])
    torch.testing.assert_close(found, alone)
    assert told[-1] == (3, 3)


def test_a_reading_that_was_stopped_goes_on_and_ends_the_same(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART", 2)
    checkpoint, prompts = tiny_checkpoint(), [[5, 6, 7], [9], [8, 3, 5, 2, 4], [7, 4], [3, 1, 1]]
    whole = states_after(checkpoint, prompts)

    def stop(done: int, of: int) -> None:
        assert of == 5
        if done > 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        states_after(checkpoint, prompts, stop, tmp_path / "kept")
    told: list[tuple[int, int]] = []
    again = states_after(checkpoint, prompts, lambda *count: told.append(count), tmp_path / "kept")
    torch.testing.assert_close(again, whole)
    assert told[0][0] > 2


def test_a_large_model_reads_in_bf16_where_that_is_native(monkeypatch: MonkeyPatch) -> None:
    checkpoint, prompts = tiny_checkpoint(), [[5, 6, 7], [9, 4]]
    exact = states_after(checkpoint, prompts)
    assert torch.equal(exact, states_after(checkpoint, prompts))
    monkeypatch.setattr(weights, "MEBIBYTES", 0)
    quick = states_after(checkpoint, prompts)
    assert torch.equal(quick, exact) != native_bf16(checkpoint.model.device)
    assert torch.nn.functional.cosine_similarity(quick, exact) == pytest.approx(1.0, abs=1e-3)
    assert not torch.is_autocast_enabled("cpu")
