"""What residual networks do to a branch before it is added: scaled by numbers that are learned, dropped, weighed.

``verax.applications`` builds with these layers. Configurations name them as Keras' applications do.
"""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

import jax

from verax import initializers
from verax.layers.base import Layer, LayerArguments, along_axis, as_float, check_rate, layer_registry
from verax.layers.regularization import dropout
from verax.ops.stretching import stretch

__all__ = ["CustomScaleLayer", "LayerScale", "StochasticDepth"]


@layer_registry.add
class LayerScale(Layer):
    """Multiplies every channel by a number of its own, ``x * gamma`` (Touvron et al., 2021, section 2).

    Input and output: (batch, ..., channels).

    Args:
        init_values: What gamma begins with.
        projection_dim: The number of channels.

    >>> LayerScale(0.5, 2)(jnp.array([[2.0, 4.0]])).tolist()
    [[1.0, 2.0]]
    """

    _described_as: ClassVar = ("keras.src.applications.convnext", "LayerScale")

    def __init__(self, init_values: float, projection_dim: int, **kwargs: Unpack[LayerArguments]):
        super().__init__(**kwargs)
        self.init_values = init_values
        self.projection_dim = projection_dim

    def build(self, input_shape: Any) -> None:
        """Make gamma."""
        self.gamma = self.add_weight((self.projection_dim,), initializers.Constant(self.init_values), name="gamma")

    def call(self, x: jax.Array) -> jax.Array:
        """Scale ``x``."""
        x = as_float(self, x)
        return x * stretch(along_axis(self.gamma.value, x.ndim, -1), x)


@layer_registry.add
class StochasticDepth(Layer):
    """Sets whole rows to 0 in training and scales the others, so that the expectation stays (Huang et al., 2016).

    In training: ``x * mask / p``, one element of the mask for each row, 1 with probability p; otherwise ``x``. p is
    ``1 - drop_path_rate``, rounded as in ``Dropout``. Input and output: (batch, ...).

    Args:
        drop_path_rate: The probability of dropping a row.

    Differs from Keras: with a rate of 1 everything is 0, not NaN.

    >>> x = jnp.ones((2, 3))
    >>> bool((StochasticDepth(0.5)(x) == x).all())
    True
    """

    _described_as: ClassVar = ("keras.src.applications.convnext", "StochasticDepth")

    def __init__(self, drop_path_rate: float, **kwargs: Unpack[LayerArguments]):
        super().__init__(**kwargs)
        self.drop_path_rate = check_rate(drop_path_rate, "drop_path_rate")

    def call(self, x: jax.Array) -> jax.Array:
        """Drop rows of ``x`` in training."""
        x = as_float(self, x)
        if self.drop_path_rate == 0.0:
            return x
        rows = (x.shape[0], *(1,) * (x.ndim - 1))
        return self.by_mode(
            "stochastic_depth",
            train=lambda: dropout(x, self.drop_path_rate, self.draw_key(), rows),
            infer=lambda: x,
        )


@layer_registry.add
class CustomScaleLayer(Layer):
    """The first input plus ``scale`` times the second (Szegedy et al., 2016, section 3.3).

    Inputs: a pair of arrays of one shape; output: of that shape.

    Args:
        scale: The factor.

    >>> CustomScaleLayer(0.1)([jnp.array([1.0]), jnp.array([5.0])]).tolist()
    [1.5]
    """

    _described_as: ClassVar = ("keras.src.applications.inception_resnet_v2", "CustomScaleLayer")

    def __init__(self, scale: float, **kwargs: Unpack[LayerArguments]):
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, inputs: tuple[jax.Array, jax.Array]) -> jax.Array:
        """Add both inputs."""
        trunk, branch = inputs
        return trunk + branch * self.scale
