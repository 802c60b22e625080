"""Layers that people write for Keras themselves; the classes are made once Keras is there."""

from __future__ import annotations

from functools import cache
from typing import Any

__all__ = ["adds_loss", "block", "drop_path", "random_sign", "residual_model", "twice"]


@cache
def drop_path(keras: Any) -> Any:
    """Stochastic depth, as it is commonly written: rows are left out at random in training."""

    class DropPath(keras.layers.Layer):
        def __init__(self, **kwargs: Any):
            super().__init__(**kwargs)
            self.seed_generator = keras.random.SeedGenerator(7)

        def call(self, x: Any, training: bool = False) -> Any:
            if not training:
                return x
            kept = keras.random.uniform((keras.ops.shape(x)[0], 1), seed=self.seed_generator) < 0.5
            return keras.ops.where(kept, x, keras.ops.zeros_like(x))

    return DropPath


@cache
def random_sign(keras: Any) -> Any:
    """Augmentation: half of the columns change their sign at random in training."""

    class RandomSign(keras.layers.Layer):
        def __init__(self, **kwargs: Any):
            super().__init__(**kwargs)
            self.seed_generator = keras.random.SeedGenerator(8)

        def call(self, x: Any, training: bool = False) -> Any:
            if not training:
                return x
            flip = keras.random.uniform((keras.ops.shape(x)[0], 1), seed=self.seed_generator) < 0.5
            sign = keras.ops.where(flip, 1.0, -1.0)
            return keras.ops.concatenate([x[:, :4] * sign, x[:, 4:]], axis=1)

    return RandomSign


@cache
def twice(keras: Any) -> Any:
    """A layer that does something else in training than it should."""

    class Twice(keras.layers.Layer):
        def call(self, x: Any, training: bool = False) -> Any:
            return 2.0 * x if training else x

    return Twice


@cache
def block(keras: Any) -> Any:
    """A block that hands its argument on: to dropout in one place, and to none in another."""

    class Block(keras.layers.Layer):
        def __init__(self, **kwargs: Any):
            super().__init__(**kwargs)
            self.drop = keras.layers.Dropout(0.5)
            self.never = keras.layers.Dropout(0.9)

        def call(self, x: Any, training: bool = False) -> Any:
            return self.never(self.drop(x, training=training), training=False)

    return Block


@cache
def adds_loss(keras: Any) -> Any:
    """A layer that adds the mean square of its input to the loss."""

    class AddsLoss(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            self.add_loss(0.5 * keras.ops.mean(keras.ops.square(x)))
            return x

    return AddsLoss


@cache
def residual_model(keras: Any) -> Any:
    """A subclassed model whose own call depends on the mode: its input is doubled in training."""

    class Residual(keras.Model):
        def __init__(self, **kwargs: Any):
            super().__init__(**kwargs)
            self.drop = keras.layers.Dropout(0.5)
            self.head = keras.layers.Dense(1, name="head")

        def call(self, x: Any, training: bool = False) -> Any:
            x = 2.0 * x if training else x
            return self.head(self.drop(x, training=training))

    return Residual
