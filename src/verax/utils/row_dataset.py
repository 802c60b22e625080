"""Rows that are read when they are needed, in batches, each epoch in a new order."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from verax.errors import InputError
from verax.frame.seeds import next_seed
from verax.utils.py_dataset import PyDataset

__all__ = ["RowDataset"]

Array = np.ndarray[Any, Any]


class RowDataset(PyDataset):
    """A dataset of so many rows: what ``image_dataset_from_directory`` and its like return.

    ``dataset[i]`` is batch i in the order of the rows. Iterating, and every epoch of ``fit``, goes through the rows in
    a new order where ``shuffle`` says so; which, follows from the seed and the number of the epoch, so that ``fit`` can
    measure an epoch again to explain it.

    Args:
        read: From the numbers of some rows, an int array (n,), to ``(x,)`` or ``(x, y)``, structures of arrays of n
            rows.
        rows: How many rows there are.
        batch_size: Rows in a batch; None for single rows, without an axis for them.
        shuffle: Whether iterating and training shuffle the rows.
        seed: Of the orders; drawn when None.
        workers: How many threads read batches ahead in training.
        class_names: The names of the classes, in the order of their numbers.
        file_paths: The files, in the order of the rows.

    >>> dataset = RowDataset(lambda rows: (rows * 10,), 5, batch_size=2)
    >>> len(dataset), [batch.tolist() for batch in dataset]
    (3, [[0, 10], [20, 30], [40]])
    """

    def __init__(
        self,
        read: Callable[[Array], tuple[Any, ...]],
        rows: int,
        *,
        batch_size: int | None = 32,
        shuffle: bool = False,
        seed: int | None = None,
        workers: int = 1,
        class_names: Sequence[str] | None = None,
        file_paths: Sequence[str] | None = None,
    ):
        super().__init__(workers=workers)
        self.batch_size = check_batch_size(batch_size)
        self.rows = rows
        self.shuffle = shuffle
        self.seed = next_seed("datasets") if seed is None else seed
        self.class_names = None if class_names is None else list(class_names)
        self.file_paths = None if file_paths is None else list(file_paths)
        self._read = read
        self._order: Array = np.arange(rows)
        self._maps: tuple[Callable[..., Any], ...] = ()
        self._round = 0

    def __len__(self) -> int:
        """How many batches there are; how many rows, where they come one by one."""
        return -(-self.rows // (self.batch_size or 1))

    def __getitem__(self, index: int) -> Any:
        """Batch ``index`` in the order of the rows."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"batch {index} of a dataset of {len(self)}")
        size = self.batch_size or 1
        start = index % len(self) * size
        made: Any = self._read(self._order[start : start + size])
        if self.batch_size is None:
            made = jax.tree.map(lambda array: array[0], made)
        for function in self._maps:
            made = function(*made) if isinstance(made, tuple) else function(made)
        return made[0] if isinstance(made, tuple) and len(made) == 1 else made

    def __iter__(self) -> Iterator[Any]:
        """The batches, where ``shuffle`` says so in a new order each time."""
        self._round += 1
        return (batch for batch in map(self.shuffled(self.seed, self._round - 1).__getitem__, range(len(self))))

    def __repr__(self) -> str:
        batches = "one by one" if self.batch_size is None else f"in batches of {self.batch_size}"
        return f"<RowDataset of {self.rows} rows, {batches}{', shuffled' if self.shuffle else ''}>"

    def shuffled(self, seed: int, round_: int) -> RowDataset:
        """The same rows in the order of one epoch; as they are where ``shuffle`` is False.

        Args:
            seed: Another one gives other orders; the dataset's own counts too.
            round_: The number of the epoch.
        """
        if not self.shuffle:
            return self
        generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, seed], spawn_key=(round_,))))
        return self._with(_order=self._order[generator.permutation(self.rows)])

    def map(self, function: Callable[..., Any]) -> RowDataset:
        """Batches (or rows) with ``function(x)`` or ``function(x, y)`` in their place.

        >>> [batch.tolist() for batch in RowDataset(lambda rows: (rows,), 3, batch_size=2).map(lambda x: x + 1)]
        [[1, 2], [3]]
        """
        return self._with(_maps=(*self._maps, function))

    def batch(self, batch_size: int) -> RowDataset:
        """Rows that come one by one in batches."""
        if self.batch_size is not None or self._maps:
            raise InputError(
                "A dataset was to be batched.",
                received=repr(self),
                because="a function was mapped over its rows" if self._maps else "it is batched already",
                do="Call batch before map." if self._maps else "Make it with batch_size=None, or another batch_size.",
            )
        return self._with(batch_size=check_batch_size(batch_size))

    def part(self, rows: Array) -> RowDataset:
        """Some of the rows, by their places."""
        paths = self.file_paths
        kept = None if paths is None else [paths[i] for i in rows.tolist()]
        return self._with(_order=self._order[rows], rows=len(rows), file_paths=kept)

    def _with(self, **changed: Any) -> RowDataset:
        made = copy.copy(self)
        made.__dict__.update(changed)
        return made


def check_batch_size(batch_size: int | None) -> int | None:
    """Rows in a batch, checked; None for rows one by one."""
    if batch_size is not None and (isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1):
        received = f"batch_size={batch_size!r}"
        raise InputError("A dataset was to be made.", received=received, because="it is a positive integer, or None")
    return batch_size
