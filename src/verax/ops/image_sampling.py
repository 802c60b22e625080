"""Images read at other places: bilinear or nearest, with rules for what lies outside."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from verax.errors import InputError, ShapeError
from verax.frame.policy import is_float
from verax.frame.seeds import next_key
from verax.ops.image_filters import gaussian, smooth
from verax.ops.image_forms import as_floats, check_choice, in_channels_last

__all__ = [
    "FILL_MODES",
    "INTERPOLATIONS",
    "affine_transform",
    "displacements",
    "elastic_transform",
    "homography",
    "map_coordinates",
    "perspective_transform",
    "sample",
    "warp",
    "warp_along_axes",
]

INTERPOLATIONS = ("nearest", "bilinear")
FILL_MODES = ("constant", "nearest", "wrap", "mirror", "reflect")

#: One axis of a sampling: for each tap (index inside the image, weight, whether it was inside).
Taps = list[tuple[jax.Array, jax.Array, jax.Array | None]]


def _inside(index: jax.Array, size: int, fill_mode: str) -> jax.Array:
    """An index of the extended axis, as an index of the axis."""
    if fill_mode == "wrap":
        return index % size
    if fill_mode == "reflect":  # d c b a | a b c d | d c b a
        index = index % (2 * size)
        return jnp.minimum(index, 2 * size - 1 - index)
    if fill_mode == "mirror" and size > 1:  # d c b | a b c d | c b a
        index = index % (2 * size - 2)
        return jnp.minimum(index, 2 * size - 2 - index)
    return jnp.clip(index, 0, size - 1)


def _taps(place: jax.Array, size: int, interpolation: str, fill_mode: str) -> Taps:
    def tap(index: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array | None]:
        valid = (index >= 0) & (index < size) if fill_mode == "constant" else None
        return _inside(index, size, fill_mode), weight, valid

    if interpolation == "nearest":
        return [tap(lax.round(place).astype("int32"), jnp.ones_like(place))]
    low = jnp.floor(place)
    index, weight = low.astype("int32"), place - low
    return [tap(index, 1.0 - weight), tap(index + 1, weight)]


def _as_given(values: jax.Array, dtype: Any) -> jax.Array:
    return values if values.dtype == dtype else lax.round(values).astype(dtype)


def sample(
    images: jax.Array,
    y: jax.Array,
    x: jax.Array,
    interpolation: str = "bilinear",
    fill_mode: str = "constant",
    fill_value: float = 0.0,
) -> jax.Array:
    """Images at the places (y, x) of each: the value there, or the mean of the four pixels around, by nearness.

    Args:
        images: (batch, height, width, channels).
        y, x: Rows and columns, floats, (batch, rows, columns).
        interpolation: One of ``INTERPOLATIONS``.
        fill_mode: One of ``FILL_MODES``: how the image goes on outside.
        fill_value: The value outside where ``fill_mode="constant"``.

    Returns:
        (batch, rows, columns, channels), in the dtype of the images; integers are rounded.
    """
    batch, height, width, channels = images.shape
    pixels = as_floats(images).reshape(batch, height * width, channels)
    read = jax.vmap(lambda image, places: image.at[places].get(mode="promise_in_bounds"))
    total = jnp.zeros((*y.shape, channels), pixels.dtype)
    for row, weight_y, inside_y in _taps(y, height, interpolation, fill_mode):
        for column, weight_x, inside_x in _taps(x, width, interpolation, fill_mode):
            value = read(pixels, row * width + column)
            if inside_y is not None and inside_x is not None:
                value = jnp.where((inside_y & inside_x)[..., None], value, jnp.asarray(fill_value, value.dtype))
            total = total + (weight_y * weight_x)[..., None].astype(value.dtype) * value
    return _as_given(total, images.dtype)


def _grid(height: int, width: int) -> tuple[jax.Array, jax.Array]:
    y = jnp.arange(height, dtype="float32")[None, :, None]
    x = jnp.arange(width, dtype="float32")[None, None, :]
    return jnp.broadcast_to(y, (1, height, width)), jnp.broadcast_to(x, (1, height, width))


def warp(
    images: jax.Array, transform: jax.Array, interpolation: str, fill_mode: str, fill_value: float = 0.0
) -> jax.Array:
    """Each image read at ``((a0 x + a1 y + a2) / k, (b0 x + b1 y + b2) / k)``, ``k = c0 x + c1 y + 1``.

    Args:
        images: (batch, height, width, channels).
        transform: ``[a0, a1, a2, b0, b1, b2, c0, c1]`` of each image, (batch, 8), or (1, 8) for all.
        interpolation, fill_mode, fill_value: As in ``sample``.
    """
    batch, height, width, _ = images.shape
    y, x = _grid(height, width)
    a0, a1, a2, b0, b1, b2, c0, c1 = transform.astype("float32").T[:, :, None, None]
    k = c0 * x + c1 * y + 1.0
    shape = (batch, height, width)
    rows = jnp.broadcast_to((b0 * x + b1 * y + b2) / k, shape)
    columns = jnp.broadcast_to((a0 * x + a1 * y + a2) / k, shape)
    return sample(images, rows, columns, interpolation, fill_mode, fill_value)


def warp_along_axes(
    images: jax.Array, transform: jax.Array, interpolation: str, fill_mode: str, fill_value: float = 0.0
) -> jax.Array:
    """``warp`` where rows stay rows and columns columns (only a0, a2, b1 and b2 are read): one axis after the other.

    Whole rows are read at once, so it costs a fraction of the general case.
    """
    _, height, width, _ = images.shape
    a0, _, a2, _, b1, b2, _, _ = transform.astype("float32").T[:, :, None]
    y = jnp.arange(height, dtype="float32")[None, :]
    x = jnp.arange(width, dtype="float32")[None, :]
    values = as_floats(images)
    covered: jax.Array | None = None
    for axis, place, size in ((1, b1 * y + b2, height), (2, a0 * x + a2, width)):
        place = jnp.broadcast_to(place, (images.shape[0], size))
        values, inside = _along(values, axis, _taps(place, size, interpolation, fill_mode))
        if inside is not None:
            covered = inside if covered is None else covered * inside
    if covered is not None:
        values = values + (1.0 - covered) * jnp.asarray(fill_value, values.dtype)
    return _as_given(values, images.dtype)


def _along(values: jax.Array, axis: int, taps: Taps) -> tuple[jax.Array, jax.Array | None]:
    """The weighted taps along one axis, and the weight that lay inside, as arrays of rank 4."""
    shape = [values.shape[0], 1, 1, 1]
    shape[axis] = -1
    total, covered = jnp.zeros((), values.dtype), None
    for index, weight, inside in taps:
        weight = weight.astype(values.dtype)
        if inside is not None:
            weight = jnp.where(inside, weight, jnp.zeros_like(weight))
            covered = weight.reshape(shape) if covered is None else covered + weight.reshape(shape)
        read = jnp.take_along_axis(values, index.reshape(shape), axis, mode="promise_in_bounds")
        total = total + weight.reshape(shape) * read
    return total, covered


def homography(start_points: Any, end_points: Any) -> jax.Array:
    """The ``[a0 .. c1]`` of ``warp`` that shows at each end point what stands at its start point.

    Args:
        start_points, end_points: Four points (x, y) each: (batch, 4, 2).

    Returns:
        (batch, 8): the solution of eight linear equations.
    """
    start, end = jnp.asarray(start_points, "float32"), jnp.asarray(end_points, "float32")
    x, y = end[..., 0], end[..., 1]
    zero, one = jnp.zeros_like(x), jnp.ones_like(x)
    u, v = start[..., 0], start[..., 1]
    rows = jnp.concatenate(
        [
            jnp.stack([x, y, one, zero, zero, zero, -u * x, -u * y], -1),
            jnp.stack([zero, zero, zero, x, y, one, -v * x, -v * y], -1),
        ],
        axis=1,
    )
    return jnp.linalg.solve(rows, jnp.concatenate([u, v], -1)[..., None])[..., 0]


def affine_transform(
    images: Any,
    transform: Any,
    interpolation: str = "bilinear",
    fill_mode: str = "constant",
    fill_value: float = 0,
    data_format: str | None = None,
) -> jax.Array:
    """Images moved, turned, scaled or sheared: each output pixel (x, y) shows the input at

    ``((a0 x + a1 y + a2) / k, (b0 x + b1 y + b2) / k)``, ``k = c0 x + c1 y + 1``.

    Args:
        images: (batch, height, width, channels) or (height, width, channels); channels first with ``data_format``.
        transform: ``[a0, a1, a2, b0, b1, b2, c0, c1]``: (8,) for all images or (batch, 8).
        interpolation: ``"bilinear"`` or ``"nearest"``.
        fill_mode: Outside: ``"constant"`` (``fill_value``), ``"nearest"`` (a a | a b c | c c), ``"wrap"``
            (b c | a b c | a b), ``"mirror"`` (c b | a b c | b a) or ``"reflect"`` (b a | a b c | c b).
        fill_value: For ``"constant"``.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.

    Returns:
        Images of the same shape and dtype.

    Differs from Keras: c0 and c1 count, as its documentation says; on its jax backend they multiply the channel.

    >>> image = jnp.arange(4.0).reshape(1, 4, 1)
    >>> affine_transform(image, jnp.array([1.0, 0, 1, 0, 1, 0, 0, 0]))[0, :, 0].tolist()
    [1.0, 2.0, 3.0, 0.0]
    """
    check_choice("interpolation", interpolation, INTERPOLATIONS)
    check_choice("fill_mode", fill_mode, FILL_MODES)
    transform = jnp.asarray(transform)
    if transform.ndim not in (1, 2) or transform.shape[-1] != 8:
        raise ShapeError(
            "ops.image.affine_transform was called.",
            received=f"a transform of shape {tuple(transform.shape)}",
            because="it is eight numbers: (8,) for all images, or (batch, 8)",
        )
    matrix = transform.reshape(-1, 8)
    return in_channels_last(
        images, data_format, "affine_transform", lambda x: warp(x, matrix, interpolation, fill_mode, fill_value)
    )


def perspective_transform(
    images: Any,
    start_points: Any,
    end_points: Any,
    interpolation: str = "bilinear",
    fill_value: float = 0,
    data_format: str | None = None,
) -> jax.Array:
    """Images as seen from elsewhere: what stands at each start point is shown at its end point.

    Args:
        images: (batch, height, width, channels) or (height, width, channels); channels first with ``data_format``.
        start_points, end_points: Four points (x, y): (4, 2) for all images, or (batch, 4, 2).
        interpolation: ``"bilinear"`` or ``"nearest"``.
        fill_value: The value outside.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.

    Returns:
        Images of the same shape and dtype.
    """
    check_choice("interpolation", interpolation, INTERPOLATIONS)
    start, end = jnp.asarray(start_points), jnp.asarray(end_points)
    for name, points in (("start_points", start), ("end_points", end)):
        if points.shape != start.shape or points.ndim not in (2, 3) or points.shape[-2:] != (4, 2):
            raise ShapeError(
                "ops.image.perspective_transform was called.",
                received=f"{name} of shape {tuple(points.shape)}",
                because="four points (x, y) are (4, 2), or (batch, 4, 2), the same for start_points and end_points",
            )
    transform = homography(start.reshape(-1, 4, 2), end.reshape(-1, 4, 2))
    return in_channels_last(
        images,
        data_format,
        "perspective_transform",
        lambda x: warp(x, transform, interpolation, "constant", fill_value),
    )


def map_coordinates(
    inputs: Any, coordinates: Any, order: int, fill_mode: str = "constant", fill_value: float = 0.0
) -> jax.Array:
    """An array of any rank, read at coordinates: ``inputs[coordinates[0], coordinates[1], ...]`` in between, too.

    Args:
        inputs: An array of rank n.
        coordinates: (n, ...): the place of each output element, in elements of ``inputs``.
        order: 0 for the nearest element, 1 for linear interpolation.
        fill_mode, fill_value: As in ``affine_transform``.

    Returns:
        An array of shape ``coordinates.shape[1:]`` and the dtype of ``inputs``.

    >>> map_coordinates(jnp.array([0.0, 10.0]), jnp.array([[0.25, 0.5]]), 1).tolist()
    [2.5, 5.0]
    """
    inputs, coordinates = jnp.asarray(inputs), jnp.asarray(coordinates)
    check_choice("fill_mode", fill_mode, FILL_MODES)
    if order not in (0, 1):
        because = "0 is the nearest element, 1 linear interpolation"
        raise InputError("ops.image.map_coordinates was called.", received=f"order={order!r}", because=because)
    if coordinates.ndim < 2 or coordinates.shape[0] != inputs.ndim:
        raise ShapeError(
            "ops.image.map_coordinates was called.",
            received=f"coordinates of shape {tuple(coordinates.shape)} for inputs of shape {tuple(inputs.shape)}",
            because="the first axis of coordinates has one entry for each axis of inputs, and others follow",
        )
    interpolation = INTERPOLATIONS[order]
    places = [c if is_float(c.dtype) else c.astype("float32") for c in coordinates]
    values = as_floats(inputs)
    return _as_given(_at(values, places, interpolation, fill_mode, fill_value), inputs.dtype)


def _at(values: jax.Array, places: list[jax.Array], interpolation: str, fill_mode: str, fill_value: float) -> jax.Array:
    corners: list[tuple[list[jax.Array], jax.Array, jax.Array | None]] = [([], jnp.ones((), values.dtype), None)]
    for place, size in zip(places, values.shape, strict=True):
        corners = [
            ([*at, index], by * weight.astype(values.dtype), _both(valid, inside))
            for at, by, valid in corners
            for index, weight, inside in _taps(place, size, interpolation, fill_mode)
        ]
    total = jnp.zeros((), values.dtype)
    for at, by, valid in corners:
        value = values[tuple(at)]
        if valid is not None:
            value = jnp.where(valid, value, jnp.asarray(fill_value, value.dtype))
        total = total + by * value
    return total


def _both(one: jax.Array | None, other: jax.Array | None) -> jax.Array | None:
    return other if one is None or other is None else one & other


def displacements(
    key: jax.Array, shape: tuple[int, int, int], alpha: jax.Array, sigma: jax.Array, reach: int
) -> tuple[jax.Array, jax.Array]:
    """Smooth random fields (dy, dx), each (batch, height, width): ``alpha * blur(sigma * n, sigma)``, n normal noise.

    Args:
        key: For the draws.
        shape: (batch, height, width).
        alpha, sigma: Strength and width of each image's field, (batch,).
        reach: How many pixels the blur's kernel extends to each side.
    """
    noise = jax.random.normal(key, (2 * shape[0], *shape[1:], 1)) * jnp.tile(sigma, 2)[:, None, None, None]
    kernel = gaussian(2 * reach + 1, jnp.tile(jnp.maximum(sigma, 1e-6), 2))
    fields = smooth(smooth(noise, kernel, 1), kernel, 2)[..., 0] * jnp.tile(alpha, 2)[:, None, None]
    return fields[: shape[0]], fields[shape[0] :]


def elastic_transform(
    images: Any,
    alpha: float = 20.0,
    sigma: float = 5.0,
    interpolation: str = "bilinear",
    fill_mode: str = "reflect",
    fill_value: float = 0.0,
    seed: Any = None,
    data_format: str | None = None,
) -> jax.Array:
    """Images moved by smooth random fields: ``images[y + dy, x + dx]``, each field ``alpha * blur(sigma * n, sigma)``.

    n is standard normal noise, and the blur's kernel extends over 3 sigma to each side.

    Args:
        images: (batch, height, width, channels) or (height, width, channels); channels first with ``data_format``.
        alpha: Strength, in pixels.
        sigma: Smoothness: the blur's standard deviation in pixels.
        interpolation, fill_mode, fill_value: As in ``affine_transform``.
        seed: An int or a key of jax; the global source when None.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.

    Returns:
        Images of the same shape and dtype.

    Source: Simard, Steinkraus, Platt, "Best practices for convolutional neural networks" (ICDAR 2003).

    Differs from Keras: dy and dx are independent; there they are the same field.
    """
    check_choice("interpolation", interpolation, INTERPOLATIONS)
    check_choice("fill_mode", fill_mode, FILL_MODES)
    if seed is None:
        key = next_key()
    else:
        key = jax.random.key(seed) if isinstance(seed, int) else jnp.asarray(seed)

    def move(x: jax.Array) -> jax.Array:
        size = jnp.ones(x.shape[0], "float32")
        dy, dx = displacements(
            key, (x.shape[0], x.shape[1], x.shape[2]), size * alpha, size * sigma, int(6 * sigma) // 2
        )
        y, columns = _grid(*x.shape[1:3])
        return sample(x, y + dy, columns + dx, interpolation, fill_mode, fill_value)

    return in_channels_last(images, data_format, "elastic_transform", move)
