"""Real data to try things on: ``verax.datasets.digits.load_data()``, which is shipped, and those Keras offers.

The others are fetched when they are first asked for, checked by their hash, and kept in ``$VERAX_HOME/datasets`` or
``~/.verax/datasets``; a file that Keras has fetched already is used.
"""

from __future__ import annotations

from verax.datasets import (
    boston_housing,
    california_housing,
    cifar10,
    cifar100,
    digits,
    fashion_mnist,
    imdb,
    mnist,
    reuters,
)

__all__ = [
    "boston_housing",
    "california_housing",
    "cifar10",
    "cifar100",
    "digits",
    "fashion_mnist",
    "imdb",
    "mnist",
    "reuters",
]
