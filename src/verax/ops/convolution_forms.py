"""The three maps of a convolution, each the others' gradient, and the forms in which a CPU computes them.

A convolution y = x * k is linear in each of x and k, so three maps close under differentiation, to any order:

    output_of(x, k) = y        input_of(y, k): Σ y k over the outputs that x took part in
                               kernel_of(x, y): Σ x y over the rows and positions

Their forms, by shape (times against the plain form stand in docs/performance.md):

    pointwise   a window of one element       matrix products of the rows
    by channel  as many groups as channels    a sum over the window's elements of shifted maps, fused in one loop
    dense       all others                    convolutions in the axis order XLA has a kernel for; the output of one
                                              channel as by channel, of two to four channels as a product of patches

Where ``verax.ops.onednn`` takes a shape, products, outputs and inputs are its; the kernel's gradient never is, which it
would have to compute as a convolution with a window as large as the map.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from verax.ops import onednn

__all__ = ["MOST", "Geometry", "biased_output_of", "input_of", "kernel_of", "output_of", "pad"]

#: Above so many elements of the window, or groups, an unrolled form takes longer to compile than it saves.
MOST = 64

Ints = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]


class Geometry(NamedTuple):
    """Where a window goes: the static part of a convolution."""

    sizes: Ints  # of the input
    window: Ints
    strides: Ints
    pads: Pads
    dilation: Ints
    by_channel: bool

    @classmethod
    def of(
        cls,
        sizes: Sequence[int],
        window: Sequence[int],
        strides: Sequence[int],
        pads: Sequence[tuple[int, int]],
        dilation: Sequence[int],
        *,
        by_channel: bool = False,
    ) -> Geometry:
        """The geometry, from whatever kind of integers."""
        both = tuple((int(a), int(b)) for a, b in pads)
        n, k, s, d = (tuple(map(int, v)) for v in (sizes, window, strides, dilation))
        return cls(n, k, s, both, d, by_channel)

    @property
    def spans(self) -> Ints:
        """From the window's first element to its last."""
        return tuple((k - 1) * d for k, d in zip(self.window, self.dilation, strict=True))

    @property
    def outputs(self) -> Ints:
        """The number of positions."""
        each = zip(self.sizes, self.pads, self.spans, self.strides, strict=True)
        return tuple((n + a + b - span - 1) // s + 1 for n, (a, b), span, s in each)

    @property
    def reach(self) -> Ints:
        """From the first position to the last."""
        return tuple((o - 1) * s for o, s in zip(self.outputs, self.strides, strict=True))

    @property
    def pointwise(self) -> bool:
        """Whether the window is one element that never meets a padding."""
        return not self.by_channel and math.prod(self.window) == 1 and not any(a or b for a, b in self.pads)

    @property
    def elements(self) -> list[Ints]:
        """The window's elements, in the kernel's order."""
        return list(itertools.product(*map(range, self.window)))

    def offset(self, element: Ints) -> Ints:
        """Where an element stands at the first position, counted from the padded input's begin."""
        return tuple(e * d for e, d in zip(element, self.dilation, strict=True))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def output_of(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """x (rows, *sizes, channels), kernel (*window, channels, filters): (rows, *outputs, filters)."""
    g = geometry
    channels = x.shape[-1]
    if g.pointwise:
        return _product(_shifted(x, (0,) * len(g.sizes), g), kernel.reshape(kernel.shape[-2:]))
    if not g.by_channel and (found := _by_onednn(x, kernel, g)) is not None:
        return found
    if g.by_channel or (channels == 1 and len(g.elements) <= MOST):
        return _sum_of_shifts(x, kernel, g)
    if channels <= 4 and channels * len(g.elements) <= 32:
        padded = pad(x, g.pads)
        patches = jnp.concatenate([_shifted(padded, g.offset(e), g) for e in g.elements], axis=-1)
        return _product(patches, kernel.reshape(-1, kernel.shape[-1]))
    return _canonical(x, kernel, g.strides, g.pads, dilation=g.dilation)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def biased_output_of(x: jax.Array, kernel: jax.Array, bias: jax.Array, geometry: Geometry) -> jax.Array:
    """``output_of(x, kernel)`` plus bias (filters,), added while the outputs are at hand where oneDNN makes them."""
    if (found := _by_onednn(x, kernel, geometry, bias)) is not None:
        return found
    y: Any = output_of(x, kernel, geometry)
    return y + bias.reshape(*(1,) * (x.ndim - 1), -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def input_of(y: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """Each output spread over the window it came from: (rows, *sizes, channels)."""
    g = geometry
    if g.pointwise:
        x = _product(y, kernel.reshape(kernel.shape[-2:]), turn_b=True)
        around = [(0, n - 1 - r, s - 1) for n, r, s in zip(g.sizes, g.reach, g.strides, strict=True)]
        return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *around, (0, 0, 0)])
    each = zip(g.spans, g.pads, g.sizes, g.reach, strict=True)
    around = [(span - a, n - 1 - r + a) for span, (a, _), n, r in each]
    mirrored = jnp.flip(kernel, range(len(g.window)))
    once = (1,) * len(g.window)
    if g.by_channel:
        return _spread(y, kernel, g)
    if g.strides == once:
        back = Geometry.of(g.outputs, g.window, once, around, g.dilation)
        if (found := _by_onednn(y, mirrored, back, turned=True)) is not None:
            return found
    return _canonical(y, jnp.swapaxes(mirrored, -1, -2), once, around, spread=g.strides, dilation=g.dilation)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def kernel_of(x: jax.Array, y: jax.Array, geometry: Geometry) -> jax.Array:
    """Σ of x (shifted) times y over rows and positions: (*window, channels, filters)."""
    g = geometry
    if g.pointwise:
        # Flat, so that nothing is transposed before the product.
        met = _shifted(x, (0,) * len(g.sizes), g).reshape(-1, x.shape[-1])
        return _product(met, y.reshape(-1, y.shape[-1]), turn_a=True).reshape(*g.window, x.shape[-1], y.shape[-1])
    if g.by_channel:
        return _sums_by_channel(x, y, g)
    each = zip(g.spans, g.reach, g.sizes, g.pads, strict=True)
    around = [(a, span + r + 1 - n - a) for span, r, n, (a, _) in each]
    turned = _canonical(jnp.swapaxes(x, 0, -1), jnp.moveaxis(y, 0, -2), g.dilation, around, dilation=g.strides)
    return jnp.moveaxis(turned, 0, -2)


output_of.defvjp(
    lambda x, kernel, g: (output_of(x, kernel, g), (x, kernel)),
    lambda g, kept, y: (input_of(y, kept[1], g), kernel_of(kept[0], y, g)),
)
biased_output_of.defvjp(
    lambda x, kernel, bias, g: (biased_output_of(x, kernel, bias, g), (x, kernel)),
    lambda g, kept, y: (input_of(y, kept[1], g), kernel_of(kept[0], y, g), jnp.sum(y, tuple(range(y.ndim - 1)))),
)
input_of.defvjp(
    lambda y, kernel, g: (input_of(y, kernel, g), (y, kernel)),
    lambda g, kept, x: (output_of(x, kept[1], g), kernel_of(x, kept[0], g)),
)
kernel_of.defvjp(
    lambda x, y, g: (kernel_of(x, y, g), (x, y)),
    lambda g, kept, kernel: (input_of(kept[1], kernel, g), output_of(kept[0], kernel, g)),
)


def _canonical(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    *,
    spread: Sequence[int] | None = None,
    dilation: Sequence[int] | None = None,
) -> jax.Array:
    """A convolution in the order XLA knows; what a negative padding would cut is not given to it."""
    around: list[tuple[int, int]] = []
    for axis, (pair, s) in enumerate(zip(pads, spread or (1,) * len(pads), strict=True), start=1):
        drop = [-(min(p, 0) // s) for p in pair]
        x = lax.slice_in_dim(x, drop[0], x.shape[axis] - drop[1], axis=axis)
        around.append((pair[0] + drop[0] * s, pair[1] + drop[1] * s))
    data = f"N{'DHW'[-len(pads) :]}C"
    numbers = (data, f"{'DHW'[-len(pads) :]}IO", data)
    return lax.conv_general_dilated(
        x, kernel, strides, around, lhs_dilation=spread, rhs_dilation=dilation, dimension_numbers=numbers
    )


def _by_onednn(
    x: jax.Array, kernel: jax.Array, g: Geometry, bias: jax.Array | None = None, *, turned: bool = False
) -> jax.Array | None:
    """The convolution by oneDNN; None where it is not to be used."""
    if not onednn.suits_convolution(x, kernel, g.strides, g.pads, g.dilation, bias=bias, turned=turned):
        return None
    if bias is not None and g.pointwise and x.shape[-1] > x.shape[0] * math.prod(g.outputs):
        return None  # a large kernel of one element is better multiplied as a matrix, and its few outputs passed again
    return onednn.convolution(x, kernel, g.strides, g.pads, g.dilation, bias=bias, turned=turned)


def _product(a: jax.Array, b: jax.Array, *, turn_a: bool = False, turn_b: bool = False) -> jax.Array:
    """(..., k) times the matrix (k, n), either of them transposed first; the one that is transposed is a matrix."""
    flat = a if turn_a else a.reshape(-1, a.shape[-1])
    if onednn.suits_matmul(flat, b, turn_a=turn_a, turn_b=turn_b):
        sums = onednn.matmul(flat, b, turn_a=turn_a, turn_b=turn_b)
        return sums if turn_a else sums.reshape(*a.shape[:-1], -1)
    over = ((0 if turn_a else a.ndim - 1,), (1 if turn_b else 0,))
    return lax.dot_general(a, b, (over, ((), ())), preferred_element_type=_sums_in(a)).astype(a.dtype)


def _sums_in(a: jax.Array) -> Any:
    return jnp.dtype(jnp.float32) if a.dtype.itemsize < 4 else a.dtype


def pad(x: jax.Array, pads: Sequence[tuple[int, int]]) -> jax.Array:
    """The padded map, made once: inside a fused loop every element asks for the padding, at five times the cost."""
    if not any(a or b for a, b in pads):
        return x
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((a, b, 0) for a, b in pads), (0, 0, 0)])
    return lax.optimization_barrier(x)


def _shifted(x: jax.Array, offset: Ints, g: Geometry) -> jax.Array:
    """What an element of the window meets at each position: (rows, *outputs, channels), of the padded input."""
    if offset == (0,) * len(offset) and g.strides == (1,) * len(offset) and x.shape[1:-1] == g.outputs:
        return x
    last = [a + r + 1 for a, r in zip(offset, g.reach, strict=True)]
    return lax.slice(x, (0, *offset, 0), (x.shape[0], *last, x.shape[-1]), (1, *g.strides, 1))


def _sum_of_shifts(x: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    padded, kind = pad(x, g.pads), _sums_in(x)
    parts = (_shifted(padded, g.offset(e), g).astype(kind) * _along(kernel[e][0], x.ndim) for e in g.elements)
    return functools.reduce(jnp.add, parts).astype(x.dtype)


def _spread(y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """By channel: the positions in each remainder by the stride are a sum of shifts of y; the remainders interleave."""
    steps = tuple(-(-(n + a) // s) for n, (a, _), s in zip(g.sizes, g.pads, g.strides, strict=True))
    before = tuple(span // s for span, s in zip(g.spans, g.strides, strict=True))
    around = [(b, max(0, q - o)) for b, q, o in zip(before, steps, g.outputs, strict=True)]
    padded, kind = pad(y, around), _sums_in(y)
    phases: dict[Ints, Any] = {}
    for e in g.elements:
        offset = g.offset(e)
        at = [b - u // s for b, u, s in zip(before, offset, g.strides, strict=True)]
        last = [a + q for a, q in zip(at, steps, strict=True)]
        part = lax.slice(padded, (0, *at, 0), (y.shape[0], *last, y.shape[-1])).astype(kind)
        phase = tuple(u % s for u, s in zip(offset, g.strides, strict=True))
        phases[phase] = phases.get(phase, 0) + part * _along(kernel[e][0], y.ndim)
    nothing = jnp.zeros((y.shape[0], *steps, y.shape[-1]), kind)
    each = [phases.get(p, nothing).astype(y.dtype) for p in itertools.product(*map(range, g.strides))]
    x = each[0]
    if len(each) > 1:
        rank = len(steps)
        x = jnp.stack(each).reshape(*g.strides, *nothing.shape)
        order = [rank, *(axis for i in range(rank) for axis in (rank + 1 + i, i)), 2 * rank + 1]
        whole = [q * s for q, s in zip(steps, g.strides, strict=True)]
        x = x.transpose(order).reshape(y.shape[0], *whole, y.shape[-1])
    begin = [a for a, _ in g.pads]
    end = [a + n for a, n in zip(begin, g.sizes, strict=True)]
    return lax.slice(x, (0, *begin, 0), (y.shape[0], *end, y.shape[-1]))


def _sums_by_channel(x: jax.Array, y: jax.Array, g: Geometry) -> jax.Array:
    """By channel: for each element, groups of rows are added up in one fused loop, and what is left is summed at once.

    A reduction of the products would write them out, once for each element of the window.
    """
    rows, kind = y.shape[0], _sums_in(x)
    terms = min(32, max(1, 288 // len(g.elements)))
    fits = [left for left in range(1, rows + 1) if rows % left == 0 and rows // left <= terms]
    # As few maps as one core's second cache holds; in small maps, sums of no more than eight terms (measured).
    left = next(n for n in fits if n * y[0].size >= 50_000 or rows // n <= 8)
    # Rows are cut before the window's elements are: a strided map with several uses would be written out.
    padded = pad(x, g.pads)
    pairs = [(padded[i : i + left], y[i : i + left].astype(kind)) for i in range(0, rows, left)]
    sums: list[jax.Array] = []
    for e in g.elements:
        parts = (_shifted(a, g.offset(e), g).astype(kind) * b for a, b in pairs)
        sums.append(functools.reduce(jnp.add, parts))
    found = jnp.sum(lax.optimization_barrier(jnp.stack(sums)), axis=tuple(range(1, y.ndim)))
    return found.reshape(*g.window, 1, y.shape[-1]).astype(x.dtype)


def _along(weights: jax.Array, ndim: int) -> jax.Array:
    return weights.astype(_sums_in(weights)).reshape(*(1,) * (ndim - 1), -1)
