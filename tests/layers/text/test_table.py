"""Every row of the table, eagerly, from its configuration, and inside a compiled program where the layer allows it."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

from tests.layers.text.make_table import TABLE
from tests.layers.text.rows import ROWS, Row
from verax import Mode, layers
from verax.frame.frame import pure

EXPECTED = json.loads(TABLE.read_text())


def made(row: Row):
    layer = getattr(layers, row.layer)(**row.arguments)
    if row.adapt is not None:
        layer.adapt((np.array(b) for b in row.adapt) if row.batches else np.array(row.adapt))
    return layer


def inputs_of(row: Row):
    return [np.array(c) for c in row.inputs] if row.columns else np.array(row.inputs)


def same(got, expected) -> None:
    got, expected = np.asarray(got), np.array(expected)
    assert got.shape == expected.shape
    if expected.dtype.kind == "U":
        assert got.tolist() == expected.tolist()
    else:
        np.testing.assert_allclose(got.astype("float64"), expected.astype("float64"), rtol=1e-6)


def test_the_table_names_what_computed_it():
    assert EXPECTED["computed by"] == "TensorFlow 2.21.0, Keras 3.15.1"
    assert set(EXPECTED) == {row.name for row in ROWS} | {"computed by"}


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.name)
def test_the_layer_gives_what_keras_gives(row: Row):
    layer, expected = made(row), EXPECTED[row.name]
    same(layer(inputs_of(row)), expected["output"])
    if "vocabulary" in expected:
        assert layer.get_vocabulary() == expected["vocabulary"]
        assert layer.vocabulary_size() == len(expected["vocabulary"])
    if "boundaries" in expected:
        np.testing.assert_allclose(layer.bin_boundaries, expected["boundaries"], rtol=2e-7)


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.name)
def test_its_configuration_holds_what_it_learned(row: Row):
    layer = made(row)
    config = json.loads(json.dumps(layer.get_config()))
    same(type(layer).from_config(config)(inputs_of(row)), np.asarray(layer(inputs_of(row))).tolist())


@pytest.mark.parametrize("row", [r for r in ROWS if "config" in EXPECTED.get(r.name, {})], ids=lambda r: r.name)
def test_a_configuration_of_keras_makes_the_same_layer(row: Row):
    expected = EXPECTED[row.name]
    layer = getattr(layers, row.layer).from_config(expected["config"])
    assert layer.name == expected["config"]["name"]
    same(layer(inputs_of(row)), expected["output"])


WHOLE = [
    row
    for row in ROWS
    if row.layer != "TextVectorization"
    and np.array(row.inputs[0] if row.columns else row.inputs).dtype.kind in "if"
    and (row.layer != "StringLookup")
    and all(np.asarray(c).dtype.kind != "U" for c in (row.inputs if row.columns else [row.inputs]))
    and row.name != "IntegerLookup beyond int32"
]


@pytest.mark.parametrize("row", WHOLE, ids=lambda r: r.name)
def test_whole_numbers_inside_a_compiled_program(row: Row):
    layer = made(row)

    def narrow(a):
        return a.astype("float32" if a.dtype.kind == "f" else "int32")

    x = jax.tree.map(lambda a: narrow(np.where(abs(a) > 2**31, 3, a)), inputs_of(row))
    if not layer.built:
        layer(x)
    got = jax.jit(lambda x: pure(layer)({}, {}, x, mode=Mode.INFER)[0])(x)
    same(got, np.asarray(layer(x)).tolist())
    if len(np.shape(jax.tree.leaves(x)[0])) == 1:
        return
    # In a batch, one row at a time, as everywhere else: jax.vmap reaches the host as well.
    if row.layer == "Hashing" and layer.output_mode == "int":
        rows = jax.vmap(lambda x: pure(layer)({}, {}, x, mode=Mode.INFER)[0])(x)
        same(rows, np.asarray(got).tolist())
