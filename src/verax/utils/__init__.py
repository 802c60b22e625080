"""Small things around a model: datasets, images, targets, seeds."""

from __future__ import annotations

from verax.frame.names import clear_session
from verax.frame.seeds import set_random_seed
from verax.utils.arrays import normalize, pad_sequences, to_categorical
from verax.utils.directories import image_dataset_from_directory, text_dataset_from_directory
from verax.utils.images import array_to_img, img_to_array, load_img, save_img
from verax.utils.packing import pack_x_y_sample_weight, unpack_x_y_sample_weight
from verax.utils.py_dataset import PyDataset, Sequence
from verax.utils.row_dataset import RowDataset
from verax.utils.windows import split_dataset, timeseries_dataset_from_array

__all__ = [
    "PyDataset",
    "RowDataset",
    "Sequence",
    "array_to_img",
    "clear_session",
    "image_dataset_from_directory",
    "img_to_array",
    "load_img",
    "normalize",
    "pack_x_y_sample_weight",
    "pad_sequences",
    "save_img",
    "set_random_seed",
    "split_dataset",
    "text_dataset_from_directory",
    "timeseries_dataset_from_array",
    "to_categorical",
    "unpack_x_y_sample_weight",
]
