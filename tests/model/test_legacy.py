"""Keras' older ``.h5`` files: real Keras writes them, Verax reads them."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

import verax
from tests.oracle import oracle
from verax import layers
from verax.errors import DataError, InputError, UnknownNameError, VeraxError, VeraxWarning
from verax.model.legacy import load_model, load_weights
from verax.model.legacy_writing import save_model

RNG = np.random.default_rng(3)


def random(*shape):
    return RNG.normal(size=shape).astype("float32")


def stirred(model):
    """Random weights, positive ones where they are variances."""
    rng = np.random.default_rng(4)
    for v in model.weights:
        if "seed" not in v.path:
            value = rng.normal(size=v.shape).astype("float32") * 0.4
            v.assign(np.abs(value) + 0.5 if "variance" in v.path else value)
    return model


# ---- whole models of Keras 3 -----------------------------------------------------------------------------------------


def sequential(keras, L):
    return keras.Sequential(
        [keras.Input((6,)), L.Dense(5, "relu", kernel_regularizer="l2"), L.Dropout(0.5), L.Dense(2, "softmax")]
    ), [random(3, 6)]


def convolutions(keras, L):
    return keras.Sequential(
        [
            keras.Input((9, 8, 3)), L.Conv2D(4, 3, padding="same", use_bias=False), L.BatchNormalization(), L.ReLU(6.0),
            L.DepthwiseConv2D(3, depth_multiplier=2), L.SeparableConv2D(5, 3, activation="swish"), L.MaxPooling2D(2),
            L.Conv2DTranspose(3, 2, 2), L.GroupNormalization(3), L.LeakyReLU(0.1), L.ZeroPadding2D(((1, 0), (2, 1))),
            L.GlobalAveragePooling2D(), L.LayerNormalization(), L.Dense(2, kernel_initializer="he_normal"),
        ]
    ), [random(2, 9, 8, 3)]  # fmt: skip


def recurrences(keras, L):
    return keras.Sequential(
        [
            keras.Input((7, 3)), L.Bidirectional(L.LSTM(4, return_sequences=True)), L.GRU(5, return_sequences=True),
            L.GRU(3, reset_after=False, return_sequences=True), L.TimeDistributed(L.Dense(4, "tanh")),
            L.RNN(L.LSTMCell(3), return_sequences=True), L.Conv1D(2, 3, padding="causal"), L.SimpleRNN(2),
        ]
    ), [random(2, 7, 3)]  # fmt: skip


def embedding(keras, L):
    x = keras.Input((5,), dtype="int32")
    y = L.LSTM(3)(L.Embedding(9, 4, mask_zero=True)(x))
    return keras.Model(x, L.Dense(1, "sigmoid")(y)), [RNG.integers(0, 9, (4, 5)).astype("int32")]


def attention(keras, L):
    x = keras.Input((5, 8))
    y = L.LayerNormalization()(L.Add()([x, L.MultiHeadAttention(2, 4)(x, x)]))
    y = L.Dense(8)(L.EinsumDense("abc,cd->abd", (None, 6), activation="gelu", bias_axes="d")(y))
    return keras.Model(x, L.GlobalMaxPooling1D()(L.Attention()([y, x]))), [random(2, 5, 8)]


def several(keras, L):
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    y = L.Concatenate()([L.Dense(5)(a), L.Dense(5, "elu")(b)])
    return keras.Model([a, b], [L.Dense(2, name="one")(y), L.Dense(1, name="two")(y)]), [random(3, 4), random(3, 3)]


def shared(keras, L):
    a, b, dense = keras.Input((4,)), keras.Input((4,)), L.Dense(3, "tanh")
    return keras.Model([a, b], L.Subtract()([dense(L.Dense(4)(a)), dense(b)])), [random(3, 4), random(3, 4)]


def nested(keras, L):
    inner_in = keras.Input((6,))
    inner = keras.Model(inner_in, L.BatchNormalization()(L.Dense(4)(inner_in)), name="inner")
    body = keras.Sequential([keras.Input((4,)), L.Dense(6), inner], name="body")
    x = keras.Input((4,))
    return keras.Model(x, L.Multiply()([body(x), inner(L.Dense(6)(x))])), [random(3, 4)]


def ends_in_a_model(keras, L):
    start = keras.Input((4,))
    inner = keras.Model(start, L.Dense(3)(start), name="inner")
    x = keras.Input((4,))
    return keras.Model(x, [inner(x), inner(L.Dense(4)(x))]), [random(3, 4)]


def frozen(keras, L):
    model = keras.Sequential(
        [keras.Input((4,)), L.Dense(3), L.BatchNormalization(trainable=False), L.Dense(3, trainable=False), L.Dense(2)]
    )
    return model, [random(3, 4)]


def frozen_inside(keras, L):
    body = keras.Sequential([keras.Input((4,)), L.Dense(3), L.BatchNormalization(), L.Dense(3)], name="body")
    body.layers[0].trainable = False
    x = keras.Input((4,))
    return keras.Model(x, L.Dense(2)(body(x))), [random(3, 4)]


def operations(keras, L):
    x = keras.Input((5, 4))
    y = keras.ops.mean(x * 2.0 + 1.0, axis=1)
    return keras.Model(x, L.Dense(2)(keras.ops.concatenate([y, keras.ops.max(x, axis=1)], axis=-1))), [random(3, 5, 4)]


def augmented(keras, L):
    return keras.Sequential(
        [keras.Input((6, 6, 1)), L.Rescaling(1 / 255), L.RandomFlip(), L.GaussianNoise(0.1), L.Flatten(), L.PReLU(),
         L.Reshape((4, 9)), L.Permute((2, 1)), L.UnitNormalization(), L.Flatten(), L.Dense(2)]
    ), [random(2, 6, 6, 1)]  # fmt: skip


MODELS = [
    sequential, convolutions, recurrences, embedding, attention, several, shared, nested, ends_in_a_model, frozen,
    frozen_inside, operations, augmented,
]  # fmt: skip


def written(make, path, compiled=False):
    with oracle() as keras:
        model, x = make(keras, keras.layers)
        stirred(model)
        if compiled:
            model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"])
            model.fit(x[0], np.ones((len(x[0]), 2)), epochs=2, verbose=0)
        x = x if len(x) > 1 else x[0]
        model.save(path)
        y = model.predict(x, verbose=0)
        more = [model.evaluate(x, y * 0, verbose=0)] if compiled else []
    return x, y if isinstance(y, list) else [y], *more


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_a_whole_model_of_keras(make, tmp_path):
    x, expected = written(make, tmp_path / "m.h5")
    model = load_model(tmp_path / "m.h5")
    got = model.predict(x, verbose=0)
    for one, two in zip(got if isinstance(got, (list, tuple)) else [got], expected, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)
    before = [w.copy() for w in model.get_weights()]
    for v in model.variables:
        v.assign(v * 0)
    load_weights(model, tmp_path / "m.h5")
    for one, two in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_compiled_as_it_was(tmp_path):
    x, expected, theirs = written(sequential, tmp_path / "m.h5", compiled=True)
    model = load_model(tmp_path / "m.h5")
    assert type(model.optimizer).__name__ == "Adam"
    assert model.learning_rate == pytest.approx(0.01)
    assert model.evaluate(x, expected[0] * 0, verbose=0) == pytest.approx(theirs, rel=1e-5)
    assert load_model(tmp_path / "m.h5", compile=False).optimizer is None


@pytest.mark.parametrize("optimizer", ["Adam", "SGD", "RMSprop", "AdamW", "Adagrad"])
def test_training_goes_on(optimizer, tmp_path):
    """The optimizer's state comes with the model: the next step is the one Keras takes."""
    arguments = {"momentum": 0.9} if optimizer == "SGD" else {}
    x, y = random(8, 4), random(8, 2)
    with oracle() as keras:
        L = keras.layers
        theirs = keras.Sequential([keras.Input((4,)), L.Dense(3, "tanh"), L.Dense(2)])
        theirs.compile(getattr(keras.optimizers, optimizer)(0.05, **arguments), "mean_squared_error")
        theirs.fit(x, y, epochs=3, batch_size=8, shuffle=False, verbose=0)
        theirs.save(tmp_path / "m.h5")
        theirs.fit(x, y, epochs=2, batch_size=8, shuffle=False, verbose=0)
        expected = theirs.get_weights()
    model = load_model(tmp_path / "m.h5")
    assert model.steps_trained == 3
    model.fit(x, y, epochs=2, batch_size=8, shuffle=False, verbose=0)
    for one, two in zip(expected, model.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, rtol=2e-5, atol=2e-6)


