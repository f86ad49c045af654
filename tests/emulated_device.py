"""A CUDA device that is emulated on the CPU: what fails on a card because tensors lie on two devices fails here, too.

A tensor "on" it is a wrapper that says `cuda:0`; its numbers are a CPU tensor. An operation is refused where PyTorch would
refuse it: operands on two devices, unless one is a CPU number (0 dimensions), a CPU index, or the source of a copy; `numpy()`.
It knows nothing of speed, memory, precision, streams and kernels.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.tensor  # before the generator of random numbers is exchanged, which its annotations name
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_map_only
from transformers import PreTrainedModel

CUDA = torch.device("cuda", 0)
_aten: Any = torch.ops.aten
_MATH = 0  # of SDPBackend: the other kernels of attention are those of one device
# Operands that may lie elsewhere, by their places: the source of a copy, indices on the CPU.
_COPIES = {_aten.copy_.default, _aten._to_copy.default, _aten._foreach_copy_.default}
_INDEXED = {_aten.index.Tensor, _aten.index_put_.default, _aten.index_put.default, _aten._index_put_impl_.default}


class Emulated(Tensor):
    """A tensor on the emulated device; `held` are its numbers."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor, requires_grad: bool = False) -> Emulated:
        with torch.inference_mode(False):
            made: Emulated = Tensor._make_wrapper_subclass(
                cls,
                held.shape,
                strides=held.stride(),
                storage_offset=held.storage_offset(),
                dtype=held.dtype,
                device=torch.device("meta"),  # to PyTorch's own code, which would ask for a driver
                requires_grad=requires_grad,
            )
        made.held = held
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        Tensor.data.__set__(self, value)  # type: ignore[attr-defined]
        self.held = value.held if isinstance(value, Emulated) else value

    def new_tensor(self, data: Any, **settings: Any) -> Tensor:  # type: ignore[override]
        return torch.tensor(data, **{"dtype": self.dtype, "device": CUDA, **settings})

    def tolist(self) -> Any:
        return self.held.tolist()

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(_listed(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(_listed(index), value)

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Emulated({self.held!r})"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, _types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _computed(func, args, dict(kwargs or {}))


def _listed(index: Any) -> Any:
    """Lists in an index as tensors, which PyTorch's own code would make where it takes the operand to be."""
    if isinstance(index, tuple):
        return tuple(map(_listed, index))
    return torch.tensor(index, dtype=None if index else torch.long) if isinstance(index, list) else index


class _Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Makes new tensors where they are asked for."""

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _computed(func, args, dict(kwargs or {}))


def _is_there(device: Any) -> bool:
    return device is not None and torch.device(device).type in ("cuda", "meta")


def _computed(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The result of an operation, on the device where its operands are or that was asked for."""
    with _Mode():  # type: ignore[no-untyped-call]  # in inference mode operations come here before they are taken apart
        parts = func.decompose(*args, **kwargs)
    if parts is not NotImplemented:
        return parts
    tensors = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, Tensor)]
    assert all(isinstance(one, Emulated) or one.device.type == "cpu" for one in tensors), f"{func}: numbers were lost"
    owners = {id(one.held): one for one in tensors if isinstance(one, Emulated)}
    _check_devices(func, args, kwargs)
    wanted = kwargs.get("device")
    there = _is_there(wanted) if wanted is not None else bool(owners)
    if wanted is not None:
        kwargs["device"] = torch.device("cpu")
    if func is _aten._fused_sdp_choice.default:
        return _MATH
    if func in (_aten._local_scalar_dense.default, _aten.equal.default):
        there = False
    if func is _aten.copy_.default:
        there = isinstance(args[0], Emulated)
    if wanted is not None and func is _aten._to_copy.default and there != isinstance(args[0], Emulated):
        kwargs.setdefault("dtype", args[0].dtype)  # a copy in any case
    with _disable_current_modes(), torch.inference_mode(False), torch.no_grad():
        held_args, held_kwargs = tree_map_only(Emulated, lambda one: one.held, (args, kwargs))
        result = func(*held_args, **held_kwargs)

    def placed(one: Tensor) -> Tensor:
        if id(one) in owners:
            return owners[id(one)]
        return Emulated(one) if there and not isinstance(one, Emulated) else one

    return tree_map_only(Tensor, placed, result)


def _check_devices(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    if func in _COPIES:
        return
    parts = [args[0], *args[2:]] if func in _INDEXED else [args, kwargs]
    tensors = [one for one in tree_flatten(parts)[0] if isinstance(one, Tensor)]
    if func in _INDEXED and not isinstance(args[0], Emulated):
        tensors += [one for one in tree_flatten(args[1])[0] if isinstance(one, Tensor)]
    elsewhere = [one for one in tensors if not isinstance(one, Emulated) and one.dim()]
    if elsewhere and len(elsewhere) < len(tensors) and any(isinstance(one, Emulated) for one in tensors):
        raise RuntimeError(f"{func}: expected all tensors to be on the same device, but found cuda:0 and cpu")


def on_device(model: nn.Module) -> nn.Module:
    """Moves a model, in place; what its parts share stays shared."""
    moved: dict[int, Any] = {}

    def there(one: Tensor) -> Any:
        if id(one) not in moved:
            held = Emulated(one.detach().clone())
            moved[id(one)] = (
                (nn.Parameter(held, requires_grad=one.requires_grad) if isinstance(one, nn.Parameter) else held),
                one,
            )
        return moved[id(one)][0]

    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and not isinstance(parameter, Emulated):
                module._parameters[name] = there(parameter)
        for name, buffer in module._buffers.items():
            if buffer is not None and not isinstance(buffer, Emulated):
                module._buffers[name] = there(buffer)
    return model


@contextmanager
def _active() -> Iterator[None]:
    """In this thread."""
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor then copies to the device by an operation that comes here
    try:
        with _Mode():  # type: ignore[no-untyped-call]
            yield
    finally:
        torch._C._set_only_lift_cpu_tensors(False)


@contextmanager
def emulated_cuda(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within it there is a device `cuda:0`, in every thread."""
    run, generator = threading.Thread.run, torch.Generator

    def in_mode(thread: threading.Thread) -> None:
        with _active():
            run(thread)

    def moved(module: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        wanted = kwargs.get("device", args[0] if args else None)
        if isinstance(wanted, str | torch.device) and _is_there(wanted):
            return on_device(module)
        return _TO(module, *args, **kwargs)

    patch.setattr(threading.Thread, "run", in_mode)
    patch.setattr(torch, "Generator", lambda device="cpu": generator())
    patch.setattr(torch.cuda, "_lazy_init", lambda: None)
    patch.setattr(torch.cuda, "is_available", lambda: True)
    patch.setattr(torch.cuda, "device_count", lambda: 1)
    patch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    patch.setattr(torch.cuda, "get_rng_state", lambda device=CUDA: torch.empty(0))
    patch.setattr(torch.cuda, "set_rng_state", lambda state, device=CUDA: None)
    patch.setattr(nn.Module, "to", moved)
    patch.setattr(PreTrainedModel, "save_pretrained", _save)
    with _active():
        yield


def _save(model: PreTrainedModel, folder: Path, **settings: Any) -> None:
    """By their storage, which wrappers do not have, transformers tells which weights are one."""
    held = {name: one.held if isinstance(one, Emulated) else one for name, one in model.state_dict().items()}
    _SAVE(model, folder, **{**settings, "state_dict": held})


_TO, _SAVE = nn.Module.to, PreTrainedModel.save_pretrained
