"""Devices that are none: tensors that say where they lie, are computed with on the CPU, and refuse each other across
devices. What a model spread over several GPUs asks of the code can so be tested where there is not even one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

KIND = "xla"
"""The type of the made-up devices: one that the code under test treats in no way of its own."""
_CPU = torch.device("cpu")
_INDEXING = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put.default, torch.ops.aten.index_put_.default)


class Placed(torch.Tensor):
    """A CPU tensor that is said to lie on `place`."""

    value: Tensor
    place: torch.device
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, value: Tensor, place: torch.device) -> Placed:
        made = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, value.shape, strides=value.stride(), storage_offset=value.storage_offset(), dtype=value.dtype,
            device=_CPU, requires_grad=value.requires_grad,
        )  # fmt: skip
        made.value, made.place = value, place
        return made  # type: ignore[no-any-return]

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.place

    def data_ptr(self) -> int:
        return self.value.data_ptr()

    def untyped_storage(self) -> Any:
        return self.value.untyped_storage()

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Placed({self.value!r}, {self.place})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Moved(torch.autograd.Function):
    """The same numbers on another device, whose gradient goes back where they came from."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, place: torch.device) -> Tensor:
        ctx.place = x.device
        return _placed(_plain(x).clone(), place)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _placed(_plain(grads[0]), ctx.place), None


class _Made(TorchDispatchMode):
    """What is made while this lasts is made on the device it is asked for on."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Moves(TorchFunctionMode):
    """Moves, and `torch.tensor`, which torch itself decides by where the numbers really are."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.tensor:
            place = torch.device(kwargs.pop("device", _CPU) or _CPU)
            return _placed(func(*args, **kwargs), place)
        if func in (torch.Tensor.to, torch.Tensor.cpu):
            x, *rest = args
            place, others = x.device if func is torch.Tensor.to else _CPU, []
            for each in (*rest, *kwargs.values()):
                if isinstance(each, Tensor):
                    place, others = each.device, [each.dtype]
                elif isinstance(each, torch.device | str | int) and not isinstance(each, bool):
                    place = torch.device(each)
                elif isinstance(each, torch.dtype):
                    others = [each]
            x = func(x, *others) if others else x
            return _Moved.apply(x, place) if x.device != place else x  # type: ignore[no-untyped-call]
        return func(*args, **kwargs)


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    found = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, Tensor)]
    places = {each.device for each in found if each.device != _CPU or each.dim()}
    if func in _INDEXING:  # an index may lie on the CPU
        places = {args[0].device} | {each for each in places if each != _CPU}
    if len(places) > 1 and func is not torch.ops.aten.copy_.default:
        raise RuntimeError(f"{func}: expected all tensors to be on the same device, found {sorted(map(str, places))}")
    asked = kwargs.get("device")
    place = torch.device(asked) if asked is not None and not places else args[0].device if len(places) > 1 else None
    place = place or next(iter(places), _CPU)
    if asked is not None:
        kwargs = {**kwargs, "device": _CPU}
    result = func(*tree_map(_plain, args), **tree_map(_plain, kwargs))
    own = {id(_plain(each)): each for each in found}  # what works in place gives back what it was given
    return tree_map(lambda each: own.get(id(each), _placed(each, place)) if isinstance(each, Tensor) else each, result)


def _plain(each: Any) -> Any:
    return each.value if isinstance(each, Placed) else each


def _placed(value: Tensor, place: torch.device) -> Tensor:
    return value if place == _CPU else Placed(value, place)


@contextmanager
def spread(model: nn.Module, device_of: Callable[[str], int]) -> Iterator[None]:
    """The model's parameters lie where `device_of` the name of their module says, and every module moves what it is
    given to where it lies, as `device_map` has it."""
    with _Made(), _Moves():
        for name, module in model.named_modules():
            place = torch.device(KIND, device_of(name))
            for held in (module._parameters, module._buffers):
                for key, tensor in list(held.items()):
                    if tensor is not None:
                        held[key] = Placed(tensor.detach(), place)
            if name:
                module.forward = _moving(module.forward, place)  # type: ignore[method-assign]
        yield


def spread_over(model: nn.Module, device_of: Callable[[str], torch.device]) -> None:
    """The same on devices that there are, for good."""
    for name, module in model.named_modules():
        where = device_of(name)
        for parameter in module.parameters(recurse=False):
            parameter.data = parameter.data.to(where)  # in place: what is tied stays so
        for key, buffer in module.named_buffers(recurse=False):
            module._buffers[key] = buffer.to(where)
        if name:
            module.forward = _moving(module.forward, where)  # type: ignore[method-assign]


def _moving(forward: Callable[..., Any], place: torch.device) -> Callable[..., Any]:
    def moved(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = tree_map(lambda x: x.to(place) if isinstance(x, Tensor) else x, (args, kwargs))
        return forward(*args, **kwargs)

    return moved