def test_a_class_of_ones_own(tmp_path):
    with oracle() as keras:

        @keras.saving.register_keras_serializable("mine")
        class Scale(keras.layers.Layer):
            def __init__(self, by, **kwargs):
                super().__init__(**kwargs)
                self.by = by

            def build(self, shape):
                self.s = self.add_weight(shape=(shape[-1],), name="s")

            def call(self, x):
                return x * self.s * self.by

            def get_config(self):
                return {**super().get_config(), "by": self.by}

    class Ours(verax.Layer):
        def __init__(self, by, **kwargs):
            super().__init__(**kwargs)
            self.by = by

        def build(self, shape):
            self.s = self.add_weight((shape[-1],), name="s")

        def call(self, x):
            return x * self.s.value[None] * self.by

    x, expected = written(
        lambda keras, L: (keras.Sequential([keras.Input((3,)), Scale(2.0), L.Dense(1)]), [random(2, 3)]),
        tmp_path / "m.h5",
    )
    with pytest.raises(UnknownNameError, match="Scale"):
        load_model(tmp_path / "m.h5")
    for name in ("Scale", "mine>Scale"):
        model = load_model(tmp_path / "m.h5", custom_objects={name: Ours})
        np.testing.assert_allclose(model.predict(x, verbose=0), expected[0], rtol=1e-5, atol=1e-6)


