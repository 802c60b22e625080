"""PyDataset: the base class people subclass."""

from __future__ import annotations

import itertools

import pytest

from verax.utils import PyDataset, Sequence


class Three(PyDataset):
    def __init__(self):  # without super().__init__(), as many do
        self.n = 3

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        return index


class Endless(PyDataset):
    num_batches = None

    def __getitem__(self, index):
        return index


def test_batches_are_counted_and_iterated():
    assert Three().num_batches == 3
    assert list(Three()) == [0, 1, 2]
    assert (Three().workers, Three().max_queue_size) == (1, 10)
    assert list(itertools.islice(Endless(), 4)) == [0, 1, 2, 3]
    assert Sequence is PyDataset


def test_what_is_missing_is_named():
    with pytest.raises(NotImplementedError, match="__len__"):
        PyDataset().num_batches
    with pytest.raises(NotImplementedError, match="__getitem__"):
        PyDataset()[0]


def test_what_would_be_ignored_is_not_there():
    with pytest.raises(TypeError, match="use_multiprocessing"):
        PyDataset(use_multiprocessing=True)
