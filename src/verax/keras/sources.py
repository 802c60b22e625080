"""The rows of a fit: what it was given, and which of it can be read a second time."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from verax.errors import InputError
from verax.keras.frameworks import require_keras
from verax.keras.losses import rows_of

__all__ = ["Given", "running_fit"]


@dataclass(frozen=True)
class Given:
    """Rows as they were given.

    Attributes:
        x, y, sample_weight, class_weight, batch_size: As ``fit`` takes them.
    """

    x: Any
    y: Any = None
    sample_weight: Any = None
    class_weight: Mapping[int, float] | None = None
    batch_size: int | None = None

    @classmethod
    def of(cls, data: Any, batch_size: int | None, name: str) -> Given:
        """Of (x, y), (x, y, sample_weight), or what yields batches.

        Raises:
            InputError: They are neither.
        """
        if isinstance(data, tuple | list):
            if len(data) not in (2, 3):
                raise InputError(
                    f"{name} is what the second number is measured on.",
                    received=f"a {type(data).__name__} of {len(data)}",
                    do="Give (x, y), (x, y, sample_weight) or a keras.utils.PyDataset.",
                )
            return cls(*data, batch_size=batch_size)
        return cls(data)

    @property
    def arrays(self) -> bool:
        """Whether they are arrays, of which the number of rows is known."""
        leaves = [x for x in require_keras("Rows were to be read.").tree.flatten(self.x) if x is not None]
        return bool(leaves) and all(hasattr(leaf, "shape") and hasattr(leaf, "__getitem__") for leaf in leaves)

    @property
    def again(self) -> bool:
        """Whether they bring the same batches when they are read again."""
        if self.arrays:
            return True
        kind = require_keras("Rows were to be read.").utils.PyDataset
        hooks = ("on_epoch_begin", "on_epoch_end")
        return isinstance(self.x, kind) and all(getattr(type(self.x), h) is getattr(kind, h) for h in hooks)

    @property
    def rows(self) -> int | None:
        """How many rows there are; None where that is not known."""
        return rows_of(self.x) if self.arrays else None

    @property
    def number(self) -> int | None:
        """How many batches there are."""
        if self.arrays:
            return math.ceil((self.rows or 0) / (self.batch_size or 32))
        return getattr(self.x, "num_batches", None)

    def batches(self, chosen: int | None = None) -> Iterator[Any]:
        """The batches in order, or so many of them drawn without replacement.

        Raises:
            InputError: They cannot be read again.
        """
        if not self.again:
            raise InputError(
                "Rows were to be read in batches.",
                received=type(self.x).__name__,
                because="it cannot be read again, or brings other batches when it is",
                do="Give arrays, or a keras.utils.PyDataset without on_epoch_begin and on_epoch_end.",
            )
        count = self.number or 0
        picked: Any = range(count)
        if chosen is not None and chosen < count:
            picked = np.sort(np.random.default_rng(0x5EED).choice(count, chosen, replace=False)).tolist()
        if not self.arrays:
            for i in picked:
                yield _three(self.x[i])
            return
        keras = require_keras("Rows were to be read.")
        size, weight = self.batch_size or 32, self._weights()
        for i in picked:
            part = slice(i * size, (i + 1) * size)
            yield tuple(
                keras.tree.map_structure(lambda a, part=part: None if a is None else _plain(a[part]), one)
                for one in (self.x, self.y, weight)
            )

    def _weights(self) -> Any:
        if not self.class_weight:
            return self.sample_weight
        labels = np.asarray(self.y)
        labels = labels.argmax(-1) if labels.ndim > 1 and labels.shape[-1] > 1 else labels.reshape(len(labels))
        table = {int(c): float(w) for c, w in self.class_weight.items()}
        return np.array([table.get(int(c), 1.0) for c in np.rint(labels)], np.float32)


def _plain(array: Any) -> Any:
    """As Keras' adapters hand arrays on: floats in the model's precision."""
    floating = isinstance(array, np.ndarray) and array.dtype.kind == "f"
    return array.astype(require_keras("Rows were to be read.").config.floatx()) if floating else array


def _three(batch: Any) -> Any:
    return require_keras("Rows were to be read.").utils.unpack_x_y_sample_weight(batch)


def running_fit(model: Any) -> dict[str, Any]:
    """What the running ``fit`` of a model was given, by the names in it; empty where it is not found.

    Keras tells a callback neither the rows nor what they are weighted by; they stand in the call that runs it.
    """
    frame = sys._getframe(1)
    for _ in range(40):
        if frame.f_code.co_name == "fit" and frame.f_code.co_filename.endswith("trainer.py"):
            found = dict(frame.f_locals)
            return found if found.get("self") is model else {}
        if frame.f_back is None:
            break
        frame = frame.f_back
    return {}
