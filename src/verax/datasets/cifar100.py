"""CIFAR-100: 60,000 small colour photographs of a hundred things in twenty groups."""

from __future__ import annotations

from pathlib import Path

from verax.datasets.sources import Arrays, batch_file
from verax.errors import UnknownNameError
from verax.utils.files import get_file

__all__ = ["load_data"]


def load_data(label_mode: str = "fine") -> tuple[Arrays, Arrays]:
    """50,000 photographs to train on and 10,000 to test on, as ``(x_train, y_train), (x_test, y_test)``.

    Args:
        label_mode: ``"fine"``: the hundred classes; ``"coarse"``: the twenty groups.

    Returns:
        ``x``: uint8 ``(images, 32, 32, 3)``. ``y``: int64 ``(images, 1)``.

    Raises:
        UnknownNameError: For another mode.
        DownloadError: The archive is not in the cache, and cannot be fetched.

    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009,
    https://www.cs.toronto.edu/~kriz/cifar.html.
    """
    if label_mode not in ("fine", "coarse"):
        raise UnknownNameError.among("label_mode", label_mode, ["fine", "coarse"])
    folder = get_file(
        "cifar-100-python-target",
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        extract=True,
        file_hash="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    )
    files = Path(folder) / "cifar-100-python"
    return batch_file(files / "train", f"{label_mode}_labels"), batch_file(files / "test", f"{label_mode}_labels")
