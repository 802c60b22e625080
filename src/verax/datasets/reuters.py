"""Reuters: 11,228 newswires, as numbers of words, over 46 topics."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from verax.datasets.sources import Arrays, fetched, limited, read_npz, shuffled, worded

__all__ = ["get_label_names", "get_word_index", "load_data"]


def load_data(
    path: str = "reuters.npz",
    num_words: int | None = None,
    skip_top: int = 0,
    maxlen: int | None = None,
    test_split: float = 0.2,
    seed: int = 113,
    start_char: int | None = 1,
    oov_char: int | None = 2,
    index_from: int | None = 3,
) -> tuple[Arrays, Arrays]:
    """Newswires and their topics, as ``(x_train, y_train), (x_test, y_test)``.

    Args:
        path, num_words, skip_top, maxlen, seed, start_char, oov_char, index_from: As in ``imdb.load_data``.
        test_split: The part of the newswires that is for testing.

    Returns:
        ``x``: object ``(newswires,)``, lists of ints. ``y``: int64 ``(newswires,)``, 0 to 45: see ``get_label_names``.

    Raises:
        InputError: No newswire is shorter than ``maxlen``.
        DownloadError: The file is not in the cache, and cannot be fetched.

    Source: Reuters-21578, D. Lewis, 1997, as the Keras project has cut and numbered it.
    """
    file_hash = "d6586e694ee56d7a4e65172e12b3e987c03096cb01eab99753921ef915959916"
    held = read_npz(fetched(path, "reuters.npz", file_hash))
    xs, ys = worded(shuffled(np.random.RandomState(seed), held["x"], held["y"]), maxlen, start_char, index_from)
    found = limited(xs, num_words, skip_top, oov_char)
    end = int(len(found) * (1 - test_split))
    return (found[:end], ys[:end]), (found[end:], ys[end:])


def get_word_index(path: str = "reuters_word_index.json") -> dict[str, int]:
    """word -> its rank by frequency, from 1; in ``load_data`` it stands as rank + ``index_from``.

    Args:
        path: The name of the file in the cache.
    """
    file = fetched(path, "reuters_word_index.json", "4d44cc38712099c9e383dc6e5f11a921")
    return json.loads(Path(file).read_text())


def get_label_names() -> tuple[str, ...]:
    """The topics, in the order of their numbers.

    >>> get_label_names()[:4], len(get_label_names())
    (('cocoa', 'grain', 'veg-oil', 'earn'), 46)
    """
    return tuple(_TOPICS.split())


_TOPICS = (
    "cocoa grain veg-oil earn acq wheat copper housing money-supply coffee sugar trade reserves ship cotton carcass "
    "crude nat-gas cpi money-fx interest gnp meal-feed alum oilseed gold tin strategic-metal livestock retail ipi "
    "iron-steel rubber heat jobs lei bop zinc orange pet-chem dlr gas silver wpi hog lead"
)
