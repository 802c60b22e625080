"""Maximum and average over windows, with gradients that stay fast on a CPU."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax

from verax.frame.speed import fast_kernels

__all__ = ["average_pool", "average_pool_plain", "max_pool", "max_pool_plain"]

#: The most places of a window, and of a step, that are written out one by one; larger ones take the plain form.
PLACES = 64


@dataclass(frozen=True)
class _Windows:
    """Where windows lie over the sizes of an array: hashable, known while a program is traced."""

    shape: tuple[int, ...]
    first: int  # the first of the axes that windows move over
    window: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]

    @classmethod
    def over(
        cls, shape: tuple[int, ...], window: Sequence[int], strides: Sequence[int], padding: Any, channels_last: bool
    ) -> _Windows:
        """The windows over (rows, *sizes, channels), or (rows, channels, *sizes)."""
        first = 1 if channels_last else 2
        sizes = shape[first : first + len(window)]
        pads = lax.padtype_to_pads(sizes, window, strides, padding) if isinstance(padding, str) else padding
        return cls(tuple(shape), first, tuple(window), tuple(strides), tuple((_whole(a), _whole(b)) for a, b in pads))

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.shape[self.first : self.first + len(self.window)]

    @property
    def counts(self) -> tuple[int, ...]:
        """How many windows there are along each axis."""
        along = zip(self.sizes, self.pads, self.window, self.strides, strict=True)
        return tuple((n + low + high - w) // s + 1 for n, (low, high), w, s in along)

    @property
    def tile(self) -> bool:
        """Whether they lie side by side."""
        return self.window == self.strides

    @property
    def padded(self) -> bool:
        """Whether any window reaches outside."""
        return any(low or high for low, high in self.pads)

    @property
    def few(self) -> bool:
        """Whether the fast forms write out a reasonable number of places."""
        return min(self.counts) > 0 and max(math.prod(self.window), math.prod(self.strides)) <= PLACES

    def whole(self, each: Sequence[Any], other: Any) -> tuple[Any, ...]:
        """One entry for every axis of the array, ``other`` for those that windows do not move over."""
        return (*(other,) * self.first, *each, *(other,) * (len(self.shape) - self.first - len(self.window)))

    def places(self) -> Iterator[tuple[int, ...]]:
        """The places of a window, the last axis running fastest."""
        return itertools.product(*map(range, self.window))


def max_pool_plain(
    x: jax.Array, window: Sequence[int], strides: Sequence[int], padding: Any, *, channels_last: bool = True
) -> jax.Array:
    """The maximum of each window in plain lax: the reference that ``max_pool`` is tested against.

    Args:
        x: (rows, *sizes, channels), or (rows, channels, *sizes) with ``channels_last=False``.
        window: Its sizes.
        strides: By how much it moves, one a size.
        padding: "SAME", "VALID", or (before, after) for each size; what lies outside does not count.
    """
    return _reduce(x, _Windows.over(x.shape, window, strides, padding, channels_last), _lowest(x.dtype), lax.max)


def max_pool(
    x: jax.Array, window: Sequence[int], strides: Sequence[int], padding: Any, *, channels_last: bool = True
) -> jax.Array:
    """The maximum of each window, as ``max_pool_plain`` gives it, with a gradient that scatters nothing.

    XLA finds the place of each maximum again in the backward pass, and adds the gradients there one by one
    (``select_and_scatter``). Here the forward pass keeps the place k, one byte a window, and the backward pass is
    elementwise:

        ∂/∂x[p] = Σ_windows that hold p   dy if k = (the place of p in the window) else 0

    On ties, and where there is a NaN, the gradient goes where XLA sends it: to the first maximum in the window's
    order; from a NaN on to the maximum of what comes after it. Reverse mode works to any order; forward mode
    (``jax.jvp``) needs ``max_pool_plain``. Windows of more than 64 places and other backends take the plain form.

    >>> max_pool(jnp.array([[3.0, 1.0, 2.0, 5.0]])[..., None], (2,), (2,), "VALID").ravel().tolist()
    [3.0, 5.0]
    """
    if not fast_kernels():
        return max_pool_plain(x, window, strides, padding, channels_last=channels_last)
    windows = _Windows.over(x.shape, window, strides, padding, channels_last)
    if not windows.few:
        return max_pool_plain(x, window, strides, padding, channels_last=channels_last)
    return _max_pool(x, windows) if jnp.issubdtype(x.dtype, jnp.floating) else _maximum(x, windows)


def average_pool_plain(
    x: jax.Array, window: Sequence[int], strides: Sequence[int], padding: Any, *, channels_last: bool = True
) -> jax.Array:
    """The average of each window in plain lax: the reference that ``average_pool`` is tested against.

    Sums under half precision are in float32: in bfloat16 the average of 64 numbers near 100 would be 97.5.

    Args:
        x, window, strides, padding: As in ``max_pool_plain``. The average is over the places inside of ``x``.

    Differs from Keras: there sums are in the dtype of ``x``.
    """
    windows = _Windows.over(x.shape, window, strides, padding, channels_last)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return _reduce(x, windows, np.zeros((), x.dtype)[()], lax.add) / _inside(windows, x.dtype)
    wide = _wide(x)
    sums = _reduce(wide, windows, np.zeros((), wide.dtype)[()], lax.add)
    return (sums / _inside(windows, wide.dtype)).astype(x.dtype)


def average_pool(
    x: jax.Array, window: Sequence[int], strides: Sequence[int], padding: Any, *, channels_last: bool = True
) -> jax.Array:
    """The average of each window, as ``average_pool_plain`` gives it, written as sums of slices.

    The gradient is elementwise, as in ``max_pool``, and the limits are the same.

    >>> average_pool(jnp.array([[3.0, 1.0, 2.0, 5.0]])[..., None], (2,), (2,), "VALID").ravel().tolist()
    [2.0, 3.5]
    """
    if not (fast_kernels() and jnp.issubdtype(x.dtype, jnp.floating)):
        return average_pool_plain(x, window, strides, padding, channels_last=channels_last)
    windows = _Windows.over(x.shape, window, strides, padding, channels_last)
    if not windows.few:
        return average_pool_plain(x, window, strides, padding, channels_last=channels_last)
    wide = _wide(x)
    return (_sum_pool(wide, windows) / _inside(windows, wide.dtype)).astype(x.dtype)


def _wide(x: jax.Array) -> jax.Array:
    return x.astype(jnp.float32) if x.dtype.itemsize < 4 else x


def _reduce(x: jax.Array, windows: _Windows, start: Any, combine: Any) -> jax.Array:
    return lax.reduce_window(
        x,
        start,
        combine,
        windows.whole(windows.window, 1),
        windows.whole(windows.strides, 1),
        windows.whole(windows.pads, (0, 0)),
    )


def _whole(size: Any) -> Any:
    """A plain int; but a size that is left open (``jax.export``) stays the expression it is."""
    return size if export.is_symbolic_dim(size) else int(size)


def _lowest(dtype: Any) -> Any:
    lowest = -np.inf if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype).min
    return np.asarray(lowest, dtype)[()]


def _inside(windows: _Windows, dtype: Any) -> Any:
    """How many places of each window lie inside of the array: the same for every row and channel."""
    if not windows.padded:
        return np.asarray(math.prod(windows.window), dtype)[()]
    if any(map(export.is_symbolic_dim, windows.sizes)):
        return _reduce(jnp.ones(windows.whole(windows.sizes, 1), dtype), windows, np.zeros((), dtype)[()], lax.add)
    along: list[Any] = []
    for n, w, s, (low, _), count in zip(
        windows.sizes, windows.window, windows.strides, windows.pads, windows.counts, strict=True
    ):
        begin = np.arange(count) * s - low
        along.append(np.minimum(begin + w, n) - np.maximum(begin, 0))
    product = functools.reduce(np.multiply.outer, along)
    return product.reshape(windows.whole(product.shape, 1)).astype(dtype)


def _slices(x: jax.Array, windows: _Windows, outside: Any) -> Iterator[jax.Array]:
    """For each place of a window, what all windows have there."""
    if windows.padded:
        x = lax.pad(x, outside, windows.whole([(low, high, 0) for low, high in windows.pads], (0, 0, 0)))
    if not windows.tile or x.shape != windows.shape:
        # An element is read by several windows: without this XLA would compute its producer in each.
        x = lax.optimization_barrier(x)
    for place in windows.places():
        ends = [p + (n - 1) * s + 1 for p, n, s in zip(place, windows.counts, windows.strides, strict=True)]
        starts, limits = list(windows.whole(place, 0)), list(x.shape)
        limits[windows.first : windows.first + len(ends)] = ends
        yield lax.slice(x, starts, limits, windows.whole(windows.strides, 1))


def _maximum(x: jax.Array, windows: _Windows) -> jax.Array:
    if windows.padded:  # padding costs more than reduce_window does
        return _reduce(x, windows, _lowest(x.dtype), lax.max)
    return functools.reduce(lax.max, _slices(x, windows, _lowest(x.dtype)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_pool(x: jax.Array, windows: _Windows) -> jax.Array:
    return _maximum(x, windows)


def _max_forward(x: jax.Array, windows: _Windows) -> tuple[jax.Array, jax.Array]:
    """The maxima, and at which place of its window each was found."""
    slices = _slices(x, windows, _lowest(x.dtype))
    y = chosen = next(slices)
    place = jnp.zeros(y.shape, jnp.uint8)
    for k, here in enumerate(slices, 1):
        stays = chosen >= here  # false next to a NaN, as in XLA's choice; lax.max keeps the NaN
        place, chosen = jnp.where(stays, place, np.uint8(k)), jnp.where(stays, chosen, here)
        y = lax.max(y, here)
    return lax.optimization_barrier((y, place))  # found once, in one sweep


def _max_backward(windows: _Windows, place: jax.Array, dy: jax.Array) -> tuple[jax.Array]:
    return (_spread(dy, windows, place),)


_max_pool.defvjp(_max_forward, _max_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _sum_pool(x: jax.Array, windows: _Windows) -> jax.Array:
    zero = np.zeros((), x.dtype)[()]
    if windows.padded:
        return _reduce(x, windows, zero, lax.add)
    return functools.reduce(lax.add, _slices(x, windows, zero))


def _sum_forward(x: jax.Array, windows: _Windows) -> tuple[jax.Array, None]:
    return _sum_pool(x, windows), None


def _sum_backward(windows: _Windows, _: None, dy: jax.Array) -> tuple[jax.Array]:
    return (_spread(dy, windows, None),)


_sum_pool.defvjp(_sum_forward, _sum_backward)


def _spread(dy: jax.Array, windows: _Windows, place: jax.Array | None) -> jax.Array:
    """Each window's dy, added to its chosen place, or to all of them where ``place`` is None."""
    grown = _spread_tiles(dy, windows, place) if windows.tile else _spread_phases(dy, windows, place)
    zero = np.zeros((), dy.dtype)[()]
    begin = windows.first
    # Cut what lies in the padding; add what no window reached.
    cuts = [
        (-low, n + low - have, 0)
        for n, (low, _), have in zip(windows.sizes, windows.pads, grown.shape[begin:], strict=False)
    ]
    return lax.pad(grown, zero, windows.whole(cuts, (0, 0, 0)))


