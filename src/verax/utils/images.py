"""Images as files, as Pillow's images and as arrays."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from verax.errors import InputError, MissingExtraError, ShapeError, UnknownNameError

__all__ = ["array_to_img", "img_to_array", "load_img", "save_img"]

#: color_mode -> (number of channels, Pillow's mode, Pillow's modes that are kept)
COLORS = {
    "grayscale": (1, "L", ("L", "I;16", "I")),
    "rgb": (3, "RGB", ("RGB",)),
    "rgba": (4, "RGBA", ("RGBA",)),
}
_RESAMPLING = ("nearest", "bilinear", "bicubic", "hamming", "box", "lanczos")


def pillow(asked: str) -> Any:
    """Pillow's module of images."""
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtraError.of("pillow", extra="images", asked=asked) from None
    return Image


def _format(data_format: str | None) -> str:
    value = data_format or "channels_last"
    if value not in ("channels_last", "channels_first"):
        raise UnknownNameError.among("data_format", value, ["channels_last", "channels_first"])
    return value


def array_to_img(x: Any, data_format: str | None = None, scale: bool = True, dtype: Any = None) -> Any:
    """An array as an image of Pillow.

    Args:
        x: (height, width, channels), of 1, 3 or 4 channels.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
        scale: Whether the values are stretched to 0 to 255; otherwise they are cut to whole numbers.
        dtype: In which the values are scaled; float32.

    A grayscale image with a value above 255 is of 32-bit integers.

    >>> array_to_img(np.ones((2, 5, 3))).size
    (5, 2)
    """
    asked = "array_to_img makes an image of an array."
    module = pillow(asked)
    array = np.asarray(x, dtype or np.float32)
    if array.ndim != 3:
        because = "an image has height, width and channels"
        raise ShapeError(asked, received=f"shape {array.shape}", because=because, do="Pass one image.")
    if _format(data_format) == "channels_first":
        array = array.transpose(1, 2, 0)
    if scale:
        array = array - array.min()
        highest = array.max()
        array = (array / highest if highest != 0 else array) * 255
    channels = array.shape[2]
    if channels not in (1, 3, 4):
        because = "an image has 1, 3 or 4 channels"
        raise ShapeError(asked, received=f"{channels} channels", because=because, do="Is it channels_first?")
    if channels > 1:
        return module.fromarray(array.astype(np.uint8))
    return module.fromarray(array[:, :, 0].astype(np.int32 if array.max() > 255 else np.uint8))


def img_to_array(img: Any, data_format: str | None = None, dtype: Any = None) -> np.ndarray[Any, Any]:
    """An image of Pillow as an array (height, width, channels).

    Args:
        img: The image.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
        dtype: Of the array; float32.

    >>> img_to_array(array_to_img(np.ones((2, 5, 1)))).shape
    (2, 5, 1)
    """
    first = _format(data_format) == "channels_first"
    array = np.asarray(img, dtype or np.float32)
    if array.ndim not in (2, 3):
        because = "an image has two axes, or three with channels"
        raise ShapeError("img_to_array reads an image.", received=f"shape {array.shape}", because=because)
    array = array[:, :, None] if array.ndim == 2 else array
    return array.transpose(2, 0, 1) if first else array


def save_img(
    path: Any, x: Any, data_format: str | None = None, file_format: str | None = None, scale: bool = True, **kwargs: Any
) -> None:
    """Write an array as an image file.

    Args:
        path: A path or a file object.
        x: (height, width, channels).
        data_format, scale: As in ``array_to_img``.
        file_format: ``"png"``, ``"jpeg"`` ...; by the path's ending when None.
        kwargs: For Pillow's ``save``.

    Differs from Keras: what JPEG cannot hold, an opacity, is refused.
    """
    if file_format is None and isinstance(path, (str, Path)):
        file_format = Path(path).suffix[1:]
    file_format = "jpeg" if (file_format or "").lower() == "jpg" else (file_format or "").lower() or None
    image = array_to_img(x, data_format=data_format, scale=scale)
    if image.mode == "RGBA" and file_format == "jpeg":
        raise InputError(
            "save_img writes an image file.",
            received="4 channels and the format JPEG",
            because="JPEG holds no opacity",
            do="Write PNG, or pass three channels: x[..., :3].",
        )
    image.save(path, format=file_format, **kwargs)


def load_img(
    path: Any,
    color_mode: str = "rgb",
    target_size: tuple[int, int] | None = None,
    interpolation: str = "nearest",
    keep_aspect_ratio: bool = False,
) -> Any:
    """Read an image file as an image of Pillow.

    Args:
        path: A path, or a file object of bytes.
        color_mode: ``"rgb"``, ``"rgba"`` or ``"grayscale"`` (16 and 32 bits are kept).
        target_size: Height and width; the file's when None.
        interpolation: ``"nearest"``, ``"bilinear"``, ``"bicubic"``, ``"lanczos"``, ``"box"`` or ``"hamming"``.
        keep_aspect_ratio: Whether to resize the middle of the image that has the ratio of ``target_size``.
    """
    module = pillow("load_img reads an image file.")
    image = in_color(module.open(path if hasattr(path, "read") else io.BytesIO(Path(path).read_bytes())), color_mode)
    if target_size is None or image.size == (target_size[1], target_size[0]):
        return image
    if interpolation not in _RESAMPLING:
        raise UnknownNameError.among("interpolation of load_img", interpolation, _RESAMPLING)
    (high, wide), (width, height) = target_size, image.size
    box = None
    if keep_aspect_ratio:
        part_high, part_wide = min(height, width * high // wide), min(width, height * wide // high)
        top, left = (height - part_high) // 2, (width - part_wide) // 2
        box = (left, top, left + part_wide, top + part_high)
    return image.resize((wide, high), getattr(module.Resampling, interpolation.upper()), box=box)


def in_color(image: Any, color_mode: str) -> Any:
    """An image of Pillow in a color mode."""
    if color_mode not in COLORS:
        raise UnknownNameError.among("color_mode", color_mode, COLORS)
    _, mode, kept = COLORS[color_mode]
    return image if image.mode in kept else image.convert(mode)
