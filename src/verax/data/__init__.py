"""Anything to batches: ``make_source`` and ``split``, and the ``Source``, ``Feed`` and ``Chunk`` they lead to."""

from __future__ import annotations

from verax.data.arrays import ArraySource
from verax.data.make import make_source
from verax.data.source import Batch, Chunk, Feed, Source
from verax.data.split import split
from verax.data.streams import IterableSource, SequenceSource, unpack
from verax.data.values import rows_of
from verax.data.weights import class_weights_of

__all__ = [
    "ArraySource",
    "Batch",
    "Chunk",
    "Feed",
    "IterableSource",
    "SequenceSource",
    "Source",
    "class_weights_of",
    "make_source",
    "rows_of",
    "split",
    "unpack",
]
