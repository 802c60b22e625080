"""Readings and gaps as plain data that JSON can hold, and back, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, cast

import numpy as np

from verax.errors import DataError, InputError
from verax.ledger.causes import Cause
from verax.ledger.chain import Gap, Link
from verax.ledger.facts import Change, Facts, LayerMode, Rows
from verax.ledger.reading import Part, Reading
from verax.ledger.tally import Tally

__all__ = ["packed", "unpacked"]

#: What may be made of a file: these, and nothing that a file names besides.
_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Change, Facts, Gap, LayerMode, Link, Part, Reading, Rows, Tally)
}


def packed(value: Any) -> dict[str, Any]:
    """A structure of readings, gaps, lists, dicts by name and numbers as plain data.

    What is said again and again (the facts of a layer, epoch after epoch) is written once and then pointed at.

    >>> facts = Facts(rows=Rows("training rows", 3))
    >>> readings = [Reading("loss", 0.1, 0.01, facts), Reading("loss", 0.05, 0.01, facts)]
    >>> unpacked(json.loads(json.dumps(packed(readings)))) == readings
    True
    """
    packer = _Packer()
    top = packer.pack(value)
    return {"pool": packer.pool, "top": top}


def unpacked(data: Any) -> Any:
    """What ``packed`` was given.

    Raises:
        DataError: The data are not what ``packed`` made.
    """
    try:
        pool: list[Any] = []
        for entry in data["pool"]:
            pool.append(_made(entry, pool))
        return _unpack(data["top"], pool)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DataError(
            "Readings were to be read from a file.",
            received=f"{type(error).__name__}: {error}",
            because="they are not in the form in which this version keeps them",
            do="Read them with the version that wrote them.",
        ) from error


class _Packer:
    """Packs values; objects and tuples go into a pool, equal ones once."""

    def __init__(self) -> None:
        self.pool: list[Any] = []
        self._places: dict[str, int] = {}

    def pack(self, value: Any) -> Any:
        if isinstance(value, (np.ndarray, np.generic)):
            value = cast("Any", value).tolist()
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, Cause):
            return {"cause": value.name}
        if isinstance(value, list):
            return [self.pack(each) for each in cast("list[Any]", value)]
        if isinstance(value, Mapping):
            return {"dict": {name: self.pack(each) for name, each in cast("Mapping[str, Any]", value).items()}}
        kind = type(cast("object", value)).__name__
        if _KINDS.get(kind) is type(cast("object", value)):
            return self._at([kind, *(self.pack(getattr(value, name)) for name in _names(_KINDS[kind]))])
        if isinstance(value, tuple):
            return self._at(["", *(self.pack(each) for each in cast("tuple[Any, ...]", value))])
        raise InputError(
            "Readings were to be kept as plain data.",
            received=kind,
            because="JSON has no form for it",
            do="Keep numbers, text, lists and dicts beside readings.",
        )

    def _at(self, entry: list[Any]) -> dict[str, int]:
        place = self._places.setdefault(json.dumps(entry), len(self.pool))
        if place == len(self.pool):
            self.pool.append(entry)
        return {"at": place}


def _names(kind: type[Any]) -> tuple[str, ...]:
    return Tally._fields if kind is Tally else tuple(field.name for field in fields(kind))


def _made(entry: list[Any], pool: list[Any]) -> Any:
    values = [_unpack(each, pool) for each in entry[1:]]
    if not entry[0]:
        return tuple(values)
    kind = _KINDS[entry[0]]
    return kind(**dict(zip(_names(kind), values, strict=True)))


def _unpack(data: Any, pool: list[Any]) -> Any:
    if isinstance(data, list):
        return [_unpack(each, pool) for each in cast("list[Any]", data)]
    if not isinstance(data, dict):
        return data
    ((mark, inner),) = cast("dict[str, Any]", data).items()
    return _MARKS[mark](inner, pool)


_MARKS: dict[str, Callable[[Any, list[Any]], Any]] = {
    "at": lambda inner, pool: pool[inner],
    "cause": lambda inner, pool: Cause[inner],
    "dict": lambda inner, pool: {name: _unpack(each, pool) for name, each in inner.items()},
}