def _spread_tiles(dy: jax.Array, windows: _Windows, place: jax.Array | None) -> jax.Array:
    """Windows side by side: every element belongs to one of them."""
    behind = [windows.first + 2 * j + 1 for j in range(len(windows.window))]
    grown = list(np.expand_dims(np.empty(dy.shape, bool), behind).shape)
    apart = jnp.expand_dims(dy, behind)
    for axis, w in zip(behind, windows.window, strict=True):
        grown[axis] = w
    if place is not None:
        ordered = np.arange(math.prod(windows.window), dtype=np.uint8).reshape(
            [w if axis in behind else 1 for axis, w in enumerate(grown)]
        )
        apart = jnp.where(jnp.expand_dims(place, behind) == ordered, apart, np.zeros((), dy.dtype)[()])
    shape = list(dy.shape)
    for j, w in enumerate(windows.window):
        shape[windows.first + j] *= w
    return jnp.broadcast_to(apart, grown).reshape(shape)


def _spread_phases(dy: jax.Array, windows: _Windows, place: jax.Array | None) -> jax.Array:
    """Overlapping windows, or windows with gaps: one dense sum for each position modulo the strides, interleaved.

    The element at (i * stride + r) has place (q * stride + r) in window i - q.
    """
    zero = np.zeros((), dy.dtype)[()]
    before = [(w - 1) // s for w, s in zip(windows.window, windows.strides, strict=True)]
    lengths = [-(-(n + low) // s) for n, (low, _), s in zip(windows.sizes, windows.pads, windows.strides, strict=True)]
    after = [max(0, length - n) for length, n in zip(lengths, windows.counts, strict=True)]
    around = windows.whole([(a, b, 0) for a, b in zip(before, after, strict=True)], (0, 0, 0))
    # Padded once and kept: slices of it are read without a test for every element.
    dy = lax.optimization_barrier(lax.pad(dy, zero, around))
    if place is not None:
        place = lax.optimization_barrier(lax.pad(place, np.uint8(255), around))

    def moved(a: jax.Array, back: list[int]) -> jax.Array:
        starts, limits = list(windows.whole(back, 0)), list(a.shape)
        limits[windows.first : windows.first + len(back)] = [b + n for b, n in zip(back, lengths, strict=True)]
        return lax.slice(a, starts, limits)

    def phase(r: tuple[int, ...]) -> jax.Array:
        terms: list[jax.Array] = []
        for k, at in enumerate(windows.places()):
            if any(p % s != want for p, s, want in zip(at, windows.strides, r, strict=True)):
                continue
            back = [b - p // s for b, p, s in zip(before, at, windows.strides, strict=True)]
            here = moved(dy, back)
            terms.append(here if place is None else jnp.where(moved(place, back) == np.uint8(k), here, zero))
        if not terms:
            sizes = list(dy.shape)
            sizes[windows.first : windows.first + len(lengths)] = lengths
            return jnp.zeros(sizes, dy.dtype)
        return functools.reduce(lax.add, terms)

    def interleaved(r: tuple[int, ...]) -> jax.Array:
        if len(r) == len(windows.strides):
            return phase(r)
        parts = [interleaved((*r, i)) for i in range(windows.strides[len(r)])]
        if len(parts) == 1:
            return parts[0]
        axis = windows.first + len(r)
        shape = list(parts[0].shape)
        shape[axis] *= len(parts)
        return jnp.stack(parts, axis + 1).reshape(shape)

    return interleaved(())