def test_a_lambda_is_not_run(tmp_path):
    def make(keras, L):
        triple = L.Lambda(lambda x: x * 3.0, name="triple")
        return keras.Sequential([keras.Input((3,)), triple, L.Dense(1)]), [random(2, 3)]

    path = tmp_path / "m.h5"
    x, expected = written(make, path)
    with pytest.raises(InputError, match=r"Lambda layer 'triple'[\s\S]*bytecode[\s\S]*custom_objects=\{'triple'"):
        load_model(path)
    model = load_model(path, custom_objects={"triple": lambda x: x * 3.0})
    np.testing.assert_allclose(model.predict(x, verbose=0), expected[0], rtol=1e-5, atol=1e-6)
    model = load_model(path, safe_mode=False)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected[0], rtol=1e-5, atol=1e-6)


# ---- files of weights ------------------------------------------------------------------------------------------------


def keras_weights(model, path, pieces=False):
    """A file of weights alone, as ``save_weights("x.h5")`` of Keras 2 made them."""
    with h5py.File(path, "w") as file:
        if pieces:
            for i, layer in enumerate(model.layers):
                file.attrs[f"layer_names{i}"] = [layer.name.encode()]
        else:
            file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.9.0"
        for layer in model.layers:
            group = file.create_group(layer.name)
            weights = layer.trainable_weights + layer.non_trainable_weights
            names = [f"{layer.name}/{w.name}:0".encode() for w in weights]
            group.attrs["weight_names"] = names
            for name, w in zip(names, weights, strict=True):
                group.create_dataset(name.decode(), data=np.asarray(w))


def ours(units=3, names=("a", "n", "b"), last=2):
    return verax.Sequential(
        [
            verax.Input((4,)),
            layers.Dense(units, name=names[0]),
            layers.BatchNormalization(name=names[1]),
            layers.ReLU(),
            layers.Dense(last, name=names[2]),
        ]
    )


