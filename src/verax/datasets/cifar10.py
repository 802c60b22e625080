"""CIFAR-10: 60,000 small colour photographs of ten things."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from verax.datasets.sources import Arrays, batch_file
from verax.utils.files import get_file

__all__ = ["load_data"]


def load_data() -> tuple[Arrays, Arrays]:
    """50,000 photographs to train on and 10,000 to test on, as ``(x_train, y_train), (x_test, y_test)``.

    Returns:
        ``x``: uint8 ``(images, 32, 32, 3)``. ``y``: uint8 ``(images, 1)``: 0 airplane, 1 automobile, 2 bird, 3 cat, 4
        deer, 5 dog, 6 frog, 7 horse, 8 ship, 9 truck.

    Raises:
        DownloadError: The archive is not in the cache, and cannot be fetched.

    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009,
    https://www.cs.toronto.edu/~kriz/cifar.html.
    """
    folder = get_file(
        "cifar-10-batches-py-target",
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        extract=True,
        file_hash="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    )
    files = Path(folder) / "cifar-10-batches-py"
    parts = [batch_file(files / f"data_batch_{i}", "labels") for i in range(1, 6)]
    x_train, y_train = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    x_test, y_test = batch_file(files / "test_batch", "labels")
    return (x_train, y_train.astype(np.uint8)), (x_test, y_test.astype(np.uint8))
