"""The same model in Keras and in Verax, from the same initial weights, trained on the same batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import verax
from tests.oracle import oracle

Build = Callable[[Any], Any]


def rows(n: int = 20, features: int = 4, seed: int = 0) -> np.ndarray:
    """Float32 rows."""
    return np.random.default_rng(seed).normal(size=(n, features)).astype("float32")


def twins(build: Build, shape: Any = None) -> tuple[Any, Any]:
    """``build(keras)`` and ``build(verax)``, compiled by it, with Keras' initial weights in both.

    Args:
        build: Makes and compiles a model out of ``layers``, ``Sequential``, ``Model``, ... of the module it is given.
        shape: For models that have no Input, the shape of rows to call them on.
    """
    with oracle() as keras:
        keras.utils.set_random_seed(1)
        theirs = build(keras)
        if shape is not None:
            theirs(np.zeros(shape, "float32"))
        weights = theirs.get_weights()
    ours = build(verax)
    if shape is not None:
        ours.build((None, *shape[1:]))
    ours.set_weights(weights)
    return theirs, ours


def fit_both(models: tuple[Any, Any], *data: Any, **arguments: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The histories of both, shuffle off. Data may be a function: what it returns is passed, to each its own."""
    theirs, ours = models

    def fresh(which: Any) -> tuple[list[Any], dict[str, Any]]:
        def made(value: Any) -> Any:
            return value(which) if callable(value) else value

        return [made(d) for d in data], {k: made(v) for k, v in arguments.items()}

    with oracle() as keras:
        args, kwargs = fresh(keras)
        expected = theirs.fit(*args, shuffle=False, verbose=0, **kwargs).history
    args, kwargs = fresh(verax)
    found = ours.fit(*args, shuffle=False, verbose=0, **kwargs).history
    return expected, found


def same_history(expected: dict[str, Any], found: dict[str, Any], *, rtol: float = 1e-5) -> None:
    """Equal names, equal numbers: to 1e-5 in the first two epochs, to 1e-4 later."""
    assert set(found) == set(expected)
    for name, numbers in expected.items():
        np.testing.assert_allclose(found[name][:2], numbers[:2], rtol=rtol, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(found[name], numbers, rtol=max(rtol, 1e-4), atol=1e-6, err_msg=name)


def same_weights(models: tuple[Any, Any], *, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """Equal weights, in the same order."""
    theirs, ours = models
    expected = theirs.get_weights()
    assert len(ours.get_weights()) == len(expected)
    for variable, value, wanted in zip(ours.weights, ours.get_weights(), expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=rtol, atol=atol, err_msg=variable.path)


def same_answers(models: tuple[Any, Any], x: Any, y: Any, *, rtol: float = 1e-5, **arguments: Any) -> None:
    """Equal ``evaluate`` and ``predict``."""
    theirs, ours = models
    with oracle():
        expected = theirs.evaluate(x, y, verbose=0, return_dict=True, **arguments)
        predicted = theirs.predict(x, verbose=0)
    found = ours.evaluate(x, y, verbose=0, return_dict=True, **arguments)
    assert set(found) == set(expected)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=max(rtol, 1e-4), atol=1e-6, err_msg=name)
    own = ours.predict(x, verbose=0)
    wanted, have = _leaves(predicted), _leaves(own)
    assert type(own) is type(predicted)
    assert len(have) == len(wanted)
    for a, b in zip(have, wanted, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def _leaves(structure: Any) -> list[Any]:
    if isinstance(structure, dict):
        return [structure[key] for key in sorted(structure)]
    return list(structure) if isinstance(structure, (list, tuple)) else [structure]
