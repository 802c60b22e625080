"""Everything of a person's program that running its batches again would change, put aside and brought back."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

__all__ = ["draw", "draw_others", "draws_now", "eagerly", "others_now", "preserved", "version_of"]


def draws_now() -> tuple[Any, ...]:
    """The state of PyTorch's random generators: the CPU's and every CUDA device's that is in use."""
    return torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []


def draw(state: tuple[Any, ...] | int) -> None:
    """Set PyTorch's random generators to a state, or to a seed."""
    if isinstance(state, int):
        # torch.manual_seed would reach devices that nobody uses.
        torch.default_generator.manual_seed(state)
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(state)
        return
    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])


def others_now() -> tuple[Any, ...]:
    """The state of numpy's and of Python's global random generators."""
    return np.random.get_state(), random.getstate()  # noqa: NPY002  # a person's model may draw from it


def draw_others(state: tuple[Any, ...]) -> None:
    """Set numpy's and Python's global random generators."""
    np.random.set_state(state[0])  # noqa: NPY002
    random.setstate(state[1])


def version_of(tensor: torch.Tensor) -> int:
    """How often a tensor has been written over; those of ``torch.inference_mode`` do not say."""
    return 0 if tensor.is_inference() else tensor._version


def eagerly() -> contextlib.AbstractContextManager[Any]:
    """Within it compiled models run as they were written, so that what is called in them can be seen."""
    stance = getattr(torch.compiler, "set_stance", None)
    if stance is None or "torch._dynamo" not in sys.modules:  # nothing is compiled, and opening it takes seconds
        return contextlib.nullcontext()
    return stance("force_eager")


@contextlib.contextmanager
def preserved(modules: Iterable[torch.nn.Module], generators: Iterable[Any] = ()) -> Iterator[None]:
    """Within it modules may run, in any mode; afterwards all is as before, also when an exception ends it.

    Brought back are of every module and what is in it: its buffers, bit for bit; ``training``; every attribute, and the
    items of attributes that are lists, dicts and sets; and the random generators of PyTorch (CPU and CUDA), of numpy
    and of Python, and those given. Parameters and their gradients are not touched by what runs without gradients.
    """
    every = list({id(m): m for module in modules for m in module.modules()}.values())
    attributes = [(m, dict(m.__dict__)) for m in every]
    insides = [(value, _copied(value)) for _, own in attributes for value in own.values() if _holds(value)]
    buffers = {id(b): (b, b.detach().clone()) for m in every for b in m._buffers.values() if b is not None}
    random_states = draws_now(), others_now()
    own_states = [(g, g.get_state()) for g in generators]
    try:
        yield
    finally:
        for module, own in attributes:
            module.__dict__.clear()
            module.__dict__.update(own)
        for value, copy in insides:
            _put_back(value, copy)
        with torch.no_grad():
            for buffer, before in buffers.values():
                if buffer.shape != before.shape:
                    buffer.data = before
                elif not _equal(buffer, before):
                    buffer.copy_(before)
        draw(random_states[0])
        draw_others(random_states[1])
        for generator, before in own_states:
            generator.set_state(before)


def _equal(one: torch.Tensor, two: torch.Tensor) -> bool:
    """Bit for bit, NaN and all."""
    if one.dtype != two.dtype:
        return False
    if one.is_floating_point():
        return bool(((one == two) | ((one != one) & (two != two))).all())
    return bool((one == two).all())


def _holds(value: Any) -> bool:
    return type(value) in (list, dict, set) or hasattr(value, "move_to_end")


def _copied(value: Any) -> Any:
    return value.copy()


def _put_back(value: Any, copy: Any) -> None:
    if isinstance(value, list):
        value[:] = copy
    elif isinstance(value, set):
        value.clear()
        value |= copy
    else:
        value.clear()
        value.update(copy)
