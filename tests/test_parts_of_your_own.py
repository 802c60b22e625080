"""Parts that a person writes: the same numbers as their Keras twins, and no longer."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

import verax
from tests import keras_parts
from tests.oracle import oracle
from tests.programs import EXAMPLES, run

NAMES = ("Centre", "Quantile", "Bias", "Halving", "Signs", "Biases")


def lengths(path: Path) -> dict[str, int]:
    """Lines of each class, without empty ones."""
    text = path.read_text()
    return {
        node.name: sum(bool(line.strip()) for line in text.splitlines()[node.lineno - 1 : node.end_lineno])
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ClassDef)
    }


@pytest.mark.parametrize("name", NAMES)
def test_no_longer_than_in_keras(name):
    (example,) = (p for p in EXAMPLES if p.stem == "parts_of_your_own")
    ours, theirs = lengths(example)[name], lengths(Path(keras_parts.__file__))[name]
    assert ours <= theirs
    if name not in (
        "Biases",
        "Centre",
    ):  # a callback is a hook in both; the layer has a mode that Keras lets one forget
        assert ours < theirs


def test_the_same_numbers_as_in_keras(capsys):
    made = run("parts_of_your_own").names
    x, y = made["x"], made["y"]
    with oracle() as keras:
        parts = keras_parts.parts(keras)
        theirs = keras.Sequential([keras.Input((4,)), parts["Centre"](), keras.layers.Dense(1)])
        optimizer = parts["Signs"](parts["Halving"]())
        theirs.compile(optimizer, parts["Quantile"](0.8), metrics=[parts["Bias"]()])
        weights = theirs.get_weights()
        fit = {"batch_size": 20, "epochs": 3, "shuffle": False, "verbose": 0}
        expected = theirs.fit(x, y, **fit, callbacks=[parts["Biases"]()]).history
        expected_weights = theirs.get_weights()
    ours = verax.Sequential([verax.Input((4,)), made["Centre"](), verax.layers.Dense(1)])
    ours.compile(made["Signs"](made["Halving"]()), made["Quantile"](0.8), metrics=[made["Bias"]()])
    ours.set_weights(weights)
    found = ours.fit(x, y, **fit, callbacks=[made["Biases"]()]).history
    assert capsys.readouterr().out.count("epoch") == 6
    for name in ("loss", "bias"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)
    for a, b in zip(ours.get_weights(), expected_weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
