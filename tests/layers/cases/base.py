"""What a row of the table of layers is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["FIRST", "IMAGE", "QUICK", "STEPS", "VOLUME", "Case"]


@dataclass(frozen=True)
class Case:
    """A layer to be made from ``verax.layers`` and from ``keras.layers`` alike.

    Attributes:
        name: For the test's id.
        make: From a module of layers to a layer.
        shape: The input's shape, or a list of shapes for a layer that merges.
        dtype: "float32", "uint8", "int32" (indices below 5).
        draws: Whether training draws: then only inference is compared.
        tolerance: Relative and absolute.
        spread: Whether the list of inputs is given as so many arguments.
        data: From a random generator to the input itself, where drawing ``shape`` in ``dtype`` will not do.
        fixed: Whether the layer knows the number of rows.
    """

    name: str
    make: Callable[[Any], Any]
    shape: Any
    dtype: str = "float32"
    draws: bool = False
    tolerance: float = 2e-5
    spread: bool = False
    data: Callable[[np.random.Generator], Any] | None = None
    fixed: bool = False


# Orthogonal matrices take long to make, and every weight is replaced.
QUICK = {"recurrent_initializer": "zeros"}

#: Shapes of inputs: sequences, images with the channels last and first, volumes.
STEPS, IMAGE, FIRST, VOLUME = (2, 6, 4), (2, 7, 6, 4), (2, 4, 7, 6), (2, 5, 4, 6, 2)
