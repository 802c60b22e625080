"""Weights by their paths in files, whatever numbers automatic names had when the file was written."""

from __future__ import annotations

import re
from collections.abc import Sequence

from verax.frame.layer import Layer
from verax.frame.tree import Tree

__all__ = ["paired", "paths"]

_NUMBER = re.compile(r"_\d+(?=/|$|_)")


def paths(model: Layer) -> list[str]:
    """The paths of a model's weights, in Keras' order."""
    return [place.path for variable, place in Tree.of(model).variables.values() if not variable.carried]


def paired(own: Sequence[str], given: Sequence[str]) -> dict[str, str]:
    """Name in a file -> path in the model, where they differ in the numbers of automatic names at most, in this order.

    >>> paired(["dense_3/kernel", "dense_4/kernel"], ["dense/kernel", "dense_1/kernel"])
    {'dense/kernel': 'dense_3/kernel', 'dense_1/kernel': 'dense_4/kernel'}
    >>> paired(["dense/kernel"], ["conv/kernel"])
    {}
    """
    if set(own) == set(given):
        return {name: name for name in own}
    if [_NUMBER.sub("", name) for name in own] == [_NUMBER.sub("", name) for name in given]:
        return dict(zip(given, own, strict=True))
    return {}
