"""A dataset in Python code: a class that makes batch ``i`` when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

__all__ = ["PyDataset", "Sequence"]


class PyDataset:
    """Base class for data that are made batch by batch, as in Keras.

    Write ``__getitem__(index)``, which returns a whole batch (``x``, ``(x, y)`` or ``(x, y, sample_weight)``), and
    ``__len__()``, the number of batches; or the property ``num_batches``, where ``None`` means without end. Each batch
    is asked for once an epoch. ``on_epoch_begin()`` and ``on_epoch_end()`` are called around each epoch.

    Args:
        workers: How many threads fetch batches ahead. With 1 each batch is fetched when it is needed, in the thread
            that trains; with more, ``__getitem__`` runs in several threads at once and must allow it.
        max_queue_size: With ``workers`` above 1, at most this many batches are fetched ahead.

    Differs from Keras: there is no ``use_multiprocessing``, since JAX's threads do not survive a fork; and a subclass
    need not call ``super().__init__()``.

    >>> import numpy as np
    >>> class Squares(PyDataset):
    ...     def __len__(self):
    ...         return 2
    ...     def __getitem__(self, index):
    ...         x = np.arange(3.0) + 3 * index
    ...         return x[:, None], x[:, None] ** 2
    >>> [y.ravel().tolist() for x, y in Squares()]
    [[0.0, 1.0, 4.0], [9.0, 16.0, 25.0]]
    """

    # class attributes too, so that a subclass without super().__init__() has them
    workers: int = 1
    max_queue_size: int = 10

    def __init__(self, workers: int = 1, max_queue_size: int = 10) -> None:
        self.workers, self.max_queue_size = workers, max_queue_size

    def __getitem__(self, index: int) -> Any:
        """Batch ``index``."""
        raise NotImplementedError(f"{type(self).__name__} needs __getitem__(self, index), which returns batch `index`.")

    @property
    def num_batches(self) -> int | None:
        """How many batches there are, ``None`` for no end."""
        if hasattr(self, "__len__"):
            return len(self)  # pyright: ignore[reportArgumentType]
        raise NotImplementedError(
            f"{type(self).__name__} needs __len__(self), the number of batches; or num_batches = None if it has no end."
        )

    def __iter__(self) -> Iterator[Any]:
        """The batches in order."""
        batches = self.num_batches
        return (self[index] for index in (count() if batches is None else range(batches)))

    def on_epoch_begin(self) -> None:
        """Called before the first batch of an epoch is asked for."""

    def on_epoch_end(self) -> None:
        """Called after the last batch of an epoch was used."""


Sequence = PyDataset
