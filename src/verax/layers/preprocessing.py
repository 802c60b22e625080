"""Numbers brought to a common scale inside a model."""

from __future__ import annotations

import math
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from verax.errors import DataError, InputError, ShapeError
from verax.frame.policy import epsilon
from verax.frame.settings import image_data_format
from verax.layers.adapting import Adapting
from verax.layers.base import Layer, LayerArguments, layer_registry

__all__ = ["Normalization", "Rescaling"]


@layer_registry.add
class Rescaling(Layer):
    """``x * scale + offset`` in the compute dtype: ``Rescaling(1 / 255)`` maps uint8 images to [0, 1].

    Args:
        scale: A number, or one for each channel: of the last axis, or of the third from the end where
            ``config.image_data_format()`` is ``"channels_first"``.
        offset: A number, or one for each channel.

    Differs from Keras: the offsets follow the channels, too.

    >>> Rescaling(1 / 127.5, offset=-1)(np.uint8([0, 255])).tolist()
    [-1.0, 1.0]
    """

    supports_masking = True

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Unpack[LayerArguments]):
        super().__init__(**kwargs)
        self.scale = scale
        self.offset = offset

    def call(self, x: jax.Array) -> jax.Array:
        """Rescale ``x``."""
        x = x.astype(self.compute_dtype)
        return x * self._placed(self.scale, x) + self._placed(self.offset, x)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; the offset where it was not given, too, since Keras does not read without."""
        return {"offset": 0.0, **super().get_config()}

    @staticmethod
    def _placed(value: Any, x: jax.Array) -> jax.Array:
        array = jnp.asarray(np.asarray(value, np.float32), x.dtype)
        if array.ndim and image_data_format() == "channels_first":
            array = array.reshape(array.shape + (1,) * (3 - array.ndim))
        return array.reshape((1,) * (x.ndim - array.ndim) + array.shape) if array.ndim else array


@layer_registry.add
class Normalization(Adapting):
    """``(x - mean) / sqrt(variance)``: every feature with mean 0 and variance 1, over the data ``adapt`` saw.

    The divisor is at least 1e-7. Weights, none of them trained: mean, variance, and the count of values behind each.

    Args:
        axis: The axis, or axes, whose entries have a mean and variance each; the others are reduced. None for one mean
            and variance of all values.
        mean, variance: Numbers of the axes' sizes (or for the last of the axes, or single numbers), instead of
            ``adapt``.
        invert: ``x * sqrt(variance) + mean`` instead.

    Differs from Keras: a layer that computes in 16 bits does so in float32 and rounds the result; ``adapt`` sums in
    float64, refuses NaN, and sets the count; weights that are set take effect at once.

    >>> layer = Normalization()
    >>> layer.adapt(np.array([[0.0, 7.0], [2.0, 9.0]]))
    >>> layer.mean.tolist(), layer.variance.tolist(), layer(np.array([[1.0, 10.0]])).tolist()
    ([[1.0, 8.0]], [[1.0, 1.0]], [[0.0, 2.0]])
    """

    supports_masking = True
    autocast = False

    def __init__(
        self,
        axis: int | tuple[int, ...] | None = -1,
        mean: Any = None,
        variance: Any = None,
        invert: bool = False,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(**kwargs)
        self.axis = () if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        self.input_mean, self.input_variance = mean, variance
        self.invert = invert
        self._keep: tuple[int, ...] = ()
        self._placed: tuple[int, ...] = ()
        self._moments = (0, np.zeros(()), np.zeros(()))
        asked, received = "Normalization was made.", f"mean={mean!r}, variance={variance!r}"
        if (mean is None) != (variance is None):
            raise InputError(asked, received=received, because="one is of no use without the other", do="Pass both.")
        if mean is not None and (np.shape(mean) != np.shape(variance) or np.ndim(mean) > len(self.axis)):
            because = f"both have the sizes of the axes {self.axis}, or are single numbers"
            raise ShapeError(asked, received=received, because=because)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the statistics, unless they were given."""
        ndim = len(input_shape)
        asked = f"{self._says} is built for inputs of shape {tuple(input_shape)}."
        if any(not -ndim <= a < ndim for a in self.axis):
            raise ShapeError(asked, received=f"axis={self.axis}", because=f"an input has {ndim} axes")
        self._keep = tuple(sorted(a % ndim for a in self.axis))
        sizes = [input_shape[a] for a in self._keep]
        if None in sizes:
            because = "a size along it is not known"
            raise ShapeError(asked, received=f"axis={self.axis}", because=because, do="Give the Input that size.")
        kept: tuple[int, ...] = tuple(n for n in sizes if n is not None)
        self._placed = tuple((input_shape[a] or 1) if a in self._keep else 1 for a in range(ndim))
        if self.input_mean is None:
            self.adapt_mean = self.add_weight(kept, "zeros", trainable=False, autocast=False, name="mean")
            self.adapt_variance = self.add_weight(kept, "ones", trainable=False, autocast=False, name="variance")
            self.count = self.add_weight((), "zeros", "int32", trainable=False, name="count")
            return
        shape = np.shape(self.input_mean)
        if shape != kept[len(kept) - len(shape) :] and math.prod(shape) != 1:
            raise ShapeError(asked, received=f"a mean of shape {shape}", because=f"the axes {self.axis} are of {kept}")

    def call(self, x: jax.Array) -> jax.Array:
        """Normalize ``x``."""
        dtype = self._wide
        mean, variance = self.mean.astype(dtype), self.variance.astype(dtype)
        if not self._keep:  # one number for all: inputs of any rank
            mean, variance = mean.reshape(()), variance.reshape(())
        deviation = jnp.maximum(jnp.sqrt(variance), jnp.asarray(epsilon(), dtype))
        x = x.astype(dtype)
        out = x * deviation + mean if self.invert else (x - mean) / deviation
        return out.astype(self.compute_dtype)

    @property
    def mean(self) -> jax.Array:
        """The mean in use, in the rank of the input."""
        return self._place(self.adapt_mean.value if self.input_mean is None else self.input_mean)

    @property
    def variance(self) -> jax.Array:
        """The variance in use, in the rank of the input."""
        return self._place(self.adapt_variance.value if self.input_variance is None else self.input_variance)

    @property
    def _wide(self) -> str:
        return "float64" if self.compute_dtype == "float64" else "float32"

    def _place(self, value: Any) -> jax.Array:
        array = jnp.asarray(value, self._wide)
        if array.ndim == len(self._keep):
            kept = iter(array.shape)
            return array.reshape([next(kept) if a in self._keep else 1 for a in range(len(self._placed))])
        last = self._keep[len(self._keep) - array.ndim :]
        shape = [self._placed[a] if a in last and array.size > 1 else 1 for a in range(len(self._placed))]
        return array.reshape(shape)

    def reset_state(self) -> None:
        """Forget what was counted since the last ``finalize_state``."""
        if self.input_mean is not None:
            raise InputError(
                f"{self._says} adapts to data.",
                received="a mean and a variance when it was made",
                because="they would be replaced",
                do="Make it without them.",
            )
        self._moments = (0, np.zeros(()), np.zeros(()))

    def update_state(self, data: Any) -> None:
        """Add the values of one batch to the sums."""
        batch = np.asarray(data, np.float64)
        if batch.ndim == 0:
            because = "rows stand along the first axis"
            do = "Make batches of rows, or pass one array."
            raise ShapeError(f"{self._says} adapts to data.", received="a single number", because=because, do=do)
        if not self.built:
            self.build((None, *batch.shape[1:]))
        fits = batch.ndim == len(self._placed) and all(batch.shape[a] == self._placed[a] for a in self._keep)
        if not fits:
            received = f"a batch of shape {batch.shape}"
            because = f"the axes {self._keep} have the sizes {tuple(self._placed[a] for a in self._keep)}"
            raise ShapeError(f"{self._says} adapts to data.", received=received, because=because)
        if np.isnan(batch).any():
            received = f"NaN in row {int(np.argmax(np.isnan(batch).reshape(len(batch), -1).any(axis=1)))} of a batch"
            do = "Drop such rows, or fill the values in."
            raise DataError(f"{self._says} adapts to data.", received=received, because="every mean is NaN", do=do)
        axes = tuple(a for a in range(batch.ndim) if a not in self._keep)
        n, mean, squares = self._moments  # Chan, Golub and LeVeque, 1979: moments of two sets from those of each
        more = math.prod(batch.shape[a] for a in axes)
        if more == 0:
            return
        new, total = batch.mean(axis=axes), n + more
        squares = squares + batch.var(axis=axes) * more + (new - mean) ** 2 * (n * more / total)
        self._moments = (total, mean + (new - mean) * (more / total), squares)

    def finalize_state(self) -> None:
        """Set the statistics to those of the values that were counted."""
        n, mean, squares = self._moments
        if n == 0:
            raise DataError(f"{self._says} adapts to data.", received="0 rows", because="they have no mean")
        self.adapt_mean.assign(mean.astype(np.float32))
        self.adapt_variance.assign((squares / n).astype(np.float32))
        self.count.assign(np.int32(min(n, np.iinfo(np.int32).max)))
