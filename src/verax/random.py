"""Random numbers, with Keras' names, arguments and seeds.

Where a function is given no ``seed``, a layer's call draws from the pass: the same draws for the same pass and place,
whatever the feeding. Outside of a call the global seed is drawn from (``utils.set_random_seed``). An integer seed gives
the same numbers each time; a ``SeedGenerator`` gives others at each call.

>>> from verax import random
>>> bool((random.normal((2,), seed=1) == random.normal((2,), seed=1)).all())
True
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from verax.errors import FrameError, InputError
from verax.frame.current import active_frame, inferring
from verax.frame.names import automatic_name
from verax.frame.seeds import next_key, next_seed, seeded
from verax.frame.settings import floatx
from verax.ops.lifted import lift_function

__all__ = [
    "SeedGenerator",
    "beta",
    "binomial",
    "categorical",
    "dropout",
    "gamma",
    "normal",
    "randint",
    "shuffle",
    "truncated_normal",
    "uniform",
]


class SeedGenerator:
    """A source of seeds of its own: other numbers at each call, the same ones in each run of a program.

    Outside of a layer's call the n-th seed is (seed, n), as in Keras, so that numbers are Keras' on JAX. Inside of one
    it is the pass's own key for this place, changed by ``seed``: the same draws for the same pass, whatever the
    feeding, and nothing is counted that a compiled program would have to carry.

    Args:
        seed: A non-negative integer; drawn from the global source when None.
        name: Automatic when None.

    >>> generator = SeedGenerator(7)
    >>> first, second = (normal((), seed=generator) for _ in range(2))
    >>> bool(first != second), bool(first == normal((), seed=SeedGenerator(7)))
    (True, True)

    Differs from Keras: it is no variable of a layer, and weights do not hold its state.
    """

    def __init__(self, seed: int | None = None, name: str | None = None):
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, (int, np.integer))):
            raise InputError("A SeedGenerator was made.", received=f"seed={seed!r}", because="a seed is an int")
        self.name = name or automatic_name(type(self).__name__)
        self._initial = seed
        self.seed = next_seed("seed generators") if seed is None else int(seed)
        self.taken = 0

    @property
    def state(self) -> np.ndarray[Any, Any]:
        """(seed, how many seeds were taken outside of layers' calls), uint32."""
        return np.array([self.seed & 0xFFFFFFFF, self.taken], "uint32")

    def next(self, ordered: bool = True) -> jax.Array:
        """The next seed, two uint32 numbers: (seed, n); where not ``ordered``, (seed, a scrambled n)."""
        if active_frame() is not None:
            return jax.random.key_data(_drawn(self.seed))
        if _traced():
            raise _outside("A SeedGenerator was asked for a seed")
        n = self.taken if ordered else (self.taken + 1) * 5387 % 933199
        self.taken += 1
        return jnp.asarray(np.array([self.seed & 0xFFFFFFFF, n], "uint32"))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"seed": self._initial, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SeedGenerator:
        """The generator of a configuration."""
        return cls(**config)


def _traced() -> bool:
    """Whether jax traces a program now, outside of a frame: a draw would be the same in each of its runs."""
    return isinstance(jnp.zeros((), "int32"), Tracer) and not inferring.get()


def _outside(what: str) -> FrameError:
    return FrameError(
        f"{what} inside a jax transformation.",
        received="no seed that the transformation knows",
        because="the numbers would be the same in each run of the compiled program",
        do="Draw in a layer's call, or pass a key of jax as seed.",
    )


def _drawn(seed: int | None) -> jax.Array:
    """The running call's key for this draw."""
    frame = active_frame()
    assert frame is not None
    layer = frame.stack[-1][0] if frame.stack else frame.tree.root
    return seeded(frame.draw_key(layer), seed)


def _key(seed: Any) -> jax.Array:
    """The key that a seed stands for: an int, a SeedGenerator, a key of jax (typed or not), or None."""
    if isinstance(seed, SeedGenerator):
        return jax.random.wrap_key_data(seed.next(), impl="threefry2x32")
    if isinstance(seed, (jax.Array, np.ndarray)) and np.ndim(seed):
        return jax.random.wrap_key_data(jnp.asarray(seed).astype("uint32"), impl="threefry2x32")
    if isinstance(seed, jax.Array):
        return seed if jnp.issubdtype(seed.dtype, jax.dtypes.prng_key) else jax.random.key(seed)
    if isinstance(seed, (int, np.integer)) and not isinstance(seed, bool):
        return jax.random.wrap_key_data(jnp.asarray([int(seed) & 0xFFFFFFFF, 0], "uint32"), impl="threefry2x32")
    if seed is not None:
        raise InputError(
            "A random function was called.",
            received=f"seed={seed!r}",
            because="a seed is an int, a SeedGenerator, a key of jax or None",
        )
    if active_frame() is not None:
        return _drawn(None)
    if _traced():
        raise _outside("A random function was called without a seed")
    return next_key("random")


def _shape(shape: Any) -> tuple[int, ...]:
    return (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(int(n) for n in shape)


def _moved(sample: jax.Array, mean: Any, stddev: Any) -> jax.Array:
    mean, stddev = (jnp.asarray(v).astype(sample.dtype) for v in (mean, stddev))
    return sample * stddev + mean


def _normal(shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None, seed: Any = None) -> jax.Array:
    """Normal numbers of a mean and a standard deviation."""
    return _moved(jax.random.normal(_key(seed), _shape(shape), dtype or floatx()), mean, stddev)


def _truncated_normal(shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None, seed: Any = None) -> jax.Array:
    """Normal numbers, those beyond two standard deviations drawn again."""
    drawn = jax.random.truncated_normal(_key(seed), -2.0, 2.0, _shape(shape), dtype or floatx())
    return _moved(drawn, mean, stddev)


def _uniform(shape: Any, minval: Any = 0.0, maxval: Any = 1.0, dtype: Any = None, seed: Any = None) -> jax.Array:
    """Numbers evenly from [minval, maxval); integers where ``dtype`` is one, as in ``randint``."""
    dtype = dtype or floatx()
    if jnp.issubdtype(dtype, jnp.integer):
        return _randint(shape, minval, maxval, dtype, seed)
    low, high = (jnp.asarray(v).astype(dtype) for v in (minval, maxval))
    return jax.random.uniform(_key(seed), _shape(shape), dtype, low, high)


def _randint(shape: Any, minval: Any, maxval: Any, dtype: Any = "int32", seed: Any = None) -> jax.Array:
    """Integers evenly from [minval, maxval)."""
    return jax.random.randint(_key(seed), _shape(shape), minval, maxval, dtype)


def _categorical(logits: Any, num_samples: int, dtype: Any = "int32", seed: Any = None) -> jax.Array:
    """Classes (batch, num_samples), drawn by logits (batch, classes)."""
    logits = jnp.asarray(logits)
    if logits.ndim != 2:
        raise InputError("random.categorical was called.", received=f"logits of shape {logits.shape}",
                         because="they are (batch, classes)")  # fmt: skip
    shape = (logits.shape[0], num_samples)
    return jax.random.categorical(_key(seed), logits[..., None], axis=1, shape=shape).astype(dtype)


def _dropout(inputs: Any, rate: float, noise_shape: Sequence[int | None] | None = None, seed: Any = None) -> jax.Array:
    """Each element 0 with probability ``rate``, and divided by 1 - rate otherwise.

    Args:
        inputs: Any shape.
        rate: From 0 to 1.
        noise_shape: The shape of the draws, which are broadcast to ``inputs``; None stands for its size there.
        seed: See the module.
    """
    if isinstance(rate, bool) or not 0 <= rate <= 1:
        raise InputError("random.dropout was called.", received=f"rate={rate!r}", because="it lies between 0 and 1")
    inputs = jnp.asarray(inputs)
    if rate in (0, 1):
        return inputs if rate == 0 else jnp.zeros_like(inputs)
    given = [None] * inputs.ndim if noise_shape is None else noise_shape
    shape = tuple(n if m is None else m for n, m in zip(inputs.shape, given, strict=True))
    kept = jnp.broadcast_to(jax.random.bernoulli(_key(seed), 1.0 - rate, shape), inputs.shape)
    return jnp.where(kept, inputs / (1.0 - rate), jnp.zeros_like(inputs))


def _shuffle(x: Any, axis: int = 0, seed: Any = None) -> jax.Array:
    """``x`` with the elements along an axis in another order, in each line along it another one."""
    return jax.random.permutation(_key(seed), jnp.asarray(x), axis, independent=True)


def _gamma(shape: Any, alpha: Any, dtype: Any = None, seed: Any = None) -> jax.Array:
    """Numbers of the gamma distribution of shape ``alpha`` and scale 1."""
    dtype = dtype or floatx()
    return jax.random.gamma(_key(seed), jnp.asarray(alpha).astype(dtype), _shape(shape), dtype)


def _beta(shape: Any, alpha: Any, beta: Any, dtype: Any = None, seed: Any = None) -> jax.Array:
    """Numbers of the beta distribution of ``alpha`` and ``beta``."""
    dtype = dtype or floatx()
    a, b = (jnp.asarray(v).astype(dtype) for v in (alpha, beta))
    return jax.random.beta(_key(seed), a, b, _shape(shape), dtype)


def _binomial(shape: Any, counts: Any, probabilities: Any, dtype: Any = None, seed: Any = None) -> jax.Array:
    """How often something of a probability happens in so many trials."""
    dtype = dtype or floatx()
    n, p = (jnp.asarray(v).astype(dtype) for v in (counts, probabilities))
    return jax.random.binomial(_key(seed), n, p, _shape(shape), dtype)


beta = lift_function(_beta, "beta")
binomial = lift_function(_binomial, "binomial")
categorical = lift_function(_categorical, "categorical")
dropout = lift_function(_dropout, "dropout")
gamma = lift_function(_gamma, "gamma")
normal = lift_function(_normal, "normal")
randint = lift_function(_randint, "randint")
shuffle = lift_function(_shuffle, "shuffle")
truncated_normal = lift_function(_truncated_normal, "truncated_normal")
uniform = lift_function(_uniform, "uniform")
