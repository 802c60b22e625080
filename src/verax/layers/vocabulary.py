"""Tokens counted, and put in the order of a vocabulary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from verax.errors import InputError

__all__ = ["Counts", "Vocabulary", "check_tokens", "read_tokens"]


@dataclass(frozen=True)
class Vocabulary:
    """Tokens and their indices.

    Attributes:
        tokens: In the order of their indices, special ones left out.
        index: token -> index.
        idf: The weight of every index, special ones included; None where nothing is weighed.
    """

    tokens: tuple[Any, ...]
    index: dict[Any, int]
    idf: np.ndarray[Any, Any] | None

    @classmethod
    def of(cls, tokens: Sequence[Any], start: int, idf: np.ndarray[Any, Any] | None) -> Vocabulary:
        """Tokens numbered from ``start``.

        >>> Vocabulary.of(["a", "b"], 1, None).index
        {'a': 1, 'b': 2}
        """
        return cls(tuple(tokens), {token: i for i, token in enumerate(tokens, start)}, idf)


@dataclass
class Counts:
    """How often tokens occurred, and in how many documents."""

    tokens: Counter[Any] = field(default_factory=Counter[Any])
    holding: Counter[Any] = field(default_factory=Counter[Any])
    documents: int = 0

    def add(self, documents: Sequence[Sequence[Any]], *, each: bool) -> None:
        """Count documents; with ``each`` also in how many of them a token occurs."""
        self.documents += len(documents)
        self.tokens.update(chain.from_iterable(documents))
        if each:
            for document in documents:
                self.holding.update(set(document))

    def most_frequent(self, without: Collection[Any], room: int | None) -> list[Any]:
        """The tokens, the most frequent first, of those as frequent the greatest first; at most ``room`` of them."""
        pairs = sorted(((n, token) for token, n in self.tokens.items() if token not in without), reverse=True)
        return [token for _, token in pairs[:room]]

    def idf(self, tokens: Sequence[Any]) -> np.ndarray[Any, Any]:
        """The weight of each token: ``log(1 + documents / (1 + documents that hold it))``."""
        holding = np.array([self.holding[token] for token in tokens], np.float64)
        return np.log1p(self.documents / (1.0 + holding))


def read_tokens(path: str | Path, asked: str) -> list[str]:
    """The lines of a text file."""
    file = Path(path)
    if not file.is_file():
        because = "there is no such file"
        raise InputError(asked, received=repr(str(path)), because=because, do="Pass the tokens, or the path of a file.")
    lines = file.read_text(encoding="utf-8").split("\n")
    while lines and not lines[-1]:
        lines.pop()
    return lines


def check_tokens(tokens: Sequence[Any], mask: Any, oov: Any, special: Sequence[Any], asked: str) -> None:
    """Refuse a vocabulary that is empty, repeats a token, or holds a special token among the others."""
    if not tokens:
        raise InputError(asked, received="no token", because="there is nothing to make indices of")
    twice = [token for token, n in Counter(tokens).items() if n > 1]
    if twice:
        shown = ", ".join(repr(token) for token in twice[:5])
        raise InputError(asked, received=f"{shown} more than once", because="a token has one index")
    for name, token in (("mask_token", mask), ("oov_token", oov)):
        if token is not None and token in set(tokens):
            raise InputError(
                asked,
                received=f"{token!r}, the {name}, among the tokens",
                because="its index is reserved",
                do=f"Leave special tokens out, or put all of them first: {list(special)!r}.",
            )
