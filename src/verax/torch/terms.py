"""Calls that were noted, and the summands that a loss made of them is of."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from verax.torch.leaves import Constant, Parameter, Ref, leaves

__all__ = ["QUOTIENTS", "SAME", "Node", "Term", "chain_of", "is_sum", "needed_by", "scale_of", "terms_of"]


@dataclass
class Node:
    """A call that was noted.

    Attributes:
        call: The function, or the module.
        args, kwargs: What it was given; in a tape that was cut out, with Ref, Constant and Parameter for tensors.
        made: The tensors it gave back, in order; None in a tape that was cut out.
        name: The function's name, for comparing tapes.
        module: Whether it is a call of the model (or of a part of it).
        draws: The state of the random generators before it; None where it draws nothing.
        autocast: device type -> dtype, where autocast was on.
    """

    call: Callable[..., Any]
    args: Any
    kwargs: Any
    made: list[torch.Tensor] | None
    name: str
    module: bool = False
    draws: Any = None
    autocast: Mapping[str, torch.dtype] = field(default_factory=dict[str, torch.dtype])


@dataclass(frozen=True)
class Term:
    """A summand of a loss: ``coefficient`` times a tensor of the tape.

    Attributes:
        ref: The tensor.
        coefficient: What it is multiplied with.
        kind: "data" where the model's output is in it; "penalty" where only weights are; "constant".
    """

    ref: Ref
    coefficient: float
    kind: str


def needed_by(nodes: Sequence[Node], last: int) -> list[int]:
    """The places of a call and of all that it needs, in order."""
    wanted, waiting = {last}, [last]
    while waiting:
        node = nodes[waiting.pop()]
        for ref in leaves((node.args, node.kwargs), Ref):
            if ref.node not in wanted:
                wanted.add(ref.node)
                waiting.append(ref.node)
    return sorted(wanted)


_SUMS = {"add": 1.0, "radd": 1.0, "iadd": 1.0, "sub": -1.0, "isub": -1.0, "subtract": -1.0}
_PRODUCTS = frozenset({"mul", "rmul", "imul", "multiply"})
QUOTIENTS = frozenset({"div", "truediv", "itruediv", "divide", "true_divide"})
SAME = frozenset({"to", "float", "double", "contiguous", "clone", "squeeze", "view", "reshape"})


def terms_of(nodes: Sequence[Node], ref: Ref, coefficient: float = 1.0, rows: int = 0) -> list[Term]:
    """The summands of a tensor: sums are taken apart, and what is multiplied with a number.

    A sum over the rows that is divided by their number is their mean, and stays whole.
    """
    node = nodes[ref.node]
    name = node.name.strip("_")
    found: list[Term] | None = None
    if not node.module and not node.kwargs.keys() - {"alpha"}:
        if name in _SUMS and len(node.args) == 2:
            sign = _SUMS[name] * float(node.kwargs.get("alpha", 1.0))
            one, two = node.args
            found = [*_terms(nodes, one, coefficient, rows), *_terms(nodes, two, coefficient * sign, rows)]
        elif name in _PRODUCTS | QUOTIENTS and len(node.args) == 2:
            found = _scaled(nodes, node, name, coefficient, rows)
        elif name in SAME and node.args and isinstance(node.args[0], Ref):
            found = terms_of(nodes, node.args[0], coefficient, rows)
    if found is not None:
        return found
    needed = [nodes[i] for i in needed_by(nodes, ref.node)]
    if any(n.module for n in needed):
        kind = "data"
    elif any(True for n in needed for _ in leaves((n.args, n.kwargs), Parameter)):
        kind = "penalty"
    else:
        kind = "constant"
    return [Term(ref, coefficient, kind)]


def chain_of(nodes: Sequence[Node], ref: Ref) -> list[Ref]:
    """A tensor and those it is a multiple of, down to the first sum or to what is no multiple."""
    found = [ref]
    while True:
        node = nodes[found[-1].node]
        name = node.name.strip("_")
        refs = [arg for arg in node.args if isinstance(arg, Ref)] if isinstance(node.args, tuple) else []
        if node.module or name not in _PRODUCTS | QUOTIENTS | SAME or len(refs) != 1 or refs[0] is not node.args[0]:
            return found
        found.append(refs[0])


def scale_of(nodes: Sequence[Node], ref: Ref) -> bool:
    """Whether a tensor is another one times a number that is itself a tensor, as a gradient scaler makes it."""
    node = nodes[ref.node]
    return node.name.strip("_") in _PRODUCTS and any(isinstance(arg, Constant) for arg in node.args)


def _terms(nodes: Sequence[Node], value: Any, coefficient: float, rows: int) -> list[Term]:
    return terms_of(nodes, value, coefficient, rows) if isinstance(value, Ref) else []


def _scaled(nodes: Sequence[Node], node: Node, name: str, coefficient: float, rows: int) -> list[Term] | None:
    first, second = node.args
    one, two = _plain_number(first), _plain_number(second)
    if name in QUOTIENTS:
        if not two or not isinstance(first, Ref) or (rows and two % rows == 0 and is_sum(nodes, first)):
            return None
        if isinstance(second, Constant):  # a count that came from outside
            return None
        return terms_of(nodes, first, coefficient / two, rows)
    if one is not None and isinstance(second, Ref):
        return terms_of(nodes, second, coefficient * one, rows)
    if two is not None and isinstance(first, Ref):
        return terms_of(nodes, first, coefficient * two, rows)
    return None


def is_sum(nodes: Sequence[Node], ref: Ref) -> bool:
    """Whether a tensor is a sum over the rows of a batch, by how it was made."""
    node = nodes[ref.node]
    return not node.module and (node.name == "sum" or node.kwargs.get("reduction") == "sum")


def _plain_number(value: Any) -> float | None:
    """A number, or a tensor from outside that holds one (the scale of a gradient scaler)."""
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, Constant) and value.tensor.numel() == 1:
        with contextlib.suppress(RuntimeError):
            return float(value.tensor)
    return None
