"""Where weights start: constants and draws, scaled by the shape they fill."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verax.errors import DtypeError, InputError, ShapeError
from verax.frame.first_values import drawn, filled
from verax.frame.registry import Registry
from verax.frame.seeds import next_key

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "constant",
    "deserialize",
    "get",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "lecun_normal",
    "lecun_uniform",
    "ones",
    "orthogonal",
    "random_normal",
    "random_uniform",
    "serialize",
    "truncated_normal",
    "variance_scaling",
    "zeros",
]

# The standard deviation of a standard normal that is cut off at -2 and 2.
_TRUNCATED_STDDEV = 0.87962566103423978


class Initializer:
    """Makes the first value of a weight from its shape.

    A subclass defines ``__call__``; its constructor arguments, kept as attributes of the same names, are its
    configuration.

    >>> class Diagonal(Initializer):
    ...     def __init__(self, value=1.0):
    ...         self.value = value
    ...     def __call__(self, shape, dtype="float32", *, key=None):
    ...         return self.value * jnp.eye(*shape, dtype=dtype)
    >>> Diagonal(2.0)((2, 2)).tolist(), Diagonal(2.0).get_config()
    ([[2.0, 0.0], [0.0, 2.0]], {'value': 2.0})
    """

    def __call__(self, shape: Sequence[int], dtype: Any = "float32", *, key: jax.Array | None = None) -> jax.Array:
        """An array of ``shape`` and ``dtype``; ``key`` is the randomness a drawing initializer uses."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(shape, dtype, *, key)")

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments that make this initializer again."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Initializer:
        """The initializer of a configuration."""
        return cls(**config)


class Zeros(Initializer):
    """All zeros.

    >>> Zeros()((2,)).tolist()
    [0.0, 0.0]
    """

    def __call__(self, shape: Sequence[int], dtype: Any = "float32", *, key: jax.Array | None = None) -> jax.Array:
        return filled(np.zeros, shape, dtype)


class Ones(Initializer):
    """All ones.

    >>> Ones()((2,)).tolist()
    [1.0, 1.0]
    """

    def __call__(self, shape: Sequence[int], dtype: Any = "float32", *, key: jax.Array | None = None) -> jax.Array:
        return filled(np.ones, shape, dtype)


class Constant(Initializer):
    """One number everywhere, or a given array as it is.

    Args:
        value: A number, or an array of exactly the shape that will be asked for.

    Raises:
        ShapeError: An array of another shape than the weight's.

    >>> Constant(3.0)((2,)).tolist(), Constant([1.0, 2.0])((2,)).tolist()
    ([3.0, 3.0], [1.0, 2.0])

    Differs from Keras: an array is not broadcast, so that a wrong shape cannot pass unseen.
    """

    def __init__(self, value: Any = 0.0):
        self.value = value

    def __call__(self, shape: Sequence[int], dtype: Any = "float32", *, key: jax.Array | None = None) -> jax.Array:
        value, shape = jnp.asarray(self.value).astype(dtype), tuple(shape)
        if value.ndim and value.shape != shape:
            raise ShapeError(
                f"A weight of shape {shape} starts from a given array.",
                received=f"an array of shape {value.shape}",
                because="an array is used as it is, never broadcast",
                do=f"Give an array of shape {shape}, or one number.",
            )
        return jnp.broadcast_to(value, shape)

    def get_config(self) -> dict[str, Any]:
        return {"value": np.asarray(self.value).tolist()}


class Identity(Initializer):
    """The identity matrix times ``gain``; ones on the diagonal where it is not square.

    Raises:
        ShapeError: A shape that is not (rows, columns).

    >>> Identity(gain=2.0)((2, 3)).tolist()
    [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]
    """

    def __init__(self, gain: float = 1.0):
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: Any = "float32", *, key: jax.Array | None = None) -> jax.Array:
        if len(shape) != 2:
            raise ShapeError(
                "Identity fills a matrix.", received=f"shape {tuple(shape)}", do="Use it for a weight of two axes."
            )
        return (self.gain * jnp.eye(*shape, dtype="float32")).astype(dtype)


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


zeros, ones, constant, identity, orthogonal = Zeros, Ones, Constant, Identity, Orthogonal
random_normal, random_uniform, truncated_normal = RandomNormal, RandomUniform, TruncatedNormal
variance_scaling = VarianceScaling
glorot_uniform, glorot_normal = GlorotUniform, GlorotNormal
he_uniform, he_normal = HeUniform, HeNormal
lecun_uniform, lecun_normal = LecunUniform, LecunNormal

_registry = Registry("initializer")
for _cls in (Constant, VarianceScaling, GlorotUniform, GlorotNormal, HeUniform, HeNormal, LecunUniform, LecunNormal):
    _registry.add(_cls)
_registry.add(Zeros, "zero")
_registry.add(Ones, "one")
_registry.add(Identity, "IdentityInitializer")
_registry.add(Orthogonal, "OrthogonalInitializer")
_registry.add(RandomNormal, "normal")
_registry.add(RandomUniform, "uniform")
_registry.add(TruncatedNormal)


def get(identifier: Any) -> Callable[..., jax.Array] | None:
    """The initializer of a name, a configuration, a class, a function ``(shape, dtype)``, or an array.

    >>> type(get("he_normal")).__name__, get(np.ones(2))((2,)).tolist(), get(None)
    ('HeNormal', [1.0, 1.0], None)
    """
    if isinstance(identifier, (np.ndarray, np.generic, jax.Array, int, float)):
        return Constant(identifier)
    return _registry.get(identifier)


def serialize(initializer: Any) -> Any:
    """The configuration of an initializer, in Keras' form."""
    return _registry.serialize(initializer)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The initializer of a configuration made by ``serialize``."""
    return _registry.deserialize(config, custom_objects)
