"""Fashion-MNIST: 70,000 pictures of clothes, 28 x 28, in the place of MNIST's digits."""

from __future__ import annotations

import gzip

import numpy as np

from verax.datasets.sources import Arrays, fetched
from verax.errors import DataError

__all__ = ["load_data"]


def load_data() -> tuple[Arrays, Arrays]:
    """60,000 pictures to train on and 10,000 to test on, as ``(x_train, y_train), (x_test, y_test)``.

    Returns:
        ``x``: uint8 ``(images, 28, 28)``. ``y``: uint8 ``(images,)``: 0 T-shirt, 1 trouser, 2 pullover, 3 dress, 4
        coat, 5 sandal, 6 shirt, 7 sneaker, 8 bag, 9 ankle boot.

    Raises:
        DownloadError: The files are not in the cache, and cannot be fetched.

    Source: H. Xiao, K. Rasul and R. Vollgraf, 2017, https://arxiv.org/abs/1708.07747 (MIT).
    """
    return _part("train"), _part("t10k")


def _part(name: str) -> Arrays:
    labels = _numbers(f"{name}-labels-idx1-ubyte.gz")
    return _numbers(f"{name}-images-idx3-ubyte.gz"), labels


def _numbers(name: str) -> np.ndarray:
    """An array in the IDX form: two zeros, the type, the number of axes, their sizes, the bytes."""
    path = fetched(name, name, None, "datasets/fashion-mnist")
    try:
        with gzip.open(path, "rb") as file:
            held = file.read()
        axes = held[3]
        shape = np.frombuffer(held, ">i4", count=axes, offset=4)
        return np.frombuffer(held, np.uint8, offset=4 + 4 * axes).reshape(shape).copy()
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise DataError(
            f"{path} was read.", because=str(error), do="Delete it, and let it be fetched again."
        ) from error
