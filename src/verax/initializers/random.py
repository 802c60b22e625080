"""First values that are drawn: plain distributions, and those scaled by the shape they fill."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from verax.errors import DtypeError, InputError, ShapeError
from verax.frame.first_values import drawn
from verax.frame.seeds import next_key
from verax.initializers.base import Initializer

__all__ = [
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "LecunNormal",
    "LecunUniform",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
]

# The standard deviation of a standard normal that is cut off at -2 and 2.
_TRUNCATED_STDDEV = 0.87962566103423978


class _Drawn(Initializer):
    """An initializer that draws; ``seed`` fixes the draw, else the caller's key or the global source is used."""

    def __init__(self, seed: int | None = None):
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: Any = "float32", *, key: jax.Array | None = None) -> jax.Array:
        if self.seed is not None:
            key = jax.random.key(self.seed)
        elif key is None:
            key = next_key()
        if not jnp.issubdtype(dtype, jnp.floating):
            raise DtypeError(f"{type(self).__name__} draws real numbers.", received=f"dtype {dtype}")
        # Drawn in float32 and rounded once: a low-precision weight then starts where its float32 twin does.
        wide = dtype if jnp.finfo(dtype).bits > 32 else "float32"
        return self.draw(key, tuple(shape), wide).astype(dtype)

    def draw(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        """The values, drawn with ``key``."""
        raise NotImplementedError


class RandomNormal(_Drawn):
    """Draws from a normal distribution with ``mean`` and ``stddev``.

    Args:
        mean: The mean.
        stddev: The standard deviation.
        seed: With a seed every call gives the same values; without, each call draws anew.

    >>> RandomNormal(seed=1)((2, 3)).shape
    (2, 3)

    Differs from Keras: without a seed, a second call of the same initializer draws other values.
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None):
        super().__init__(seed)
        self.mean, self.stddev = mean, stddev

    def draw(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        return drawn(lambda room: self.mean + self.stddev * jax.random.normal(key, room, dtype), shape)


class TruncatedNormal(RandomNormal):
    """Draws from a normal distribution, redrawing what lies beyond ``mean`` ± 2 ``stddev``.

    ``stddev`` is that of the distribution before the cut; after it, the values' own is 0.8796 ``stddev``.

    >>> bool((abs(TruncatedNormal(stddev=1.0)((1000,))) <= 2.0).all())
    True
    """

    def draw(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        return drawn(
            lambda room: self.mean + self.stddev * jax.random.truncated_normal(key, -2.0, 2.0, room, dtype), shape
        )


class RandomUniform(_Drawn):
    """Draws from a uniform distribution on [``minval``, ``maxval``).

    >>> x = RandomUniform(0.0, 1.0)((1000,))
    >>> bool(((x >= 0) & (x < 1)).all())
    True
    """

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None):
        super().__init__(seed)
        self.minval, self.maxval = minval, maxval

    def draw(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        return drawn(lambda room: jax.random.uniform(key, room, dtype, self.minval, self.maxval), shape)


class Orthogonal(_Drawn):
    """Draws a matrix with orthonormal rows or columns (whichever are fewer), uniformly among all of them.

    The Q of the QR decomposition of a normal matrix, its columns turned so that R's diagonal is positive. A weight
    of more than two axes is (product of all axes but the last, last axis), folded back afterwards.

    Args:
        gain: What the matrix is multiplied with.
        seed: As in ``RandomNormal``.

    Raises:
        ShapeError: Fewer than two axes.

    Source: Saxe et al., 2014, https://arxiv.org/abs/1312.6120; Mezzadri, 2007, for the signs.

    >>> q = Orthogonal()((4, 2))
    >>> bool(jnp.allclose(q.T @ q, jnp.eye(2), atol=1e-5))
    True
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None):
        super().__init__(seed)
        self.gain = gain

    def draw(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        if len(shape) < 2:
            raise ShapeError(
                "Orthogonal fills a matrix, or an array that can be folded to one.",
                received=f"shape {shape}",
                do="Use it for a weight of two or more axes.",
            )
        rows, columns = math.prod(shape[:-1]), shape[-1]
        q, r = jnp.linalg.qr(jax.random.normal(key, (max(rows, columns), min(rows, columns)), dtype))
        q = q * jnp.sign(jnp.diag(r))[None, :]
        return self.gain * (q.T if rows < columns else q).reshape(shape)


class VarianceScaling(_Drawn):
    """Draws with mean 0 and variance ``scale`` / n, n being the number of inputs or outputs a unit has.

    For a matrix (inputs, outputs) n is inputs ("fan_in"), outputs ("fan_out") or their mean ("fan_avg"); for a
    convolution's kernel (*window, inputs, outputs) each is multiplied with the size of the window.

    Args:
        scale: Positive.
        mode: "fan_in", "fan_out" or "fan_avg".
        distribution: "truncated_normal" (or "normal"; cut at two standard deviations, rescaled to keep the
            variance), "untruncated_normal", or "uniform" on ± sqrt(3 ``scale`` / n).
        seed: As in ``RandomNormal``.
        input_axes, output_axes: Which axes count as inputs and as outputs, for a weight of another layout; both
            or neither.

    Raises:
        InputError: An argument outside of these.

    >>> x = VarianceScaling(scale=3.0, mode="fan_in", distribution="uniform")((100, 50))
    >>> bool(abs(x).max() <= (3 * 3.0 / 100) ** 0.5)
    True
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ):
        super().__init__(seed)
        distribution = distribution.lower()
        if not scale > 0:
            raise InputError("VarianceScaling(scale=...) is positive.", received=repr(scale))
        _one_of("mode", mode, ("fan_in", "fan_out", "fan_avg"))
        _one_of("distribution", distribution, ("truncated_normal", "normal", "untruncated_normal", "uniform"))
        if (input_axes is None) != (output_axes is None):
            raise InputError(
                "The axes of a weight are inputs or outputs.",
                received=f"input_axes={input_axes}, output_axes={output_axes}",
                do="Give both, or neither.",
            )
        self.scale, self.mode = scale, mode
        self.distribution = "truncated_normal" if distribution == "normal" else distribution
        self.input_axes, self.output_axes = input_axes, output_axes

    def draw(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        inputs, outputs = _fans(shape, self.input_axes, self.output_axes)
        n = {"fan_in": inputs, "fan_out": outputs, "fan_avg": (inputs + outputs) / 2}[self.mode]
        stddev = math.sqrt(self.scale / max(1.0, n))
        if self.distribution == "uniform":
            limit = math.sqrt(3.0) * stddev
            return drawn(lambda room: jax.random.uniform(key, room, dtype, -limit, limit), shape)
        if self.distribution == "untruncated_normal":
            return drawn(lambda room: stddev * jax.random.normal(key, room, dtype), shape)
        stddev = stddev / _TRUNCATED_STDDEV
        return drawn(lambda room: stddev * jax.random.truncated_normal(key, -2.0, 2.0, room, dtype), shape)


class _Scaled(VarianceScaling):
    """A ``VarianceScaling`` with its scale, mode and distribution fixed by the class."""

    fixed: tuple[float, str, str]

    def __init__(
        self,
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ):
        super().__init__(*self.fixed, seed, input_axes, output_axes)


class GlorotUniform(_Scaled):
    """Draws uniformly from ± sqrt(6 / (inputs + outputs)). Source: Glorot & Bengio, 2010."""

    fixed = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Scaled):
    """Draws from a truncated normal with variance 2 / (inputs + outputs). Source: Glorot & Bengio, 2010."""

    fixed = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_Scaled):
    """Draws uniformly from ± sqrt(6 / inputs). Source: He et al., 2015, https://arxiv.org/abs/1502.01852."""

    fixed = (2.0, "fan_in", "uniform")


class HeNormal(_Scaled):
    """Draws from a truncated normal with variance 2 / inputs. Source: He et al., 2015."""

    fixed = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_Scaled):
    """Draws uniformly from ± sqrt(3 / inputs). Source: LeCun et al., *Efficient BackProp*, 1998."""

    fixed = (1.0, "fan_in", "uniform")


class LecunNormal(_Scaled):
    """Draws from a truncated normal with variance 1 / inputs. Source: Klambauer et al., 2017."""

    fixed = (1.0, "fan_in", "truncated_normal")


def _fans(
    shape: tuple[int, ...], input_axes: Sequence[int] | None, output_axes: Sequence[int] | None
) -> tuple[int, int]:
    """The numbers of inputs and of outputs that meet in one unit of a weight."""
    if input_axes is not None and output_axes is not None:
        return math.prod(shape[a] for a in input_axes), math.prod(shape[a] for a in output_axes)
    if len(shape) < 2:
        return math.prod(shape), math.prod(shape)
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


def _one_of(argument: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(
            f"VarianceScaling({argument}=...) is one of {', '.join(map(repr, allowed))}.", received=repr(value)
        )
