"""Files of Keras 1 and 2, made by hand in the forms those versions wrote, beside the same models made in Keras 3."""

from __future__ import annotations

import json

import h5py
import jax.numpy as jnp
import numpy as np
import pytest

import verax
from tests.oracle import oracle
from verax import layers
from verax.errors import DataError, InputError, UnknownNameError, VeraxWarning
from verax.model.legacy import load_model

RNG = np.random.default_rng(8)


def random(*shape):
    return RNG.normal(size=shape).astype("float32")


def written(path, config, weights, version="2.2.4", training=None, optimizer=None):
    """A whole-model file: ``weights`` is layer -> arrays, in the model's order."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = version.encode(), b"tensorflow"
        file.attrs["model_config"] = json.dumps(config).encode()
        if training is not None:
            file.attrs["training_config"] = json.dumps(training).encode()
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in weights]
        group.attrs["keras_version"], group.attrs["backend"] = version.encode(), b"tensorflow"
        for name, arrays in weights.items():
            layer = group.create_group(name)
            names = [f"{name}/weight_{i}:0" for i in range(len(arrays))]
            layer.attrs["weight_names"] = [n.encode() for n in names]
            for n, array in zip(names, arrays, strict=True):
                layer.create_dataset(n, data=array)
        if optimizer is not None:
            group = file.create_group("optimizer_weights")
            group.attrs["weight_names"] = [n.encode() for n in optimizer]
            for n, array in optimizer.items():
                group.create_dataset(n, data=array)
    return path


GLOROT = {"class_name": "VarianceScaling", "config": {
    "scale": 1.0, "mode": "fan_avg", "distribution": "uniform", "seed": None, "dtype": "float32"}}  # fmt: skip
ZEROS = {"class_name": "Zeros", "config": {"dtype": "float32"}}
ONES = {"class_name": "Ones", "config": {}}
PARTS = {
    "kernel_initializer": GLOROT, "bias_initializer": ZEROS, "kernel_regularizer": None, "bias_regularizer": None,
    "activity_regularizer": None, "kernel_constraint": None, "bias_constraint": None,
}  # fmt: skip


def entry(kind, name, **config):
    return {"class_name": kind, "config": {"name": name, "trainable": True, "dtype": "float32", **config}}


def dense(name, units, activation="linear", **config):
    return entry("Dense", name, units=units, activation=activation, use_bias=True, **PARTS, **config)


def conv(name, filters, **config):
    return entry(
        "Conv2D", name, filters=filters, kernel_size=[3, 3], strides=[1, 1], padding="valid",
        data_format="channels_last", dilation_rate=[1, 1], activation="relu", use_bias=True, **PARTS, **config,
    )  # fmt: skip


def norm(name, **config):
    return entry(
        "BatchNormalization", name, momentum=0.99, epsilon=0.001, center=True, scale=True, beta_initializer=ZEROS,
        gamma_initializer=ONES, moving_mean_initializer=ZEROS, moving_variance_initializer=ONES, beta_regularizer=None,
        gamma_regularizer=None, beta_constraint=None, gamma_constraint=None, **config,
    )  # fmt: skip


def node(*places):
    return [[name, call, index, {}] for name, call, index in places]


def of_keras(make, weights, x):
    """What Keras 3 predicts with the same layers, made by hand, and the same weights."""
    with oracle() as keras:
        model = make(keras, keras.layers)
        model.set_weights([w for arrays in weights.values() for w in arrays])
        return model.predict(x, verbose=0)


# ---- Sequential ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["list", "dict"])
def test_sequential(form, tmp_path):
    """A list of layers until Keras 2.2.2, a dict since."""
    parts = [
        conv("c", 4, batch_input_shape=[None, 6, 6, 2]),
        norm("n", **({"axis": [3], "fused": None, "virtual_batch_size": None} if form == "list" else {"axis": -1})),
        entry("LeakyReLU", "l", alpha=0.25),
        entry("MaxPooling2D", "p", pool_size=[2, 2], padding="valid", strides=[2, 2], data_format="channels_last"),
        entry("SpatialDropout2D", "s", rate=0.5, noise_shape=None, seed=None),
        entry("Flatten", "f", data_format="channels_last"),
        dense("d", 3, "softmax"),
    ]  # fmt: skip
    config = {
        "class_name": "Sequential",
        "config": parts if form == "list" else {"name": "sequential_1", "layers": parts},
    }
    weights = {"c": [random(3, 3, 2, 4), random(4)], "n": [random(4), random(4), random(4), random(4) ** 2],
               "d": [random(16, 3), random(3)]}  # fmt: skip
    everything = {part["config"]["name"]: weights.get(part["config"]["name"], []) for part in parts}
    model = load_model(written(tmp_path / "m.h5", config, everything))
    x = random(2, 6, 6, 2)

    def make(keras, L):
        parts = [L.Conv2D(4, 3, activation="relu"), L.BatchNormalization(), L.LeakyReLU(0.25), L.MaxPooling2D()]
        return keras.Sequential([keras.Input((6, 6, 2)), *parts, L.Flatten(), L.Dense(3, "softmax")])

    np.testing.assert_allclose(model.predict(x, verbose=0), of_keras(make, weights, x), rtol=1e-5, atol=1e-6)
    assert model.get_layer("c").name == "c"
    assert model.name == ("sequential_1" if form == "dict" else model.name)


def test_an_embedding_at_the_beginning(tmp_path):
    parts = [
        entry(
            "Embedding", "e", batch_input_shape=[None, 5], input_dim=7, output_dim=3, embeddings_initializer=GLOROT,
            embeddings_regularizer=None, activity_regularizer=None, embeddings_constraint=None, mask_zero=False,
            input_length=5,
        ),
        entry("GlobalAveragePooling1D", "g", data_format="channels_last"),
    ]  # fmt: skip
    table = random(7, 3)
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": parts}}
    model = load_model(written(tmp_path / "m.h5", config, {"e": [table], "g": []}))
    x = np.array([[0, 1, 6, 2, 2]])
    np.testing.assert_allclose(model.predict(x, verbose=0), table[x].mean(1), rtol=1e-6)


def recurrent(kind, name, units, **config):
    return entry(
        kind, name, return_sequences=False, return_state=False, go_backwards=False, stateful=False, unroll=False,
        units=units, activation="tanh", recurrent_activation="hard_sigmoid", use_bias=True, implementation=1,
        kernel_initializer=GLOROT,
        recurrent_initializer={"class_name": "Orthogonal", "config": {"gain": 1.0, "seed": None}},
        bias_initializer=ZEROS, kernel_regularizer=None, recurrent_regularizer=None, bias_regularizer=None,
        activity_regularizer=None, kernel_constraint=None, recurrent_constraint=None, bias_constraint=None, dropout=0.0,
        recurrent_dropout=0.0, **config,
    )  # fmt: skip


def test_hard_sigmoid_is_that_of_keras_2(tmp_path):
    """0.2 x + 0.5 between 0 and 1, where Keras 3 has x / 6 + 0.5: the recurrences of Keras 2 had it by default."""
    w, u, b, x = random(3, 16), random(4, 16), random(16), random(2, 5, 3)
    part = recurrent("LSTM", "r", 4, batch_input_shape=[None, 5, 3], unit_forget_bias=True)
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": [part]}}
    model = load_model(written(tmp_path / "m.h5", config, {"r": [w, u, b]}))

    def hard(x):
        return np.clip(0.2 * x + 0.5, 0, 1)

    h = c = np.zeros((2, 4), "float32")
    for t in range(5):
        i, f, g, o = np.split(x[:, t] @ w + h @ u + b, 4, -1)
        c = hard(f) * c + hard(i) * np.tanh(g)
        h = hard(o) * np.tanh(c)
    np.testing.assert_allclose(model.predict(x, verbose=0), h, rtol=1e-5, atol=1e-6)
    again = verax.Sequential.from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_allclose(again.predict(x, verbose=0), h, rtol=1e-5, atol=1e-6)


def test_wrapped_recurrences_with_a_batch_size(tmp_path):
    inner = recurrent("GRU", "g", 3, reset_after=False)
    both = {"class_name": "Bidirectional", "config": {
        "name": "b", "trainable": True, "dtype": "float32", "batch_input_shape": [2, 4, 3], "merge_mode": "concat",
        "layer": {**inner, "config": {**inner["config"], "return_sequences": True}}}}  # fmt: skip
    each = {"class_name": "TimeDistributed", "config": {
        "name": "t", "trainable": True, "dtype": "float32", "layer": dense("inner", 2)}}  # fmt: skip
    weights = {"b": [random(3, 9), random(3, 9), random(9), random(3, 9), random(3, 9), random(9)],
               "t": [random(6, 2), random(2)]}  # fmt: skip
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": [both, each]}}
    model = load_model(written(tmp_path / "m.h5", config, weights))
    assert model.input_shape == (2, 4, 3)
    x = random(2, 4, 3)

    def make(keras, L):
        def hard(x):
            return keras.ops.clip(0.2 * x + 0.5, 0, 1)

        keras.saving.get_custom_objects()["hard"] = hard
        gru = L.GRU(3, recurrent_activation=hard, reset_after=False, return_sequences=True)
        return keras.Sequential([keras.Input((4, 3)), L.Bidirectional(gru), L.TimeDistributed(L.Dense(2))])

    np.testing.assert_allclose(model.predict(x, verbose=0), of_keras(make, weights, x), rtol=1e-5, atol=1e-6)


def test_keras_1(tmp_path):
    """Arguments by the names of 2016."""
    old = {"trainable": True, "W_constraint": None, "b_constraint": None, "W_regularizer": None, "b_regularizer": None,
           "activity_regularizer": None}  # fmt: skip
    parts = [
        {"class_name": "Convolution2D", "config": {
            **old, "name": "c", "batch_input_shape": [None, 5, 5, 2], "input_dtype": "float32", "nb_filter": 3,
            "nb_row": 3, "nb_col": 2, "init": "glorot_uniform", "activation": "relu", "border_mode": "same",
            "dim_ordering": "tf", "bias": True}},
        {"class_name": "BatchNormalization", "config": {
            "name": "n", "trainable": True, "mode": 0, "axis": -1, "epsilon": 0.001, "momentum": 0.99,
            "gamma_regularizer": None, "beta_regularizer": None}},
        {"class_name": "Flatten", "config": {"name": "f", "trainable": True}},
        {"class_name": "Dropout", "config": {"name": "o", "trainable": True, "p": 0.5}},
        {"class_name": "Dense", "config": {
            **old, "name": "d", "output_dim": 2, "input_dim": 75, "init": "uniform", "activation": "sigmoid",
            "bias": True}},
    ]  # fmt: skip
    weights = {"c": [random(3, 2, 2, 3), random(3)], "n": [random(3), random(3), random(3), random(3) ** 2],
               "d": [random(75, 2), random(2)]}  # fmt: skip
    config = {"class_name": "Sequential", "config": parts}
    model = load_model(written(tmp_path / "m.h5", config, weights, version="1.2.2"))
    x = random(2, 5, 5, 2)

    def make(keras, L):
        return keras.Sequential(
            [keras.Input((5, 5, 2)), L.Conv2D(3, (3, 2), padding="same", activation="relu"), L.BatchNormalization(),
             L.Flatten(), L.Dense(2, "sigmoid")]
        )  # fmt: skip

    np.testing.assert_allclose(model.predict(x, verbose=0), of_keras(make, weights, x), rtol=1e-5, atol=1e-6)
    parts[0]["config"]["dim_ordering"] = "th"
    with pytest.raises(InputError, match="dim_ordering='th'"):
        load_model(written(tmp_path / "m.h5", config, weights, version="1.2.2"))


# ---- functional models -----------------------------------------------------------------------------------------------


def start(name, *shape):
    return {**entry("InputLayer", name, batch_input_shape=[None, *shape], sparse=False, ragged=False), "name": name,
            "inbound_nodes": []}  # fmt: skip


def called(part, *nodes):
    return {**part, "name": part["config"]["name"], "inbound_nodes": list(nodes)}


@pytest.mark.parametrize("kind", ["Model", "Functional"])
@pytest.mark.parametrize("flat", [False, True])
def test_functional_with_shared_layers(kind, flat, tmp_path):
    """Calls as lists; of one tensor also without the list around it, as in TensorFlow 2.4 and later."""
    calls = [node(("a", 0, 0)), node(("b", 0, 0))]
    parts = [
        start("a", 4), start("b", 4), called(dense("d", 3, "tanh"), *([c[0] for c in calls] if flat else calls)),
        called(entry("Concatenate", "cat", axis=-1), node(("d", 0, 0), ("d", 1, 0))),
        called(dense("out", 2), node(("cat", 0, 0))),
    ]  # fmt: skip
    ends = {"input_layers": [["a", 0, 0], ["b", 0, 0]], "output_layers": [["out", 0, 0]]}
    config = {"class_name": kind, "config": {"name": "m", "trainable": True, "layers": parts, **ends}}
    weights = {"d": [random(4, 3), random(3)], "out": [random(6, 2), random(2)]}
    model = load_model(written(tmp_path / "m.h5", config, {"a": [], "b": [], "cat": [], **weights}, version="2.9.0"))
    a, b = random(2, 4), random(2, 4)
    (w, u), (v, c) = weights["d"], weights["out"]
    expected = np.concatenate([np.tanh(a @ w + u), np.tanh(b @ w + u)], -1) @ v + c
    np.testing.assert_allclose(model.predict([a, b], verbose=0), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("first", [0, 1])
def test_models_inside(first, tmp_path):
    """Keras 2 counted the calls of a model inside from 1: its own making was call 0. Keras 3 does so for outputs."""
    inner = {"class_name": "Model", "config": {
        "name": "inner", "layers": [start("i", 4), called(dense("d", 4, "tanh"), node(("i", 0, 0)))],
        "input_layers": [["i", 0, 0]], "output_layers": [["d", 0, 0]]}}  # fmt: skip
    parts = [
        start("x", 4), called(inner, node(("x", 0, 0)), node(("inner", first, 0))),
        called(entry("Add", "add"), node(("inner", first, 0), ("inner", first + 1, 0))),
    ]  # fmt: skip
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [["inner", 2, 0], ["add", 0, 0]]}
    config = {"class_name": "Model", "config": {"name": "m", "layers": parts, **ends}}
    w, b, x = random(4, 4), random(4), random(2, 4)
    model = load_model(written(tmp_path / "m.h5", config, {"x": [], "inner": [w, b], "add": []}))
    once = np.tanh(x @ w + b)
    twice = np.tanh(once @ w + b)
    for one, two in zip(model.predict(x, verbose=0), [twice, once + twice], strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_tensors_among_the_keywords(tmp_path):
    """``MultiHeadAttention(q, value=v)`` and ``LSTM(x, initial_state=[h, c])`` of TensorFlow 2; Keras 2 listed all."""
    attend = entry(
        "MultiHeadAttention", "m", num_heads=2, key_dim=3, value_dim=3, dropout=0.0, use_bias=True, output_shape=None,
        attention_axes=None, **PARTS,
    )  # fmt: skip
    state = recurrent("LSTM", "r", 4, unit_forget_bias=True, time_major=False)
    state["config"]["recurrent_activation"] = "sigmoid"
    q, v, x, h, c = random(2, 3, 4), random(2, 5, 4), random(2, 6, 3), random(2, 4), random(2, 4)
    lstm = [random(3, 16), random(4, 16), random(16)]
    mha = [w for _ in "qkv" for w in (random(4, 2, 3), random(2, 3))] + [random(2, 3, 4), random(4)]
    states = [["h", 0, 0], ["c", 0, 0]]
    found = []
    for call in ([["x", 0, 0, {"initial_state": states}]], node(("x", 0, 0), ("h", 0, 0), ("c", 0, 0))):
        parts = [
            start("q", 3, 4), start("v", 5, 4), start("x", 6, 3), start("h", 4), start("c", 4),
            called(attend, [["q", 0, 0, {"value": ["v", 0, 0]}]]), called(state, call),
        ]  # fmt: skip
        ends = {"input_layers": [[n, 0, 0] for n in "qvxhc"], "output_layers": [["m", 0, 0], ["r", 0, 0]]}
        config = {"class_name": "Functional", "config": {"name": "f", "layers": parts, **ends}}
        model = load_model(written(tmp_path / "m.h5", config, {"m": mha, "r": lstm}, version="2.9.0"))
        found.append(model.predict([q, v, x, h, c], verbose=0))

    def make(keras, L):
        inputs = [keras.Input(a.shape[1:]) for a in (q, v, x, h, c)]
        ends = [L.MultiHeadAttention(2, 3)(*inputs[:2]), L.LSTM(4)(inputs[2], initial_state=inputs[3:])]
        return keras.Model(inputs, ends)

    expected = of_keras(make, {"m": mha, "r": lstm}, [q, v, x, h, c])
    for got in found:
        for one, two in zip(got, expected, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)


# ---- how it was compiled ---------------------------------------------------------------------------------------------


def one_dense(path, **further):
    config = {
        "class_name": "Sequential",
        "config": {"name": "s", "layers": [dense("d", 2, batch_input_shape=[None, 3])]},
    }
    return written(path, config, {"d": [random(3, 2), random(2)]}, **further)


@pytest.mark.parametrize(
    ("optimizer", "loss", "metrics", "rate"),
    [
        ({"class_name": "SGD", "config": {"lr": 0.25, "momentum": 0.5, "decay": 0.0, "nesterov": True}},
         "categorical_crossentropy", ["accuracy"], 0.25),
        ({"class_name": "Adam", "config": {"name": "Adam", "learning_rate": 0.5, "decay": 0.0, "beta_1": 0.9,
          "beta_2": 0.999, "epsilon": 1e-07, "amsgrad": False}},
         {"class_name": "MeanSquaredError", "config": {"reduction": "auto", "name": "mean_squared_error"}},
         [[{"class_name": "MeanMetricWrapper",
            "config": {"name": "mae", "dtype": "float32", "fn": "mean_absolute_error"}}]],
         0.5),
        ({"class_name": "RMSprop", "config": {"name": "RMSprop", "learning_rate": 0.125, "decay": 0.0, "rho": 0.9,
          "momentum": 0.0, "epsilon": 1e-07, "centered": False, "is_legacy_optimizer": False, "jit_compile": True}},
         {"class_name": "LossFunctionWrapper", "config": {"name": "mean_absolute_error", "fn": "mean_absolute_error"}},
         None, 0.125),
    ],
)  # fmt: skip
def test_compiled(optimizer, loss, metrics, rate, tmp_path):
    training = {"optimizer_config": optimizer, "loss": loss, "metrics": metrics, "sample_weight_mode": None,
                "loss_weights": None}  # fmt: skip
    model = load_model(one_dense(tmp_path / "m.h5", training=training))
    assert type(model.optimizer).__name__ == optimizer["class_name"]
    assert model.learning_rate == pytest.approx(rate)
    model.fit(random(4, 3), np.eye(2, dtype="float32")[[0, 1, 0, 1]], verbose=0)


def test_decay_of_keras_2(tmp_path):
    """rate / (1 + decay * step)."""
    training = {"optimizer_config": {"class_name": "SGD", "config": {"lr": 0.5, "decay": 0.25}}, "loss": "mse"}
    model = load_model(one_dense(tmp_path / "m.h5", training=training))
    schedule = model.optimizer.get_config()["learning_rate"]
    assert schedule["class_name"] == "InverseTimeDecay"
    rates = verax.optimizers.schedules.deserialize(schedule)
    np.testing.assert_allclose([rates(jnp.int32(n)) for n in (0, 2, 4)], [0.5, 0.5 / 1.5, 0.25])


@pytest.mark.parametrize("kind", ["Adam", "SGD", "RMSprop"])
def test_the_optimizers_state_of_keras_2(kind, tmp_path):
    """``iterations``, then every first slot, then every second: ``Adam/iterations:0``, ``Adam/d/kernel/m:0``, ..."""
    config = {"lr": 0.1, **({"momentum": 0.5} if kind == "SGD" else {})}
    training = {"optimizer_config": {"class_name": kind, "config": config}, "loss": "mse"}
    slots = {"Adam": ["m", "v"], "SGD": ["momentum"], "RMSprop": ["rms"]}[kind]
    kept = {f"{kind}/iterations:0": np.int64(5)}
    for slot in slots:
        kept |= {f"{kind}/d/kernel/{slot}:0": random(3, 2) ** 2, f"{kind}/d/bias/{slot}:0": random(2) ** 2}
    model = load_model(one_dense(tmp_path / "m.h5", training=training, optimizer=kept))
    assert model.steps_trained == 5
    (w, b), x, y = (np.copy(w) for w in model.get_weights()), random(4, 3), random(4, 2)
    error = 2 * (x @ w + b - y) / y.size
    arrays = list(kept.values())[1:]
    expected = []
    for i, (value, gradient) in enumerate([(w, x.T @ error), (b, error.sum(0))]):
        first = arrays[i]
        if kind == "SGD":
            expected.append(value + 0.5 * first - 0.1 * gradient)
        elif kind == "RMSprop":
            expected.append(value - 0.1 * gradient / np.sqrt(0.9 * first + 0.1 * gradient**2 + 1e-7))
        else:
            m, v = 0.9 * first + 0.1 * gradient, 0.999 * arrays[2 + i] + 0.001 * gradient**2
            rate = 0.1 * np.sqrt(1 - 0.999**6) / (1 - 0.9**6)
            expected.append(value - rate * m / (np.sqrt(v) + 1e-7))
    model.fit(x, y, batch_size=4, verbose=0)
    for one, two in zip(expected, model.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)
    kept.pop(f"{kind}/d/bias/{slots[0]}:0")
    with pytest.warns(VeraxWarning, match="begins anew"):
        model = load_model(one_dense(tmp_path / "m.h5", training=training, optimizer=kept))
    assert model.steps_trained == 0


def test_a_loss_of_ones_own(tmp_path):
    training = {"optimizer_config": {"class_name": "SGD", "config": {"lr": 0.5}}, "loss": "my_loss"}
    path = one_dense(tmp_path / "m.h5", training=training)
    with pytest.raises(UnknownNameError, match="my_loss"):
        load_model(path)
    assert load_model(path, compile=False).optimizer is None
    model = load_model(path, custom_objects={"my_loss": lambda y, p: jnp.mean(jnp.abs(y - p), -1)})
    assert np.isfinite(model.evaluate(random(2, 3), random(2, 2), verbose=0))


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "error", "match"),
    [
        (entry("TFOpLambda", "tf.math.add", function="math.add"), UnknownNameError, "TFOpLambda"),
        (entry("Lambda", "l", function=["4wEAAAB=", None, None], function_type="lambda"), InputError, "as bytecode"),
        (entry("Lambda", "l", function="preprocess", function_type="function"), InputError, "function 'preprocess'"),
        (entry("BatchNormalization", "n", axis=-1, renorm=True), InputError, "renorm=True"),
        (dense("d", -3), InputError, "units"),
        ({"class_name": "Dense"}, DataError, "KeyError"),
        ({"class_name": "Dense", "config": 7}, DataError, "configuration"),
        (entry("Dense", "d", units=3, nonsense=1), DataError, "nonsense"),
    ],
)  # fmt: skip
def test_a_configuration_that_cannot_be_used(part, error, match, tmp_path):
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": [start("x", 4), part]}}
    with pytest.raises(error, match=match):
        load_model(written(tmp_path / "m.h5", config, {}))


def test_a_lambda_of_a_function_by_name(tmp_path):
    part = entry("Lambda", "l", function="triple", function_type="function", arguments={"by": 3.0}, module="__main__")
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": [start("x", 4), part]}}
    path = written(tmp_path / "m.h5", config, {"x": [], "l": []})
    model = load_model(path, custom_objects={"triple": lambda x, by: x * by})
    x = random(2, 4)
    np.testing.assert_allclose(model.predict(x, verbose=0), x * 3, rtol=1e-6)


def test_layers_of_ones_own_hold_old_parts(tmp_path):
    class Twice(verax.Layer):
        def __init__(self, inner, **kwargs):
            super().__init__(**kwargs)
            self.inner = inner

        def call(self, x):
            return self.inner(self.inner(x))

    part = entry("Twice", "t", inner=dense("d", 3, "tanh"))
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": [start("x", 3), part]}}
    w, b, x = random(3, 3), random(3), random(2, 3)
    path = written(tmp_path / "m.h5", config, {"t": [w, b]})
    model = load_model(path, custom_objects={"Twice": Twice})
    np.testing.assert_allclose(model.predict(x, verbose=0), np.tanh(np.tanh(x @ w + b) @ w + b), rtol=1e-5, atol=1e-6)
    assert isinstance(model.get_layer("t").inner, layers.Dense)
