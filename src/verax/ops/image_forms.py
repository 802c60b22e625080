"""What every operation on images does first: its arguments checked, one image as a batch of one, channels last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from verax.errors import InputError, ShapeError, UnknownNameError
from verax.frame.policy import is_float

__all__ = ["as_batch", "as_floats", "channels_first", "check_choice", "each_of_two", "in_channels_last"]


def channels_first(data_format: str | None) -> bool:
    """Whether the channels stand before height and width; ``"channels_last"`` when None."""
    return check_choice("data_format", data_format or "channels_last", ("channels_last", "channels_first")) != (
        "channels_last"
    )


def check_choice(argument: str, value: str, known: Sequence[str]) -> str:
    """``value``, refused unless it is one of ``known``."""
    if value not in known:
        raise UnknownNameError.among(argument, value, known)
    return value


def each_of_two(value: Any, argument: str) -> tuple[Any, Any]:
    """One value for the height and one for the width, refused unless there are two of them."""
    try:
        height, width = value
    except (TypeError, ValueError):
        raise InputError(
            f"{argument} was given.",
            received=repr(value),
            because="it is a pair: one for the height, one for the width",
        ) from None
    return height, width


def as_batch(images: Any, operation: str) -> jax.Array:
    """``images`` as an array of rank 4: one image is a batch of one."""
    images = jnp.asarray(images)
    if images.ndim not in (3, 4):
        raise ShapeError(
            f"ops.image.{operation} was called.",
            received=f"images of shape {tuple(images.shape)}",
            because="one image has 3 axes, a batch of images 4",
            do="Add the channel axis (images[..., None]), or the batch axis.",
        )
    return images if images.ndim == 4 else images[None]


def in_channels_last(
    images: Any, data_format: str | None, operation: str, function: Callable[[jax.Array], jax.Array]
) -> jax.Array:
    """``function`` of a batch (batch, height, width, channels), of images in any form, its result in that form."""
    images = jnp.asarray(images)
    batch = as_batch(images, operation)
    first = channels_first(data_format)
    result = function(jnp.moveaxis(batch, 1, -1) if first else batch)
    if first:  # the channels stand on the fourth axis, whatever follows them
        result = jnp.moveaxis(result, 3, 1)
    return result if images.ndim == 4 else result[0]


def as_floats(images: jax.Array) -> jax.Array:
    """``images`` as floats: integers become float32."""
    return images if is_float(images.dtype) else images.astype("float32")
