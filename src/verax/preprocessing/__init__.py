"""Data before a model, by Keras' module name."""

from __future__ import annotations

from verax.preprocessing import image, sequence
from verax.utils.directories import image_dataset_from_directory, text_dataset_from_directory
from verax.utils.windows import timeseries_dataset_from_array

__all__ = [
    "image",
    "image_dataset_from_directory",
    "sequence",
    "text_dataset_from_directory",
    "timeseries_dataset_from_array",
]
