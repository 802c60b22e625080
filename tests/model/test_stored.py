"""Where weights stand in files: for every layer as real Keras places them."""

from __future__ import annotations

import io

import jax
import numpy as np
import pytest

from tests.layers.cases import Case
from tests.layers.test_against_keras import given, inputs_for, inputs_of, two_of_each_class
from tests.oracle import oracle
from verax import layers
from verax.formats import hdf5
from verax.model.stored import shelves


@pytest.mark.parametrize("case", two_of_each_class(), ids=lambda c: c.name)
def test_every_layer_stands_where_keras_puts_it(case: Case):
    x = inputs_of(case, np.random.default_rng(0))
    with oracle() as keras:
        theirs = case.make(keras.layers)
        theirs(
            *given(
                case,
                jax.tree.map(lambda a: keras.Input(a.shape[1:], len(a) if case.fixed else None, dtype=a.dtype.name), x),
            )
        )
        inside, file = {}, io.BytesIO()
        store = keras.src.saving.saving_lib.H5IOStore(file, mode="w")
        keras.src.saving.saving_lib._save_state(theirs, store, None, "", set())
        store.close()
        file.seek(0)
        with hdf5.opened(file, "keras") as contents:
            inside = {path: (stored.shape, stored.dtype) for path, stored in contents.arrays.items()}
    ours = case.make(layers)
    ours(*given(case, inputs_for(case, x)))
    found = {
        f"{shelf.inside}/{i}": (variable.shape, variable.dtype)
        for shelf in shelves(ours)
        for i, variable in enumerate(shelf.variables)
    }
    assert found == inside
