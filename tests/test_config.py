"""Settings and what obeys them, `verax.backend`, and blocks in which something holds."""

from __future__ import annotations

import itertools
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import verax
from tests.oracle import oracle
from verax import backend, config, layers
from verax.errors import FrameError, InputError, ShapeError, UnknownNameError, VeraxWarning

X = np.random.default_rng(0).normal(size=(12, 3)).astype("float32")


@pytest.fixture(autouse=True)
def _as_before():
    yield
    config.set_floatx("float32")
    config.set_epsilon(1e-7)
    config.set_image_data_format("channels_last")
    config.set_max_epochs(None)
    config.set_max_steps_per_epoch(None)
    config.enable_flash_attention()
    config.enable_interactive_logging()
    config.enable_traceback_filtering()


def compiled():
    model = verax.Sequential([verax.Input((3,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


#: Names that Keras has in ``config`` and ``backend``, and Verax has not.
MISSING = {"enable_unsafe_deserialization"}  # a setting of saving


@pytest.mark.parametrize("room", ["config", "backend"])
def test_all_names_are_there(room):
    with oracle() as keras:
        theirs = {n for n in dir(getattr(keras, room)) if not n.startswith("_")}
    assert theirs - set(getattr(verax, room).__all__) <= MISSING


@pytest.mark.parametrize(
    ("setter", "value", "error"),
    [
        ("set_floatx", "float31", UnknownNameError),
        ("set_epsilon", 0, InputError),
        ("set_epsilon", "tiny", InputError),
        ("set_image_data_format", "channels", UnknownNameError),
        ("set_max_epochs", 0, InputError),
        ("set_max_steps_per_epoch", 1.5, InputError),
        ("set_backend", "torch", InputError),
    ],
)
def test_a_wrong_value_is_refused_and_changes_nothing(setter, value, error):
    before = (config.floatx(), config.epsilon(), config.image_data_format(), config.max_epochs())
    with pytest.raises(error):
        getattr(config, setter)(value)
    assert before == (config.floatx(), config.epsilon(), config.image_data_format(), config.max_epochs())


def test_there_is_one_backend():
    config.set_backend("jax")
    assert config.backend() == backend.backend() == "jax"
    assert not config.is_nnx_enabled()


def test_fit_and_evaluate_obey_the_most_epochs_and_steps():
    config.set_max_epochs(2)
    config.set_max_steps_per_epoch(3)
    model = compiled()
    with pytest.warns(VeraxWarning) as said:
        history = model.fit(X, X[:, :1], batch_size=2, epochs=5, verbose=0)
    assert {str(w.message) for w in said} == {
        "epochs are limited to 2 by config.set_max_epochs.",
        "steps are limited to 3 by config.set_max_steps_per_epoch.",
    }
    assert len(history.epoch) == 2
    assert history.readings["loss"][0].facts.rows.count == 6
    with pytest.warns(VeraxWarning, match="steps are limited to 3"):
        assert model.predict(X, batch_size=2, verbose=0).shape == (6, 1)
    with pytest.warns(VeraxWarning, match="steps are limited to 3"):
        assert model.measure(X, X[:, :1], batch_size=2)["loss"].facts.rows.count == 6
    model.fit(X, X[:, :1], batch_size=2, epochs=1, steps_per_epoch=2, verbose=0)  # within: nothing is said


def test_what_training_says_can_go_to_a_log(capsys, caplog):
    config.disable_interactive_logging()
    assert not config.is_interactive_logging_enabled()
    with caplog.at_level(logging.INFO, "verax"):
        compiled().fit(X, X[:, :1], epochs=2, verbose=1)
    assert capsys.readouterr().out == ""
    assert sum("Epoch" in r.message for r in caplog.records) == 2
    config.enable_interactive_logging()
    compiled().fit(X, X[:, :1], epochs=2, verbose=1)
    assert "Epoch 2/2" in capsys.readouterr().out


def test_traceback_filtering_is_jaxs():
    config.disable_traceback_filtering()
    assert not config.is_traceback_filtering_enabled()
    assert jax.config.jax_traceback_filtering == "off"
    config.enable_traceback_filtering()
    assert config.is_traceback_filtering_enabled()


def test_flash_attention_can_be_forbidden(monkeypatch):
    from verax.layers import multi_head_attention as room

    monkeypatch.setattr(room, "flash_reason", lambda *_: None)
    x = jnp.ones((1, 2, 1, 8))
    layer = layers.MultiHeadAttention(1, 8)
    assert layer._flash(x, x, None)
    config.disable_flash_attention()
    assert config.is_flash_attention_enabled() is False
    assert not layer._flash(x, x, None)
    assert layers.MultiHeadAttention(1, 8, flash_attention=True)._flash(x, x, None)
    config.enable_flash_attention()
    assert config.is_flash_attention_enabled() is None


DTYPES = ["bool", "int8", "uint8", "int16", "int32", "uint32", "float16", "bfloat16", "float32", int, float, bool]


def test_result_types_as_in_keras():
    for pair in itertools.combinations_with_replacement(DTYPES, 2):
        with oracle() as keras:
            expected = keras.backend.result_type(*pair)
        held = {"int64": "int32"}.get(expected, expected)  # jax has no 64 bits, unless told
        assert backend.result_type(*pair) == held, pair
    assert backend.result_type("int8", "uint8", "float16") == "float16"


@pytest.mark.parametrize(
    "dtype", [None, "int32", np.float32, jnp.bfloat16, float, int, bool, "bool", np.dtype("uint8")]
)
def test_dtypes_as_in_keras(dtype):
    with oracle() as keras:
        expected = keras.backend.standardize_dtype(dtype)
        kinds = keras.backend.is_float_dtype(expected), keras.backend.is_int_dtype(expected)
    assert backend.standardize_dtype(dtype) == expected
    assert (backend.is_float_dtype(dtype), backend.is_int_dtype(dtype)) == kinds


def test_older_names_say_what_to_do():
    with pytest.raises(AttributeError, match="training=None"):
        backend.learning_phase
    with pytest.raises(AttributeError, match=r"Use verax\.ops\.mean\."):
        backend.mean
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        backend.nothing


def test_numbers_for_names():
    backend.clear_session()
    assert [backend.get_uid("a"), backend.get_uid("a"), backend.get_uid("b")] == [1, 2, 1]
    verax.utils.clear_session(free_memory=False)
    assert backend.get_uid("a") == 1
    assert backend.is_keras_tensor(verax.KerasTensor((2, 3)))
    assert verax.KerasTensor((2, 3)).dtype == "float32"
    assert verax.version() == verax.__version__


def test_a_device_by_name():
    for name in ("cpu", "cpu:0", "CPU:0", jax.devices("cpu")[0]):
        with verax.device(name):
            assert next(iter(jnp.ones(2).devices())).platform == "cpu"
    with pytest.raises(UnknownNameError, match="cpu:0"), verax.device("cpu:99"):
        pass
    with pytest.raises(InputError, match="device of jax"):
        verax.device(3)


def test_a_name_scope_names_operations():
    def scoped(x):
        with verax.name_scope("encoder"):
            return x * 2

    assert "encoder" in jax.jit(scoped).lower(1.0).as_text(debug_info=True)
    with pytest.raises(InputError, match="a name is a string"):
        verax.name_scope("")


def test_a_stateless_scope_keeps_nothing():
    layer = layers.BatchNormalization()
    layer(X)
    gamma, mean = layer.gamma, layer.moving_mean
    with verax.StatelessScope([(gamma, 2 * np.ones(3))]) as scope:
        y = layer(X, training=True)
        inside = mean.numpy()
    np.testing.assert_allclose(y, 2 * (X - X.mean(0)) / np.sqrt(X.var(0) + 1e-3), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(scope.get_current_value(mean), inside)
    assert not np.allclose(inside, 0)
    np.testing.assert_array_equal(mean, np.zeros(3))
    np.testing.assert_array_equal(gamma, np.ones(3))
    assert scope.get_current_value(layer.beta) is None


def test_a_stateless_scope_inside_jit_and_grad():
    layer = layers.Dense(1)
    layer(X)

    @jax.jit
    @jax.grad
    def gradient(kernel):
        with verax.StatelessScope([(layer.kernel, kernel)]):
            return jnp.sum(layer(X))

    np.testing.assert_allclose(gradient(jnp.ones((3, 1))), X.sum(0)[:, None], rtol=1e-4, atol=1e-5)
    assert isinstance(layer.kernel.value, jax.Array)
    with pytest.raises(FrameError, match="outside of a frame"):
        jax.jit(layer.kernel.assign)(jnp.ones((3, 1)))
    before = layer.kernel.numpy()
    with pytest.raises(ShapeError, match="was assigned"):
        verax.StatelessScope([(layer.kernel, np.ones(3))])
    with pytest.raises(InputError, match="begin with a variable"):
        verax.StatelessScope([("kernel", np.ones(3))])
    np.testing.assert_array_equal(layer.kernel, before)


def test_epsilon_reaches_losses_metrics_and_constraints_as_in_keras():
    y, p = np.float32([[1, 0, 0], [0, 2, 0]]), np.float32([[0.9999, 0.0, 0.0001], [0, 1, 0]])
    parts = {
        "losses": ["mean_absolute_percentage_error", "mean_squared_logarithmic_error", "poisson", "kl_divergence",
                   "binary_crossentropy", "categorical_crossentropy", "cosine_similarity"],
    }  # fmt: skip

    def run(k):
        found = [np.asarray(getattr(k.losses, name)(y / 2, p)) for name in parts["losses"]]
        found.append(np.asarray(k.losses.Dice(axis=(0, 1))(y / 2, p)))
        score = k.metrics.F1Score(threshold=0.5)
        score.update_state(np.float32([[1, 0], [0, 1]]), np.float32([[0.9, 0.8], [0.1, 0.2]]))
        found.append(np.asarray(score.result()))
        found.append(np.asarray(k.constraints.UnitNorm()(np.float32([[0.01], [0.0]]))))
        return found

    with oracle() as keras:
        before = keras.config.epsilon()
        keras.config.set_epsilon(1e-2)
        try:
            expected = run(keras)
        finally:
            keras.config.set_epsilon(before)
    usual = run(verax)
    config.set_epsilon(1e-2)
    try:
        found = run(verax)
    finally:
        config.set_epsilon(before)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)
    assert sum(not np.allclose(a, b, rtol=1e-4) for a, b in zip(found, usual, strict=True)) >= 7
