"""Data loaders as a watched loop uses them: which one runs, how many rows it has, and its rows again."""

from __future__ import annotations

import contextlib
import copy
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, IterableDataset, SequentialSampler
from torch.utils.data.dataloader import _BaseDataLoaderIter

from verax.torch.leaves import leaves
from verax.torch.tape import Recording

__all__ = ["Loaded", "heard", "part_of", "read_again", "rows_of", "whole"]

_LISTENERS: list[Any] = []
_ITER, _NEXT = DataLoader.__iter__, _BaseDataLoaderIter.__next__


@contextlib.contextmanager
def heard(listener: Any) -> Iterator[None]:
    """Within it a listener is told of every data loader that begins to give its batches, and hears nothing of how a
    batch is made.

    Args:
        listener: Has ``iterates(loader)``, ``gives(batch)`` and ``deaf()``.
    """

    def begin(self: Any) -> Any:
        for each in list(_LISTENERS):
            each.iterates(self)
        return _ITER(self)

    def following(self: Any) -> Any:
        with contextlib.ExitStack() as stack:
            for each in _LISTENERS:
                stack.enter_context(each.deaf())
            batch = _NEXT(self)
        for each in _LISTENERS:
            each.gives(batch)
        return batch

    _LISTENERS.append(listener)
    DataLoader.__iter__, _BaseDataLoaderIter.__next__ = begin, following
    try:
        yield
    finally:
        _LISTENERS.remove(listener)
        if not _LISTENERS:
            DataLoader.__iter__, _BaseDataLoaderIter.__next__ = _ITER, _NEXT


class Loaded:
    """Which tensors loaders gave lately: what a step takes besides was made where nothing can be heard."""

    def __init__(self) -> None:
        self._tensors: deque[set[Any]] = deque(maxlen=8)

    def gave(self, batch: Any) -> None:
        """A loader gave a batch."""
        self._tensors.append({_place(tensor) for tensor in leaves(batch)})

    def copied(self, tensor: torch.Tensor, copy: torch.Tensor) -> None:
        """A tensor is written over by the loop; a copy stands for it."""
        for some in self._tensors:
            if _place(tensor) in some:
                some.add(_place(copy))

    def unseen(self, recording: Recording) -> str:
        """A tensor of a step's batch that no loader gave, in words; "" where there is none, or no loader."""
        for constant in recording.constants() if self._tensors else ():
            tensor = constant.tensor
            if tensor.shape[:1] == (recording.rows,) and not any(_place(tensor) in some for some in self._tensors):
                return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
        return ""


def _place(tensor: torch.Tensor) -> tuple[int, torch.Size]:
    return tensor.data_ptr(), tensor.shape


def rows_of(loader: Any) -> int | None:
    """How many rows a loader's dataset has; None where it does not say."""
    dataset = getattr(loader, "dataset", None)
    if dataset is None or isinstance(dataset, IterableDataset):
        return None
    with contextlib.suppress(TypeError, NotImplementedError):
        return len(dataset)
    return None


def part_of(loader: Any) -> str:
    """Which part of the rows a loader gives, in words, where that is the share of one process; "" for all."""
    sampler: Any = getattr(loader, "sampler", None)
    rows = rows_of(loader)
    if isinstance(sampler, DistributedSampler) and sampler.num_replicas > 1:
        padded = sampler.total_size - rows if rows is not None and not sampler.drop_last else 0
        twice = f", {padded} of all rows twice so that shares are equal" if padded > 0 else ""
        return f"the share of rank {sampler.rank} of {sampler.num_replicas}{twice}"
    return ""


def read_again(loader: Any) -> Iterator[Any]:
    """A loader's batches in its own order, read in this process; nothing of the loader changes.

    Rows that the loader draws at random are drawn by copies of its samplers, so that no later epoch is another one.
    """
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        yield from loader
        return
    if loader.batch_sampler is None:
        for index in copy.deepcopy(loader.sampler):
            yield loader.collate_fn(loader.dataset[index])
        return
    yield from _collated(loader, copy.deepcopy(loader.batch_sampler))


def whole(loader: Any) -> Iterator[Any]:
    """Every row of a loader's dataset once, in order, in its batch size."""
    size = loader.batch_size or getattr(loader.batch_sampler, "batch_size", None) or 1
    yield from _collated(loader, BatchSampler(SequentialSampler(loader.dataset), size, drop_last=False))


def _collated(loader: Any, indices: Iterable[list[int]]) -> Iterator[Any]:
    dataset = loader.dataset
    for chosen in indices:
        several = getattr(dataset, "__getitems__", None)
        rows = several(chosen) if several is not None else [dataset[i] for i in chosen]
        yield loader.collate_fn(rows)


def generators_of(loader: Any) -> list[torch.Generator]:
    """The random generators that a loader and its samplers draw from."""
    found: list[torch.Generator] = []
    batch_sampler = getattr(loader, "batch_sampler", None)
    for owner in (loader, getattr(loader, "sampler", None), getattr(batch_sampler, "sampler", None)):
        generator = getattr(owner, "generator", None)
        if isinstance(generator, torch.Generator) and all(generator is not g for g in found):
            found.append(generator)
    return found
