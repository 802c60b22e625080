"""Progbar, Config, dtypes, source inputs, batches, and the switch for those who do not watch."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import verax
from tests.oracle import oracle
from verax import utils
from verax.errors import FrozenError, InputError, UnknownNameError


@pytest.mark.parametrize(
    "arguments", [{}, {"stateful_metrics": ["b"]}, {"stateless_metrics": ["b"]}, {"target": None}, {"unit_name": "row"}]
)
def test_progbar_keeps_the_means_keras_keeps(arguments, capsys):
    steps = [(2, [("a", 1.0), ("b", 4.0)]), (3, [("a", 7.0), ("b", 1.0)]), (6, [("a", 2.0), ("b", 3.0)])]
    with oracle() as keras:
        theirs = keras.utils.Progbar(**{"target": 6, "verbose": 0, **arguments})
        for current, values in steps:
            theirs.update(current, values)
    expected = {
        name: held[0] / max(held[1], 1) if isinstance(held, list) else held for name, held in theirs._values.items()
    }
    ours = utils.Progbar(**{"target": 6, "verbose": 2, **arguments})
    for current, values in steps:
        ends = current == 6 and ours.target is not None  # Keras takes the last values as they are then
        ours.update(current, values, finalize=ends)
    assert ours.values == pytest.approx(expected)
    out = capsys.readouterr().out
    assert (
        ours.target is None
        or f"/{arguments.get('unit_name', 'step')} - a: {expected['a']:.4f} - b: {expected['b']:.4f}" in out
    )


def test_progbar_adds_and_is_silent_when_asked(capsys):
    bar = utils.Progbar(4, verbose=0)
    bar.add(1, [("a", 2.0)])
    bar.add(3, [("a", 4.0)])
    assert bar.values == {"a": 3.5}
    assert capsys.readouterr().out == ""
    with pytest.raises(InputError, match="one of them"):
        utils.Progbar(4, stateful_metrics=["a"], stateless_metrics=["b"])


def test_auto_is_a_line_an_epoch_where_nobody_watches(capsys):
    assert utils.is_interactive_logging_enabled()
    assert verax.config.is_interactive_logging_enabled()
    model = verax.Sequential([verax.Input((2,)), verax.layers.Dense(1)])
    model.compile("sgd", "mse")
    seen = []

    class Verbosity(verax.callbacks.Callback):
        def on_train_begin(self, logs=None):
            seen.append(self.params["verbose"])

    verax.config.disable_interactive_logging()
    try:
        model.fit(np.ones((4, 2)), np.ones(4), callbacks=[Verbosity()])
    finally:
        utils.enable_interactive_logging()
    model.fit(np.ones((4, 2)), np.ones(4), callbacks=[Verbosity()], verbose="auto")
    assert seen == [2, 1]
    assert "loss" in capsys.readouterr().out


def test_config_does_what_keras_does():
    def run(k):
        config = k.utils.Config(a=1, b={"c": 2})
        config.d = 3
        config["e"] = 4
        config.update(f=5)
        config.pop("a")
        del config["e"]
        left = config.get("nothing", 9)
        config.freeze()
        return config.as_dict(), config.to_json(), list(config), len(config), "d" in config, left, config.frozen

    with oracle() as keras:
        expected = run(keras)
    assert run(verax) == expected


def test_config_refuses():
    config = utils.Config(rate=0.1)
    with pytest.raises(AttributeError, match="Did you mean 'rate'"):
        config.rat
    config.freeze()
    for change in (lambda: setattr(config, "rate", 1), lambda: config.update(rate=1), lambda: config.pop("rate")):
        with pytest.raises(FrozenError, match="frozen"):
            change()
    config.unfreeze()
    config.rate = 1
    assert repr(config) == "<Config {'rate': 1}>"


@pytest.mark.parametrize(
    "dtype",
    [None, "float16", "bfloat16", np.int8, np.dtype("uint16"), jnp.float32, bool, int, float, "int", str],
    ids=str,
)
def test_dtypes_are_named_as_in_keras(dtype):
    with oracle() as keras:
        expected = keras.utils.standardize_dtype(dtype)
    assert utils.standardize_dtype(dtype) == expected


def test_what_is_no_dtype_is_refused():
    for name in ("float33", "float"):
        with pytest.raises(UnknownNameError, match=name):
            utils.standardize_dtype(name)
    with pytest.raises(UnknownNameError):
        utils.standardize_dtype(np.dtype("datetime64[s]"))


def test_source_inputs_and_symbolic_tensors():
    def run(k):
        a, b, c = (k.Input((3,), name=n) for n in "abc")
        z = k.layers.Add()([k.layers.Dense(3)(b), a * 2.0, k.layers.Concatenate()([b, c])[:, :3]])
        found = [t.name for t in k.utils.get_source_inputs(z)]
        return found, k.utils.is_keras_tensor(z), k.utils.is_keras_tensor(np.ones(2))

    with oracle() as keras:
        expected = run(keras)
    found = run(verax)
    assert sorted(found[0]) == sorted(expected[0])
    assert found[1:] == expected[1:] == (True, False)
    with pytest.raises(InputError, match="Input"):
        utils.get_source_inputs(np.ones(2))


@pytest.mark.parametrize("given", [(1,), (1, 2), (1, 2, 3), ([1], None, None), (1, None, 3)])
def test_batches_are_packed_and_unpacked_as_in_keras(given):
    with oracle() as keras:
        expected = keras.utils.pack_x_y_sample_weight(*given)
        back = keras.utils.unpack_x_y_sample_weight(expected)
    assert utils.pack_x_y_sample_weight(*given) == expected
    assert utils.unpack_x_y_sample_weight(expected) == back
    with pytest.raises(InputError, match="tuple of 4"):
        utils.unpack_x_y_sample_weight((1, 2, 3, 4))
