"""The state that a stopped run resumes from, written by a thread while training continues. In the files of accelerate's
`save_state`, so that `load_state` reads them on any number of processes. Knows no stage and no step.

Between two optimizer steps nothing that is written changes. So on a CPU the thread writes weights and moments from where they
stand, without a copy (with 125,000 tools it would be 2 GiB), and the next optimizer step waits for it: a forward and backward
pass usually takes longer. From an accelerator they are copied to the CPU first, and nothing waits.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.checkpointing import save_accelerator_state, save_custom_state
from accelerate.utils import save
from accelerate.utils.constants import OPTIMIZER_NAME, SAFE_WEIGHTS_NAME
from torch import nn

from toolgen.checkpoint.layout import PROGRESS
from toolgen.errors import OutputError
from toolgen.files import replace_folder, temporary_folder, write_json


class StateWriter:
    """Writes states of a one-process run as `target`, at most one at a time, each under a temporary name and then renamed. As
    a context it waits for the last one. A write that failed raises an OutputError at the next call."""

    def __init__(self, accelerator: Accelerator, target: Path) -> None:
        self._accelerator, self._target = accelerator, target
        self._in_place = accelerator.device.type == "cpu"
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="state")
        self._running: Future[None] | None = None

    def start(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, schedule: Any, progress: Mapping[str, Any]
    ) -> None:
        """Begins to write the state as it is now; waits for the write before."""
        self.finish()
        temporary = temporary_folder(self._target)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        # What changes at once, and is small: random numbers, schedule and place.
        save_accelerator_state(str(temporary), [], [], [], [], self._accelerator.process_index, self._accelerator.step)
        save_custom_state(schedule, str(temporary))
        write_json(temporary / PROGRESS, progress)
        weights = _on_cpu(self._accelerator.get_state_dict(model, unwrap=False))
        moments = _on_cpu(optimizer.state_dict())
        self._running = self._thread.submit(self._write, temporary, weights, moments)

    def _write(self, temporary: Path, weights: Mapping[str, Any], moments: Mapping[str, Any]) -> None:
        try:
            save(weights, temporary / SAFE_WEIGHTS_NAME, safe_serialization=True)
            save(moments, temporary / f"{OPTIMIZER_NAME}.bin")
            replace_folder(temporary, self._target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def before_change(self) -> None:
        """To be called before weights or moments change: waits if they are being written from where they stand."""
        if self._in_place:
            self.finish()

    def finish(self) -> None:
        """Waits for the current write."""
        running, self._running = self._running, None
        if running is None:
            return
        try:
            running.result()
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise OutputError(self._target, f"{reason} (what was saved before is kept)") from error

    def __enter__(self) -> StateWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)
        self.finish()


def _on_cpu(value: Any) -> Any:
    """The same nest of mappings and lists with every tensor on the CPU: itself if it is there already."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu")
    if isinstance(value, Mapping):
        return {key: _on_cpu(one) for key, one in value.items()}
    return [_on_cpu(one) for one in value] if isinstance(value, list) else value