@pytest.mark.parametrize("pieces", [False, True])
def test_weights_by_order(pieces, tmp_path):
    first, second = ours(), ours(names=("x", "y", "z"))
    keras_weights(first, tmp_path / "w.h5", pieces)
    load_weights(second, tmp_path / "w.h5")
    for one, two in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_weights_by_name_and_what_does_not_fit(tmp_path):
    """Keras does the same with the same files."""
    saved = ours()
    keras_weights(saved, tmp_path / "w.h5")
    other = ours(names=("a", "other", "b"), last=5)
    before = [w.copy() for w in other.get_weights()]
    with pytest.raises(DataError, match=r"'b/kernel:0' of shape \(3, 2\) for 'b/kernel'"):
        load_weights(other, tmp_path / "w.h5", by_name=True)
    for was, now in zip(before, other.get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)
    with pytest.warns(VeraxWarning, match="left as they are") as caught:
        load_weights(other, tmp_path / "w.h5", by_name=True, skip_mismatch=True)
    assert len(caught) == 2
    with oracle() as keras:
        L = keras.layers
        theirs = keras.Sequential(
            [
                keras.Input((4,)),
                L.Dense(3, name="a"),
                L.BatchNormalization(name="other"),
                L.ReLU(),
                L.Dense(5, name="b"),
            ]
        )
        theirs.set_weights(before)
        theirs.load_weights(tmp_path / "w.h5", by_name=True, skip_mismatch=True)
        expected = theirs.get_weights()
    for one, two in zip(expected, other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    for was, now in zip(before[2:], other.get_weights()[2:], strict=True):
        np.testing.assert_array_equal(was, now)


def test_skip_mismatch_by_order(tmp_path):
    saved, other = ours(), ours(last=5)
    keras_weights(saved, tmp_path / "w.h5")
    with pytest.warns(VeraxWarning) as caught:
        load_weights(other, tmp_path / "w.h5", skip_mismatch=True)
    assert [str(w.message).split("has ")[1][:10] for w in caught] == ["'b/kernel:", "'b/bias:0'"]
    for one, two in zip(saved.get_weights()[:6], other.get_weights()[:6], strict=True):
        np.testing.assert_array_equal(one, two)


def test_other_numbers_of_layers_and_weights(tmp_path):
    saved = ours()
    keras_weights(saved, tmp_path / "w.h5")
    fewer = verax.Sequential([verax.Input((4,)), layers.Dense(3, name="a"), layers.Dense(2, name="b")])
    with pytest.raises(DataError, match=r"3 layers with weights[\s\S]*the model has 2[\s\S]*'b' in the model, 'n' in"):
        load_weights(fewer, tmp_path / "w.h5")
    more = verax.Sequential([verax.Input((4,)), layers.Dense(3, use_bias=False, name="a")])
    with pytest.raises(DataError, match=r"2 weights for 'a'[\s\S]*it has 1: a/kernel"):
        load_weights(more, tmp_path / "w.h5", by_name=True)
    with pytest.warns(VeraxWarning, match="2 weights for 'a'"):
        load_weights(more, tmp_path / "w.h5", by_name=True, skip_mismatch=True)


def test_weights_of_the_model_itself(tmp_path):
    with oracle() as keras:

        class Theirs(keras.Model):
            def __init__(self):
                super().__init__()
                self.dense = keras.layers.Dense(2)
                self.scale = self.add_weight(shape=(2,), initializer="ones", name="scale")

            def call(self, x):
                return self.dense(x) * self.scale

        theirs = Theirs()
        x = random(2, 3)
        theirs(x)
        stirred(theirs)
        with h5py.File(tmp_path / "w.h5", "w") as file:
            keras.src.legacy.saving.legacy_h5_format.save_weights_to_hdf5_group(file, theirs)
        expected = theirs.predict(x, verbose=0)

    class Ours(verax.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2)
            self.scale = self.add_weight((2,), "ones", name="scale")

        def call(self, x):
            return self.dense(x) * self.scale.value[None]

    model = Ours()
    model(x)
    load_weights(model, tmp_path / "w.h5")
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-5)


def test_a_file_of_weights_is_no_model(tmp_path):
    keras_weights(ours(), tmp_path / "w.h5")
    with pytest.raises(DataError, match="it holds weights only"):
        load_model(tmp_path / "w.h5")


# ---- files that are damaged ------------------------------------------------------------------------------------------


def broken(path, how):
    with h5py.File(path, "r+") as file:
        how(file)


@pytest.mark.parametrize(
    ("how", "match"),
    [
        (lambda f: f.__delitem__("b"), "lists 'b', and has no group"),
        (lambda f: f["b"].__delitem__("b/bias:0"), "lists the weight 'b/bias:0' of 'b'"),
        (lambda f: f.attrs.__delitem__("layer_names"), "no list of layers"),
        (lambda f: f.attrs.__setitem__("layer_names", [b"\xff\xfe"]), "has no group"),
        (lambda f: f["b"].__setitem__("b/link", h5py.ExternalLink("/etc/passwd", "/")), "link to another file"),
        (lambda f: f["b"].attrs.__setitem__("weight_names", [b"b/kernel:0"]), "1 weights for 'b'"),
    ],
)
def test_a_damaged_file_changes_nothing(how, match, tmp_path):
    model = ours()
    keras_weights(ours(), tmp_path / "w.h5")
    broken(tmp_path / "w.h5", how)
    before = model.get_weights()
    with pytest.raises(DataError, match=match):
        load_weights(model, tmp_path / "w.h5")
    for was, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)


