"""Strict promotion everywhere: shape and dtype mistakes are where wrong numbers come from."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True)
def _seeded():
    """Every test starts from the same global seed, whatever ran before it."""
    from verax.frame.seeds import set_random_seed

    set_random_seed(20)
