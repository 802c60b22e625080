"""Augmentations made of others: RandAugment, AugMix, Pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack, cast

import jax
import jax.numpy as jnp

from verax.errors import InputError
from verax.layers.augmentation.base import BaseAugmentation, DataLayer, interval, limits, of_each, ready
from verax.layers.augmentation.color import RandomBrightness, RandomColorDegeneration, RandomContrast
from verax.layers.augmentation.geometric import Affine, RandomRotation, RandomShear, RandomTranslation
from verax.layers.augmentation.tone import (
    AutoContrast,
    Equalization,
    RandomPosterization,
    RandomSharpness,
    Solarization,
)
from verax.layers.base import Layer, LayerArguments, layer_registry
from verax.ops.image_sampling import warp

__all__ = ["AugMix", "Pipeline", "RandAugment"]

#: A map that moves nothing, as ``Affine`` draws one.
STILL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)


class _Policy(BaseAugmentation):
    """Steps that each do one of several operations to each image, drawn for each image.

    All maps of places are one reading of the image; the others are computed for all images, and selected.
    """

    def __init__(
        self,
        value_range: Any,
        factor: Any,
        interpolation: str,
        seed: int | None,
        data_format: str | None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.value_range, self.factor, self.interpolation = value_range, factor, interpolation
        self._limits = limits(value_range)
        self._interval = interval(factor, "factor")

    def operations(self, colors: bool) -> dict[str, BaseAugmentation]:
        """The operations to choose from, with the strength ``factor`` says."""
        some, values, how = self._interval, self.value_range, self.interpolation
        found: list[BaseAugmentation] = [
            RandomShear(some, some, how, name="random_shear"),
            RandomTranslation(some, some, interpolation=how, name="random_translation"),
            RandomRotation(some, interpolation=how, name="random_rotation"),
            RandomPosterization(max(1, int(8 * some[1])), values, name="random_posterization"),
            Solarization(some, some, values, name="solarization"),
            AutoContrast(values, name="auto_contrast"),
            Equalization(values, name="equalization"),
        ]
        if colors:
            found += [
                RandomBrightness(some, values, name="random_brightness"),
                RandomColorDegeneration(some, values, name="random_color_degeneration"),
                RandomContrast(some, values, name="random_contrast"),
                RandomSharpness(some, values, name="random_sharpness"),
            ]
        return {layer.name: ready(layer) for layer in found}

    def draw_step(
        self, key: jax.Array, shape: tuple[int, ...], layers: dict[str, BaseAugmentation], choices: int
    ) -> Any:
        """(which operation each image gets, its map of places, the draws of the other operations)."""
        keys = jax.random.split(key, len(layers) + 1)
        choice = jax.random.randint(keys[0], (shape[0],), 0, choices)
        places, others = jnp.broadcast_to(jnp.array([STILL]), (shape[0], 8)), []
        for i, layer in enumerate(layers.values()):
            drawn = layer.draw(keys[i + 1], shape)
            if isinstance(layer, Affine):
                places = jnp.where((choice == i)[:, None], drawn, places)
            else:
                others.append(drawn)
        return choice, places, tuple(others)

    def take_step(self, images: jax.Array, drawn: Any, layers: dict[str, BaseAugmentation]) -> jax.Array:
        """Do to each image what was drawn for it."""
        choice, places, others = drawn
        images = self.move(images, places, self.interpolation)
        changed, rest = images, iter(others)
        for i, layer in enumerate(layers.values()):
            if not isinstance(layer, Affine):
                mine = of_each(choice == i, images)
                changed = jnp.where(mine, layer.change(images, next(rest)), changed)
        return changed

    def move(self, images: jax.Array, places: jax.Array, interpolation: str) -> jax.Array:
        """Read images at their mapped places."""
        return warp(images, places, interpolation, "reflect")


def _steps(key: jax.Array, count: int, draw: Any) -> Any:
    return jax.vmap(draw)(jax.random.split(key, count))


@layer_registry.add
class RandAugment(_Policy):
    """Does ``num_ops`` operations to each image in training, drawn from eleven, as strong as ``factor`` says.

    The operations: shear, translation, rotation, brightness, color degeneration, contrast, sharpness, posterization,
    solarization, auto contrast, equalization.

    Args:
        value_range: The smallest and the largest value of pixels.
        num_ops: How many operations are done, one after the other.
        factor: The ``factor`` of each operation: from 0 to 1.
        interpolation: ``"bilinear"`` or ``"nearest"``.
        seed, data_format: As in ``BaseAugmentation``.

    Source: Cubuk, Zoph, Shlens, Le, "RandAugment" (CVPR workshops 2020).

    Differs from Keras: each image has operations of its own; there all of a batch get the same.
    """

    def __init__(
        self,
        value_range: Any = (0, 255),
        num_ops: int = 2,
        factor: Any = 0.5,
        interpolation: str = "bilinear",
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(value_range, factor, interpolation, seed, data_format, **kwargs)
        self.num_ops = _count(num_ops, "num_ops")
        self.steps = self.operations(colors=True)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        """The draws of each step, along a first axis."""
        return _steps(key, self.num_ops, lambda k: self.draw_step(k, shape, self.steps, len(self.steps)))

    def change(self, images: jax.Array, drawn: Any) -> jax.Array:
        """Step after step."""
        return jax.lax.scan(lambda x, one: (self.take_step(x, one, self.steps), None), images, drawn)[0]

    def change_masks(self, masks: jax.Array, drawn: Any) -> jax.Array:
        """Move masks as the images are moved."""
        return jax.lax.scan(lambda x, places: (self.move(x, places, "nearest"), None), masks, drawn[1])[0]


@layer_registry.add
class AugMix(_Policy):
    """Mixes each image with several chains of operations on it in training.

    ``clip(w x + (1 - w) sum_k m_k chain_k(x))``, m from the Dirichlet distribution, w from the Beta distribution, all
    parameters ``alpha``; each chain is ``chain_depth`` operations, drawn for each image, of which one is to do nothing.

    Args:
        value_range: The smallest and the largest value of pixels.
        num_chains, chain_depth: How many chains, and of how many operations.
        factor: The ``factor`` of each operation: from 0 to 1.
        alpha: Above 0.
        all_ops: Whether brightness, color degeneration, contrast and sharpness are among the operations, unlike in the
            paper.
        interpolation: ``"bilinear"`` or ``"nearest"``.
        seed, data_format: As in ``BaseAugmentation``.

    Source: Hendrycks, Mu, Cubuk, Zoph, Gilmer, Lakshminarayanan, "AugMix" (ICLR 2020).

    Differs from Keras: each image has operations and weights of its own (there a batch shares them, and a compiled
    program keeps the operations for ever); segmentation masks stay as they are (there they are mixed).
    """

    def __init__(
        self,
        value_range: Any = (0, 255),
        num_chains: int = 3,
        chain_depth: int = 3,
        factor: Any = 0.3,
        alpha: float = 1.0,
        all_ops: bool = True,
        interpolation: str = "bilinear",
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(value_range, factor, interpolation, seed, data_format, **kwargs)
        self.num_chains, self.chain_depth = _count(num_chains, "num_chains"), _count(chain_depth, "chain_depth")
        if not isinstance(alpha, (int, float)) or alpha <= 0:
            raise InputError("AugMix was made.", received=f"alpha={alpha!r}", because="it is a number above 0")
        self.alpha, self.all_ops = alpha, all_ops
        self.steps = self.operations(colors=all_ops)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        """(weights of the chains (batch, chains), weight of the image (batch,), draws of each depth)."""
        keys = jax.random.split(key, 3)
        mix = jax.random.dirichlet(keys[0], jnp.full(self.num_chains, self.alpha, "float32"), (shape[0],))
        weight = jax.random.beta(keys[1], self.alpha, self.alpha, (shape[0],), "float32")
        wide = (shape[0] * self.num_chains, *shape[1:])
        choices = len(self.steps) + 1
        steps = _steps(keys[2], self.chain_depth, lambda k: self.draw_step(k, wide, self.steps, choices))
        return mix, weight, steps

    def change(self, images: jax.Array, drawn: Any) -> jax.Array:
        """All chains at once, as one large batch, and their mean."""
        mix, weight, steps = drawn
        wide = jnp.repeat(images, self.num_chains, axis=0)
        wide = jax.lax.scan(lambda x, one: (self.take_step(x, one, self.steps), None), wide, steps)[0]
        chains = wide.reshape(images.shape[0], self.num_chains, *images.shape[1:])
        mean = jnp.einsum("bk,bkhwc->bhwc", mix.astype(images.dtype), chains, precision="highest")
        weight = of_each(weight, images)
        return jnp.clip(weight * images + (1.0 - weight) * mean, *self._limits)


def _count(value: Any, argument: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{argument} was given.", received=repr(value), because="it is a positive integer")
    return value


@layer_registry.add
class Pipeline(DataLayer):
    """Layers for data, one after the other: as a layer of a model, or called on arrays or dictionaries.

    Args:
        layers: The layers, or their configurations.
        name: As in ``Layer``.

    >>> from verax import layers
    >>> Pipeline([layers.Resizing(1, 2), layers.Rescaling(2.0)])(jnp.arange(4.0).reshape(1, 4, 1)).ravel().tolist()
    [1.0, 5.0]
    """

    autocast = False

    def __init__(self, layers: Sequence[Any], name: str | None = None):
        super().__init__(name=name)
        self.layers = cast("list[Layer]", [layer_registry.get(layer) for layer in layers])

    def call(self, data: Any) -> Any:
        """Layer after layer."""
        for layer in self.layers:
            data = layer(data)
        return data
