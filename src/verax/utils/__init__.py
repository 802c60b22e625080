"""Small things around a model: datasets in Python code, targets, seeds, files, pictures, names of own objects."""

from __future__ import annotations

from verax.frame.interactive import (
    disable_interactive_logging,
    enable_interactive_logging,
    is_interactive_logging_enabled,
)
from verax.frame.names import clear_session
from verax.frame.seeds import set_random_seed
from verax.saving import (
    CustomObjectScope,
    custom_object_scope,
    deserialize_keras_object,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
    serialize_keras_object,
)
from verax.utils.arrays import normalize, pad_sequences, to_categorical
from verax.utils.config_dict import Config
from verax.utils.directories import image_dataset_from_directory, text_dataset_from_directory
from verax.utils.files import get_file
from verax.utils.images import array_to_img, img_to_array, load_img, save_img
from verax.utils.packing import pack_x_y_sample_weight, unpack_x_y_sample_weight
from verax.utils.plotting import model_to_dot, plot_model
from verax.utils.progbar import Progbar
from verax.utils.py_dataset import PyDataset, Sequence
from verax.utils.row_dataset import RowDataset
from verax.utils.tensors import (
    get_source_inputs,
    is_keras_tensor,
    standardize_dtype,
)
from verax.utils.windows import split_dataset, timeseries_dataset_from_array

__all__ = [
    "Config",
    "CustomObjectScope",
    "Progbar",
    "PyDataset",
    "RowDataset",
    "Sequence",
    "array_to_img",
    "clear_session",
    "custom_object_scope",
    "deserialize_keras_object",
    "disable_interactive_logging",
    "enable_interactive_logging",
    "get_custom_objects",
    "get_file",
    "get_registered_name",
    "get_registered_object",
    "get_source_inputs",
    "image_dataset_from_directory",
    "img_to_array",
    "is_interactive_logging_enabled",
    "is_keras_tensor",
    "load_img",
    "model_to_dot",
    "normalize",
    "pack_x_y_sample_weight",
    "pad_sequences",
    "plot_model",
    "register_keras_serializable",
    "save_img",
    "serialize_keras_object",
    "set_random_seed",
    "split_dataset",
    "standardize_dtype",
    "text_dataset_from_directory",
    "timeseries_dataset_from_array",
    "to_categorical",
    "unpack_x_y_sample_weight",
]
