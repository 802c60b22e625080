"""Boston housing: 506 districts, known today as an example of what should not be in a dataset."""

from __future__ import annotations

from verax.datasets.sources import Arrays, fetched, read_npz, split

__all__ = ["load_data"]


def load_data(path: str = "boston_housing.npz", test_split: float = 0.2, seed: int = 113) -> tuple[Arrays, Arrays]:
    """13 numbers for each district and the median value of its homes, as ``(x_train, y_train), (x_test, y_test)``.

    One of the numbers was made to measure how Black a district is, on the assumption that this moves prices. Use
    ``california_housing`` unless this is what you write about.

    Args:
        path: The name of the file in the cache.
        test_split: The part of the rows that is for testing.
        seed: Of the order in which the rows are put before.

    Returns:
        ``x``: float64 ``(districts, 13)``. ``y``: float64 ``(districts,)``, in thousands of dollars.

    Raises:
        DownloadError: The file is not in the cache, and cannot be fetched.

    Source: D. Harrison and D. Rubinfeld, 1978, doi 10.1016/0095-0696(78)90006-2, from StatLib.
    """
    file_hash = "f553886a1f8d56431e820c5b82552d9d95cfcb96d1e678153f8839538947dff5"
    held = read_npz(fetched(path, "boston_housing.npz", file_hash))
    return split(held["x"], held["y"], test_split, seed)