def test_any_bytes_changed_and_any_length(tmp_path):
    """Read or refused: never another error, and never a part of a file."""
    path = tmp_path / "m.h5"
    written(sequential, path, compiled=True)
    whole, rng, refused = path.read_bytes(), np.random.default_rng(11), 0
    model = load_model(path, compile=False)
    zeros = [w * 0 for w in model.get_weights()]
    for n in range(300):
        damaged = bytearray(whole)
        if n % 4 == 0:
            del damaged[int(rng.integers(len(whole))) :]
        for _ in range(0 if n % 4 == 0 else 1 + 8 * (n % 5)):
            damaged[int(rng.integers(len(damaged)))] = int(rng.integers(256))
        path.write_bytes(damaged)
        model.set_weights(zeros)
        try:
            load_weights(model, path)
        except VeraxError:
            refused += 1
            assert all(not w.any() for w in model.get_weights())
    assert refused > 90


def test_any_configuration_changed(tmp_path):
    """What a configuration says is used or refused, whatever a file makes of it."""
    path = tmp_path / "m.h5"
    written(nested, path)
    with h5py.File(path) as file:
        whole = file.attrs["model_config"]
    rng, refused = np.random.default_rng(12), 0
    for n in range(60):
        text = list(whole)
        for _ in range(1 + n % 5):
            if n % 2:
                text[int(rng.integers(len(text)))] = chr(int(rng.integers(32, 127)))
            else:  # a value gone, or another in its place
                config = json.loads("".join(text))
                _bend(config, rng)
                text = list(json.dumps(config))
        broken(path, lambda file, text=text: file.attrs.__setitem__("model_config", "".join(text)))
        try:
            load_model(path)
        except VeraxError:
            refused += 1
    assert refused > 20


def _bend(config, rng):
    """Put nonsense somewhere into a configuration."""
    while True:
        keys = list(config) if isinstance(config, dict) else list(range(len(config)))
        key = keys[int(rng.integers(len(keys)))]
        inner = config[key]
        if isinstance(inner, (dict, list)) and len(inner) and rng.random() < 0.85:
            config = inner
            continue
        nonsense = [None, -1, 2.5, "x", [], {}, ["x", 0, 0], {"class_name": "Dense"}, {"class_name": "x", "config": {}}]
        config[key] = nonsense[int(rng.integers(len(nonsense)))]
        return


# ---- files of ours -------------------------------------------------------------------------------------------------


OURS = [sequential, attention, several, shared, nested, frozen_inside]


@pytest.mark.parametrize("make", OURS, ids=lambda make: make.__name__)
def test_keras_reads_what_verax_writes(make, tmp_path):
    _, x = make(verax, layers)
    verax.utils.clear_session()
    model = stirred(make(verax, layers)[0])
    x = x if len(x) > 1 else x[0]
    y = model.predict(x, verbose=0)
    model.compile("adam", "mse", metrics=["mae"] if make is sequential else None)
    if make is sequential:
        model.fit(x, y, verbose=0)
    save_model(model, tmp_path / "m.h5")
    got = model.predict(x, verbose=0)
    with oracle() as keras:
        theirs = keras.models.load_model(tmp_path / "m.h5")
        expected = theirs.predict(x, verbose=0)
        if make is sequential:  # Keras sets no more of the state than this
            assert int(theirs.optimizer.iterations) == 1
    again = load_model(tmp_path / "m.h5")
    assert again.steps_trained == model.steps_trained
    for one, two in zip(_slots(model), _slots(again), strict=True):
        np.testing.assert_array_equal(one, two)
    outputs = [p if isinstance(p, list) else [p] for p in (got, expected, again.predict(x, verbose=0))]
    for one, two, three in zip(*outputs, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(one, three, rtol=1e-5, atol=1e-5)


def _slots(model):
    order = [v.path for v in model.trainable_variables]
    state = model._model.compiled.opt_state
    return [] if state is None else model.optimizer.to_variables(state, order)


def test_long_lists_of_names_are_kept_in_pieces(tmp_path):
    long = "x" * 3000
    model = verax.Sequential([verax.Input((2,)), *(layers.Dense(2, name=f"{long}{i}") for i in range(25))])
    save_model(model, tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5") as file:
        assert "layer_names1" in file["model_weights"].attrs
    again = load_model(tmp_path / "m.h5")
    for one, two in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
