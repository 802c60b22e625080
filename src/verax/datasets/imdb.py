"""IMDB: 50,000 film reviews, as numbers of words, and whether they praise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from verax.datasets.sources import Arrays, fetched, limited, read_npz, shuffled, worded

__all__ = ["get_word_index", "load_data"]


def load_data(
    path: str = "imdb.npz",
    num_words: int | None = None,
    skip_top: int = 0,
    maxlen: int | None = None,
    seed: int = 113,
    start_char: int | None = 1,
    oov_char: int | None = 2,
    index_from: int | None = 3,
) -> tuple[Arrays, Arrays]:
    """25,000 reviews to train on and as many to test on, as ``(x_train, y_train), (x_test, y_test)``.

    A word's number is its rank by frequency in the training reviews, plus ``index_from``. 0 is left for padding.

    Args:
        path: The name of the file in the cache.
        num_words: Words with this number or a higher one become ``oov_char``; all stay when None (but for the one with
            the highest number).
        skip_top: Words with a lower number become ``oov_char``.
        maxlen: Reviews of so many words or more are left out; None: none are.
        seed: Of the order in which the reviews are put.
        start_char: Put before every review; None: nothing.
        oov_char: What stands for words that are left out; None: nothing.
        index_from: What is added to ranks.

    Returns:
        ``x``: object ``(reviews,)``, lists of ints. ``y``: int64 ``(reviews,)``, 1 for praise.

    Raises:
        InputError: No review is shorter than ``maxlen``.
        DownloadError: The file is not in the cache, and cannot be fetched.

    Source: A. Maas et al., Learning Word Vectors for Sentiment Analysis, 2011, https://aclanthology.org/P11-1015.
    """
    file_hash = "69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f"
    held = read_npz(fetched(path, "imdb.npz", file_hash))
    # One generator orders both parts, the training part first.
    generator = np.random.RandomState(seed)
    parts = [
        worded(shuffled(generator, held[f"x_{part}"], held[f"y_{part}"]), maxlen, start_char, index_from)
        for part in ("train", "test")
    ]
    (x_train, y_train), (x_test, y_test) = parts
    xs = limited([*x_train, *x_test], num_words, skip_top, oov_char)
    return (xs[: len(x_train)], y_train), (xs[len(x_train) :], y_test)


def get_word_index(path: str = "imdb_word_index.json") -> dict[str, int]:
    """word -> its rank by frequency, from 1; in ``load_data`` it stands as rank + ``index_from``.

    Args:
        path: The name of the file in the cache.
    """
    file = fetched(path, "imdb_word_index.json", "bfafd718b763782e994055a2d397834f")
    return json.loads(Path(file).read_text())
