"""The state that a stopped run resumes from, written by a thread while training continues. Knows no stage.

    state/tensors.safetensors   the trained weights, and what the optimizer keeps of each
    state/metrics.jsonl         the curve so far
    state/progress.json         the place, the sha256 of the other two files, and its own

Nothing of it is code: a state is safetensors and JSON, and any number of processes can resume from it. Random numbers are no
part of it, since each step draws its own by its number.

Between two optimizer steps nothing that is written changes. So on a CPU the thread writes weights and moments from where they
stand, without a copy (with 125,000 tools it would be 2 GiB), and the next optimizer step waits for it: a forward and backward
pass usually takes longer. From an accelerator they are copied to the CPU first, and nothing waits.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from toolgen.catalog.tool import canonical_json
from toolgen.checkpoint.layout import METRICS, PROGRESS
from toolgen.checkpoint.tensors import non_finite
from toolgen.errors import CheckpointError, DivergenceError, InputError, OutputError
from toolgen.files import named_failure, replace_folder, sha256_of, temporary_folder, write_json, write_text
from toolgen.foreign.data import read_json
from toolgen.training.sharding import part_like, whole

TENSORS = "tensors.safetensors"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW keeps of each parameter."""

Parameters = Mapping[str, nn.Parameter]


@dataclass(frozen=True)
class Progress:
    """Where a run stands."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0


class StateWriter:
    """Writes states as `target`, at most one at a time, each under a temporary name and then renamed. As a context it waits for
    the last one. A write that failed raises an OutputError at the next call."""

    def __init__(self, target: Path, *, in_place: bool) -> None:
        self._target, self._in_place = target, in_place
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="state")
        self._running: Future[None] | None = None

    def start(self, tensors: Mapping[str, Tensor], progress: Progress, curve: Path) -> None:
        """Begins to write the state as it is now; waits for the write before. DivergenceError for weights that are no numbers,
        which would take the place of sound ones."""
        self.finish()
        if name := non_finite(tensors.items()):
            raise DivergenceError(progress.step, f"{name.partition('/')[2]} holds NaN or infinity")
        temporary = temporary_folder(self._target)
        shutil.rmtree(temporary, ignore_errors=True)
        with named_failure(self._target):
            temporary.mkdir(parents=True)
            shutil.copyfile(curve, temporary / METRICS)
        on_cpu = {name: tensor.detach().to("cpu") for name, tensor in tensors.items()}
        self._running = self._thread.submit(self._write, temporary, on_cpu, progress)

    def _write(self, temporary: Path, tensors: Mapping[str, Tensor], progress: Progress) -> None:
        try:
            save_file(dict(tensors), temporary / TENSORS)
            record = {**asdict(progress), "files": {name: sha256_of(temporary / name) for name in (TENSORS, METRICS)}}
            write_json(temporary / PROGRESS, {**record, "sha256": _seal(record)})
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


def trained_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that training changes, by name."""
    return {name: value for name, value in module.named_parameters() if value.requires_grad}


@torch.no_grad()
def tensors_of(parameters: Parameters, optimizer: torch.optim.Optimizer, *, keep: bool = True) -> dict[str, Tensor]:
    """Weights and moments, whole. Of a sharded model all processes must call it; those that do not `keep` them let go of each
    as soon as it is put together."""
    found: dict[str, Tensor] = {}
    for name, value in parameters.items():
        for kind, tensor in {"weight": value.detach(), **optimizer.state.get(value, {})}.items():
            full = whole(tensor)
            if keep:
                found[f"{kind}/{name}"] = full.contiguous()
    return found


def resume(state: Path, parameters: Parameters, optimizer: torch.optim.Optimizer) -> Progress:
    """Puts weights and moments back and returns the place of the run; the beginning where no state was saved. CheckpointError
    for a state that is damaged, which leaves all as it was."""
    if not state.exists():
        return Progress()
    progress = _read_progress(state)
    try:
        tensors = load_file(state / TENSORS)
    except (OSError, SafetensorError) as error:
        raise _damaged(state, f"{TENSORS} cannot be read ({error})") from error
    _check_tensors(state, tensors, parameters)
    _restore(tensors, parameters, optimizer)
    return progress


def put_curve_back(state: Path, curve: Path) -> None:
    """The curve as it was when the state was saved: what came later is taken back; empty where there is no state."""
    write_text(curve, (state / METRICS).read_text(encoding="utf-8") if state.exists() else "")


def _read_progress(state: Path) -> Progress:
    try:
        record: Any = read_json(state / PROGRESS)
        sealed = record.pop("sha256") == _seal(record)
        files: Mapping[str, str] = record.pop("files")
        progress = Progress(**record)
    except (InputError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(state, f"{PROGRESS} cannot be read") from error
    if not sealed:
        raise _damaged(state, f"{PROGRESS} was changed")
    for name, expected in files.items():
        if not (state / name).is_file():
            raise _damaged(state, f"{name} is missing")
        if sha256_of(state / name) != expected:
            raise _damaged(state, f"{name} was changed")
    return progress


def _check_tensors(state: Path, tensors: Mapping[str, Tensor], parameters: Parameters) -> None:
    known = {f"{kind}/{name}" for name in parameters for kind in ("weight", *MOMENTS)}
    wrong = [name for name in (f"weight/{name}" for name in parameters) if name not in tensors]
    wrong += [name for name in tensors if name not in known]
    wrong += [
        f"{kind}/{name}"
        for name, value in parameters.items()
        for kind in ("weight", *MOMENTS[1:])
        if f"{kind}/{name}" in tensors and tensors[f"{kind}/{name}"].shape != value.shape
    ]
    if wrong:
        raise _damaged(state, f"{TENSORS} is of another model: {wrong[0]}")


@torch.no_grad()
def _restore(tensors: Mapping[str, Tensor], parameters: Parameters, optimizer: torch.optim.Optimizer) -> None:
    fused = bool(optimizer.defaults.get("fused"))
    for name, value in parameters.items():
        value.copy_(part_like(tensors[f"weight/{name}"], value))
        moments = {kind: tensors[f"{kind}/{name}"] for kind in MOMENTS if f"{kind}/{name}" in tensors}
        if moments:
            step = moments.pop("step")
            own = {kind: part_like(tensor.to(value.device), value) for kind, tensor in moments.items()}
            optimizer.state[value] = {"step": step.to(value.device) if fused else step, **own}


def _seal(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(record).encode()).hexdigest()


def _damaged(state: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"the state in {state} is damaged: {reason}; add --restart to start over")


def other_run(work: Path, found: Any, wanted: Mapping[str, Any]) -> str:
    """Why the unfinished run in a folder is not the one that is wanted."""
    names: Iterable[str] = ()
    if isinstance(found, dict):
        names = [name for name, value in wanted.items() if found.get(name) != value]
    return (
        f"{work} holds an unfinished run with other settings, data or input ({', '.join(names) or 'run.json is damaged'}); "
        "rerun that command to resume it, or add --restart to start over"
    )
