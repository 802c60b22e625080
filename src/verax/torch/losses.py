"""PyTorch's own losses, row by row: what a mean over a batch was made of."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch._C import _len_torch_function_stack
from torch.overrides import TorchFunctionMode, _pop_mode, _push_mode

from verax.ledger.tally import Tally

__all__ = ["KNOWN", "LossMode", "Seen", "seen_as", "weighted"]

#: Losses with a ``reduction``, whose values before it are one for each row (or token, or element).
KNOWN: Mapping[Any, str] = {
    getattr(F, name): name
    for name in [
        "cross_entropy",
        "nll_loss",
        "binary_cross_entropy",
        "binary_cross_entropy_with_logits",
        "mse_loss",
        "l1_loss",
        "smooth_l1_loss",
        "huber_loss",
        "kl_div",
        "poisson_nll_loss",
        "gaussian_nll_loss",
        "hinge_embedding_loss",
        "soft_margin_loss",
        "margin_ranking_loss",
        "cosine_embedding_loss",
        "multi_margin_loss",
        "multilabel_margin_loss",
        "multilabel_soft_margin_loss",
        "triplet_margin_loss",
        "triplet_margin_with_distance_loss",
        "ctc_loss",
    ]
}
_CLASSES = ("cross_entropy", "nll_loss")


@dataclass
class Seen:
    """A loss of PyTorch's that was computed in a run.

    Attributes:
        name: "cross_entropy", ...
        value: What it gave.
        sums: The same in sums over rows.
        smoothing: Its label smoothing.
        weighted: In words, what weights it has: "class weights", "positive weights", "element weights"; "" for none.
        ignored: The target that is ignored where there is one in the batch, else None.
        reduction: "mean", "sum", ...
        ignores: Its ``ignore_index``; None where it has none.
        weights: The weights of classes that it was given.
    """

    name: str
    value: float
    sums: Tally
    smoothing: float = 0.0
    weighted: str = ""
    ignored: int | None = None
    reduction: str = "mean"
    ignores: int | None = None
    weights: tuple[torch.Tensor, ...] = ()

    def summed(self, value: float) -> bool:
        """Whether a number is not the loss as it was computed, but its sum divided by something."""
        return self.reduction == "sum" and not _near(self.value, value)


def seen_as(value: float, seen: Sequence[Seen]) -> Seen | None:
    """Which loss a number is: the one of this value; or the only one where that is a sum, divided by a count."""
    alone = seen[0] if len(seen) == 1 and seen[0].reduction == "sum" else None
    return next((s for s in seen if _near(s.value, value)), alone)


def weighted(sums: Tally, by: float) -> Tally:
    """The same sums with each weight multiplied."""
    return Tally(sums.sum, sums.weight * by, sums.sumsq, sums.cross * by, sums.weightsq * by * by, sums.rows)


def _near(one: float, two: float) -> bool:
    return math.isclose(one, two, rel_tol=1e-4, abs_tol=1e-7)


@functools.cache
def _signature(call: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(call)


@dataclass
class LossMode:
    """Looks at PyTorch's losses in a run, and computes the plain ones where these are asked for.

    Attributes:
        plain: Whether label smoothing is left out.
        unweighted: Whether weights of classes and elements are left out.
        ignore: The target that is ignored, instead of the loss's own; None for that.
        rows: Rows in the batch; tokens are counted to their rows.
        seen: What was found, in order.
    """

    plain: bool = False
    unweighted: bool = False
    ignore: int | None = None
    rows: int = 0
    seen: list[Seen] = field(default_factory=list[Seen])

    def __call__(self, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Compute a known loss."""
        bound = _signature(call).bind(*args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments
        smoothing = float(given.get("label_smoothing") or 0.0)
        weighted = _weights(KNOWN[call], given)
        classes = tuple(given[n] for n in ("weight", "pos_weight") if given.get(n) is not None)
        if self.plain and smoothing:
            given["label_smoothing"] = 0.0
        if self.unweighted and weighted:
            given.update({name: None for name in ("weight", "pos_weight") if name in given})
        if self.ignore is not None and "ignore_index" in given:
            given["ignore_index"] = self.ignore
        value = call(**given)
        seen = self._look(call, given, value, smoothing, weighted)
        seen.weights = classes if "element" not in weighted else ()
        self.seen.append(seen)
        return value

    def _look(
        self, call: Callable[..., Any], given: dict[str, Any], value: Any, smoothing: float, weighted: str
    ) -> Seen:
        name, reduction = KNOWN[call], _reduction(given)
        with torch.no_grad():
            each = call(**{**given, "reduction": "none", "size_average": None, "reduce": None} if "reduce" in given
                        else {**given, "reduction": "none"})  # fmt: skip
            counts = _counts(name, given, each)
            if name == "kl_div" and reduction == "batchmean":
                each = each.reshape(each.shape[0], -1).sum(1)
                counts = torch.ones_like(each)
            rows = self.rows if self.rows and each.ndim and each.shape[0] % self.rows == 0 else None
            v, u = (_by_row(t, rows) for t in (each, counts))
        ignored = given["ignore_index"] if "ignore_index" in given and bool((counts == 0).any()) else None
        mean = float(value.detach()) if torch.is_tensor(value) and value.ndim == 0 else float("nan")
        return Seen(name, mean, _tally(v, u), smoothing, weighted, ignored, reduction, given.get("ignore_index"))


def _reduction(given: Mapping[str, Any]) -> str:
    average, reduce = given.get("size_average"), given.get("reduce")
    if average is not None or reduce is not None:  # the arguments of long ago
        return "none" if reduce is False else "sum" if average is False else "mean"
    return str(given.get("reduction", "mean"))


def _weights(name: str, given: Mapping[str, Any]) -> str:
    words: list[str] = []
    if given.get("weight") is not None:
        words.append("class weights" if name in (*_CLASSES, "multi_margin_loss") else "element weights")
    if given.get("pos_weight") is not None:
        words.append("positive weights")
    return " and ".join(words)


def _counts(name: str, given: Mapping[str, Any], each: torch.Tensor) -> torch.Tensor:
    """What each value adds to the denominator of the mean."""
    target = given.get("target")
    if name not in _CLASSES or target is None or target.is_floating_point():
        return torch.ones_like(each)
    counted = target != given.get("ignore_index", -100)
    weight = given.get("weight")
    if weight is None:
        return counted.to(each.dtype)
    safe = torch.where(counted, target, torch.zeros_like(target))
    return weight[safe].to(each.dtype) * counted


def _by_row(values: torch.Tensor, rows: int | None) -> np.ndarray:
    if values.ndim == 0:
        values = values[None]
    flat = values.detach().to("cpu", torch.float64).reshape(rows or values.shape[0], -1).sum(1)
    return flat.numpy()


def _tally(v: np.ndarray, u: np.ndarray) -> Tally:
    return Tally(*(float(x) for x in (v.sum(), u.sum(), (v * v).sum(), (v * u).sum(), (u * u).sum(), (u != 0).sum())))


def _taken() -> list[Any]:
    """The modes that are on, the uppermost first; taken off."""
    return [_pop_mode() for _ in range(_len_torch_function_stack())]


class FunctionMode(TorchFunctionMode):
    """Hands every torch function to one callable: (function, args, kwargs) -> its result."""

    def __init__(self, handle: Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]):
        super().__init__()
        self.handle = handle

    def begin(self) -> None:
        """Hear from here on, beneath the modes that are on: a program that ends one of its own ends that one."""
        modes = _taken()
        default = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
        if modes and modes[-1] is default:  # that of torch.set_default_device, which has to be the lowest
            _push_mode(modes.pop())
        _push_mode(self)
        for mode in reversed(modes):
            _push_mode(mode)

    def end(self) -> None:
        """Hear no more, wherever among the modes that are on it stands."""
        for mode in reversed(_taken()):
            if mode is not self:
                _push_mode(mode)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.handle(func, args, kwargs or {})
