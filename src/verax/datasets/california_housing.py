"""California housing: 20,640 districts of the census of 1990."""

from __future__ import annotations

from verax.datasets.sources import Arrays, fetched, read_npz, split
from verax.errors import UnknownNameError

__all__ = ["load_data"]

_SMALL = 600


def load_data(
    version: str = "large", path: str = "california_housing.npz", test_split: float = 0.2, seed: int = 113
) -> tuple[Arrays, Arrays]:
    """8 numbers for each district and the median value of its homes, as ``(x_train, y_train), (x_test, y_test)``.

    Args:
        version: ``"large"``: all districts; ``"small"``: the first 600.
        path: The name of the file in the cache.
        test_split: The part of the rows that is for testing.
        seed: Of the order in which the rows are put before.

    Returns:
        ``x``: float32 ``(districts, 8)``: median income, age of the houses, rooms and bedrooms a household,
        population, people a household, latitude, longitude. ``y``: float32 ``(districts,)``, in dollars.

    Raises:
        UnknownNameError: For another version.
        DownloadError: The file is not in the cache, and cannot be fetched.

    Source: R. K. Pace and R. Barry, 1997, doi 10.1016/S0167-7152(96)00140-X, from StatLib.
    """
    if version not in ("large", "small"):
        raise UnknownNameError.among("version", version, ["large", "small"])
    file_hash = "1a2e3a52e0398de6463aebe6f4a8da34fb21fbb6b934cf88c3425e766f2a1a6f"
    held = read_npz(fetched(path, "california_housing.npz", file_hash))
    end = _SMALL if version == "small" else None
    return split(held["x"][:end], held["y"][:end], test_split, seed)
