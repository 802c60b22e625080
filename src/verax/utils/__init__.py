"""Small things around a model: datasets in Python code, targets, seeds."""

from __future__ import annotations

from verax.frame.names import clear_session
from verax.frame.seeds import set_random_seed
from verax.utils.arrays import normalize, pad_sequences, to_categorical
from verax.utils.py_dataset import PyDataset, Sequence

__all__ = ["PyDataset", "Sequence", "clear_session", "normalize", "pad_sequences", "set_random_seed", "to_categorical"]
