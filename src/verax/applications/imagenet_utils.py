"""What goes into networks trained on ImageNet, and what comes out: pixels made ready, and the names of the classes."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jax.numpy as jnp
import numpy as np

from verax import ops
from verax.errors import InputError, ShapeError, UnknownNameError
from verax.frame.policy import floatx, is_float
from verax.frame.settings import standard_data_format
from verax.utils.files import get_file

__all__ = ["decode_predictions", "preprocess_input"]

#: How many classes ImageNet's networks tell apart.
_COUNT = 1000
_MODES = ("caffe", "tf", "torch")
#: The mean color of ImageNet's training images and its spread: of values to 255 as BGR, and of values to 1 as RGB.
_MEAN_BGR = (103.939, 116.779, 123.68)
MEAN_RGB, SPREAD_RGB = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_CLASSES = "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json"
_CLASSES_HASH = "c2c37ea517e94d9795004a39431a14cb"


def preprocess_input(x: Any, data_format: str | None = None, mode: str = "caffe") -> Any:
    """Pixels from 0 to 255, made ready as the images were on which a network was trained.

    ``"caffe"``: RGB becomes BGR, and the mean color of ImageNet is taken away; ``"tf"``: ``x / 127.5 - 1``, between -1
    and 1; ``"torch"``: ``(x / 255 - mean) / spread``, by the mean and the spread of each channel.

    Args:
        x: One image (height, width, 3) or several (batch, height, width, 3); with ``"channels_first"`` the channels
            stand before the height. A NumPy array, an array of jax, or a symbolic tensor. Integers become floats.
        data_format: ``"channels_last"``, ``"channels_first"``, or None for the global setting.
        mode: ``"caffe"``, ``"tf"`` or ``"torch"``.

    Returns:
        What was passed in the same form: of the same float dtype, ``floatx()`` for integers.

    Raises:
        UnknownNameError: No such mode or data format.
        ShapeError: Not 3 or 4 axes; other than 3 channels in a mode that knows the color of each.

    Differs from Keras: the array passed is left as it is (there, NumPy arrays of floats are written over); integers in
    arrays of jax and symbolic tensors become floats before anything else (there, the mean color wraps around).

    >>> preprocess_input(np.full((1, 1, 3), 255, "uint8"), mode="tf").tolist()
    [[[1.0, 1.0, 1.0]]]
    >>> preprocess_input(jnp.zeros((1, 1, 3)), mode="caffe").round().tolist()
    [[[-104.0, -117.0, -124.0]]]
    """
    if mode not in _MODES:
        raise UnknownNameError.among("mode of preprocess_input", mode, _MODES)
    axis = -3 if standard_data_format(data_format) == "channels_first" else -1
    if not hasattr(x, "shape"):
        x = np.asarray(x)
    _check_image(x, axis, None if mode == "tf" else 3)
    numpy = isinstance(x, (np.ndarray, np.generic))
    if not is_float(x.dtype):
        x = x.astype(floatx()) if numpy else ops.cast(x, floatx())

    def constant(values: Any) -> Any:
        along = [1] * len(x.shape)
        along[axis] = len(values)
        return np.reshape(np.asarray(values, jnp.dtype(x.dtype)), along)

    if mode == "tf":
        return x / 127.5 - 1.0
    if mode == "torch":
        return (x / 255.0 - constant(MEAN_RGB)) / constant(SPREAD_RGB)
    return (np.flip(x, axis) if numpy else ops.flip(x, axis)) - constant(_MEAN_BGR)


def _check_image(x: Any, axis: int, channels: int | None) -> None:
    asked = "preprocess_input makes images ready."
    shape = tuple(x.shape)
    if len(shape) not in (3, 4):
        because = "an image has 3 axes, and a batch of images has 4"
        raise ShapeError(
            asked, received=f"shape {shape}", because=because, do="Add the missing axis: x[None], x[..., None]."
        )
    if channels is not None and shape[axis] != channels:
        raise ShapeError(
            asked,
            received=f"{shape[axis]} channels, in shape {shape}",
            because="the mean color has one number for each of red, green and blue",
            do="Repeat a grey image: np.repeat(x, 3, -1). If the channels stand elsewhere, pass data_format.",
        )


def decode_predictions(preds: Any, top: int = 5) -> list[list[tuple[str, str, Any]]]:
    """The most likely of ImageNet's 1000 classes for each image, by name.

    Args:
        preds: Probabilities (or logits) (batch, 1000).
        top: How many classes, the most likely first.

    Returns:
        For each image a list of (WordNet's identifier, name, score).

    Raises:
        ShapeError: Not (batch, 1000): the model has other classes than ImageNet's.
        DownloadError: The table of names (35 kB, fetched once) could not be fetched; the message says where to put it.

    ::

        >> decode_predictions(model.predict(images), top=1)
        [[('n02504458', 'African_elephant', 0.87)]]
    """
    shape = tuple(preds.shape) if hasattr(preds, "shape") else np.shape(preds)
    if len(shape) != 2 or shape[1] != _COUNT:
        raise ShapeError(
            "decode_predictions names the classes of predictions.",
            received=f"shape {shape}",
            because=f"the names are those of ImageNet's {_COUNT} classes, so predictions are (batch, {_COUNT})",
            do="Pass what a network with include_top=True predicts; add the axis of the batch with preds[None].",
        )
    if isinstance(top, bool) or not isinstance(top, (int, np.integer)) or top < 1:
        raise InputError("decode_predictions(top=...) is a number of classes.", received=repr(top), do="Pass 5.")
    found: list[list[tuple[str, str, Any]]] = []
    names = _class_names()
    for row in ops.convert_to_numpy(preds):
        best = row.argsort()[: -int(top) - 1 : -1]
        # Equal scores keep the order in which they were found.
        found.append(sorted(((*names[i], row[i]) for i in best), key=lambda one: one[2], reverse=True))
    return found


def _class_names() -> list[tuple[str, str]]:
    path = get_file("imagenet_class_index.json", _CLASSES, cache_subdir="models", file_hash=_CLASSES_HASH)
    return _read_class_names(path)


@cache
def _read_class_names(path: str) -> list[tuple[str, str]]:
    with open(path, encoding="utf-8") as file:
        table = json.load(file)
    return [(str(table[str(i)][0]), str(table[str(i)][1])) for i in range(_COUNT)]
