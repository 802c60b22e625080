"""MNIST: 70,000 handwritten digits, 28 x 28."""

from __future__ import annotations

from verax.datasets.sources import Arrays, fetched, read_npz

__all__ = ["load_data"]


def load_data(path: str = "mnist.npz") -> tuple[Arrays, Arrays]:
    """60,000 digits to train on and 10,000 to test on, as ``(x_train, y_train), (x_test, y_test)``.

    Args:
        path: The name of the file in the cache (``$VERAX_HOME/datasets`` or ``~/.verax/datasets``).

    Returns:
        ``x``: uint8 ``(images, 28, 28)``, 0 (paper) to 255 (ink). ``y``: uint8 ``(images,)``, the digit.

    Raises:
        DownloadError: The file is not in the cache, and cannot be fetched.

    Source: Y. LeCun, C. Cortes and C. Burges, http://yann.lecun.com/exdb/mnist (CC BY-SA 3.0), as the Keras project
    keeps it.
    """
    file_hash = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
    held = read_npz(fetched(path, "mnist.npz", file_hash))
    return (held["x_train"], held["y_train"]), (held["x_test"], held["y_test"])
