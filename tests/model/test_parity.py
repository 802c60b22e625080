"""``fit``, ``evaluate`` and ``predict`` against real Keras: same initial weights, same batches, same numbers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from tests.model.twins import fit_both, rows, same_answers, same_history, same_weights, twins
from tests.oracle import oracle
from verax.errors import VeraxWarning


def check(build, x, y, *, shape=None, rtol=1e-5, **arguments):
    """Train both twins; their histories, weights, evaluations and predictions are equal."""
    models = twins(build, shape)
    arguments.setdefault("epochs", 4)
    arguments.setdefault("batch_size", 4)  # 20 rows: 5 steps an epoch, 20 steps in all
    expected, found = fit_both(models, x, y, **arguments)
    same_history(expected, found, rtol=rtol)
    same_weights(models)
    same_answers(models, x, y)
    return models, expected


def mlp(lib, optimizer, *, loss="mse", units=1, last=None, **compiled):
    layers = lib.layers
    model = lib.Sequential(
        [lib.Input((4,)), layers.Dense(6, activation="relu"), layers.Dense(units, activation=last, name="out")]
    )
    model.compile(optimizer=optimizer(lib.optimizers), loss=loss, **compiled)
    return model


OPTIMIZERS = {
    "sgd": lambda o: o.SGD(0.05, momentum=0.9, nesterov=True),
    "adam": lambda o: o.Adam(0.01),
    "rmsprop": lambda o: o.RMSprop(0.01, momentum=0.5),
    "adamw clipnorm": lambda o: o.AdamW(0.01, weight_decay=0.02, clipnorm=0.5),
    "scheduled": lambda o: o.SGD(o.schedules.ExponentialDecay(0.1, 5, 0.5, staircase=True), global_clipnorm=1.0),
    "averaged": lambda o: o.Adam(0.01, use_ema=True, ema_momentum=0.8),
    "accumulating": lambda o: o.SGD(0.05, gradient_accumulation_steps=2),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_regression(name):
    x = rows(20)
    y = x[:, :1] * 2 - x[:, 1:2] ** 2
    # The short last batch of 18 rows is of 2: losses are row means, metrics too.
    check(lambda lib: mlp(lib, OPTIMIZERS[name], metrics=["mae"]), x[:18], y[:18])


def test_binary_classifier_with_metrics():
    x = rows(20)
    y = (x[:, :1] + 0.3 * x[:, 1:2] > 0).astype("float32")

    def build(lib):
        m = lib.metrics
        metrics = ["accuracy", m.AUC(name="auc", num_thresholds=50), m.Precision(name="p"), m.Recall(name="r"), "mse"]
        return mlp(lib, lambda o: o.Adam(0.05), loss="binary_crossentropy", last="sigmoid", metrics=metrics)

    check(build, x, y, validation_data=(x[:7], y[:7]))


@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "categorical_crossentropy", "crossentropy"])
def test_softmax_classifier(loss):
    x, labels = rows(20), np.arange(20) % 3
    y = labels if loss.startswith("sparse") else np.eye(3, dtype="float32")[labels]

    def build(lib):
        return mlp(lib, lambda o: o.Adam(0.05), loss=loss, units=3, last="softmax", metrics=["acc"])

    check(build, x, y)


def test_logits_and_label_smoothing():
    x, y = rows(20), np.eye(3, dtype="float32")[np.arange(20) % 3]

    def build(lib):
        loss = lib.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
        return mlp(lib, lambda o: o.Adam(0.05), loss=loss, units=3, metrics=["accuracy"])

    check(build, x, y)


def test_convnet():
    x, y = np.random.default_rng(0).normal(size=(12, 6, 6, 2)).astype("float32"), np.arange(12) % 3

    def build(lib):
        layers = lib.layers
        model = lib.Sequential(
            [
                lib.Input((6, 6, 2)),
                layers.Conv2D(4, 3, padding="same", activation="relu"),
                layers.BatchNormalization(momentum=0.8),
                layers.MaxPooling2D(2),
                layers.Conv2D(3, 2, use_bias=False),
                layers.BatchNormalization(),
                layers.Activation("relu"),
                layers.Dropout(0.0),
                layers.GlobalAveragePooling2D(),
                layers.Dense(3, activation="softmax"),
            ]
        )
        # Not Adam: a weight that the normalization after it makes useless has a gradient of rounding errors alone.
        model.compile(lib.optimizers.SGD(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    check(build, x, y, epochs=5, validation_data=(x[:5], y[:5]))


def reader(lib, *, sequences=False):
    layers = lib.layers
    model = lib.Sequential(
        [
            lib.Input((5,), dtype="int32"),
            layers.Embedding(7, 3, mask_zero=True),
            layers.LSTM(4, return_sequences=sequences),
            layers.Dense(1),
        ]
    )
    model.compile("sgd", "mse", metrics=["mae"], weighted_metrics=["mse"])
    return model


TOKENS = np.array(
    [[1, 2, 3, 0, 0], [4, 5, 6, 1, 2], [3, 0, 0, 0, 0], [2, 2, 1, 0, 0], [6, 5, 4, 3, 2], [1, 0, 0, 0, 0]]
)


def test_masked_reader():
    check(reader, TOKENS, rows(6, 1), batch_size=3)


def test_masked_sequences_in_one_batch():
    # In one batch a mean over tokens is the same in both; across batches see test_differences.py.
    models = twins(lambda lib: reader(lib, sequences=True))
    expected, found = fit_both(models, TOKENS, rows(6, 5)[..., None], batch_size=6, epochs=4)
    same_history({"loss": expected["loss"]}, {"loss": found["loss"]})
    same_weights(models)


def test_regularizers_and_constraints():
    def build(lib):
        layers, r, c = lib.layers, lib.regularizers, lib.constraints
        model = lib.Sequential(
            [
                lib.Input((4,)),
                layers.Dense(6, "relu", kernel_regularizer=r.L2(0.1), kernel_constraint=c.MaxNorm(0.7)),
                layers.Dense(5, "tanh", bias_regularizer=r.L1(0.3), activity_regularizer=r.L2(0.05)),
                layers.Dense(1, kernel_constraint=c.NonNeg()),
            ]
        )
        model.compile(lib.optimizers.SGD(0.1), "mse")
        return model

    x = rows(20)
    # 18 rows: the last batch is of 2, so how penalties are averaged over batches shows.
    check(build, x[:18], x[:18, :1], validation_data=(x, x[:, :1]))


def test_sample_weight():
    x, weight = rows(20), np.linspace(0.1, 4, 20).astype("float32")
    y = x[:, :1] * 2

    def build(lib):
        return mlp(lib, lambda o: o.SGD(0.02), metrics=["mae"], weighted_metrics=["mse"])

    models, _ = check(build, x[:18], y[:18], sample_weight=weight[:18], validation_data=(x, y, weight))
    same_answers(models, x, y, sample_weight=weight)


def test_class_weight():
    x, y = rows(20), np.arange(20) % 3

    def build(lib):
        loss = "sparse_categorical_crossentropy"
        return mlp(lib, lambda o: o.Adam(0.05), loss=loss, units=3, last="softmax", weighted_metrics=["accuracy"])

    check(build, x, y, class_weight={0: 1.0, 1: 7.0, 2: 0.5}, validation_data=(x, y))


def branches(lib, **compiled):
    layers = lib.layers
    a, b = lib.Input((4,), name="a"), lib.Input((3,), name="b")
    shared = layers.Dense(5, activation="tanh", name="shared")
    left = shared(layers.Dense(5, name="from_a")(a))
    right = shared(layers.Dense(5, name="from_b")(b))
    both = layers.Concatenate(name="both")([left, right, left * 2 + 1])
    number = layers.Dense(1, name="number")(layers.BatchNormalization(name="norm")(both))
    kind = layers.Dense(3, activation="softmax", name="kind")(layers.Add(name="sum")([left, right]))
    model = lib.Model([a, b], [number, kind])
    model.compile(lib.optimizers.Adam(0.02), **compiled)
    return model


TWO_IN = {"a": rows(20), "b": rows(20, 3, seed=5)}
TWO_OUT = {"number": TWO_IN["a"][:, :1] * 2, "kind": np.arange(20) % 3}
LOSSES = {"number": "mse", "kind": "sparse_categorical_crossentropy"}


@pytest.mark.parametrize("form", ["dicts", "lists"])
def test_many_inputs_and_outputs(form):
    if form == "dicts":
        arguments = {"loss_weights": {"number": 0.3, "kind": 2.0}, "metrics": {"kind": ["accuracy"], "number": "mae"}}
        x, y, loss = TWO_IN, TWO_OUT, LOSSES
    else:
        arguments = {"loss_weights": [0.3, 2.0], "metrics": [["mae"], ["accuracy"]]}
        x, y, loss = list(TWO_IN.values()), list(TWO_OUT.values()), list(LOSSES.values())
    models = twins(lambda lib: branches(lib, loss=loss, **arguments))
    expected, found = fit_both(models, x, y, epochs=3, batch_size=8, validation_data=(x, y))
    assert set(found) == set(expected)
    same_history({k: expected[k] for k in sorted(expected)}, {k: found[k] for k in sorted(found)})
    same_weights(models)


def test_weights_are_listed_in_keras_order():
    theirs, ours = twins(lambda lib: branches(lib, loss=LOSSES))
    assert [v.path for v in ours.weights] == [v.path for v in theirs.weights]
    assert [v.path for v in ours.trainable_weights] == [v.path for v in theirs.trainable_weights]


def test_nested_models():
    def build(lib):
        layers = lib.layers
        inner = lib.Sequential([lib.Input((4,)), layers.Dense(3, "relu"), layers.BatchNormalization()], name="inner")
        x = lib.Input((4,))
        again = lib.Model(x, layers.Dense(2, name="d")(inner(x)), name="again")
        y = lib.Input((4,))
        model = lib.Model(y, layers.Dense(1)(layers.Add()([again(y), again(y * 0.5)])))
        model.compile("sgd", "mse")
        return model

    check(build, rows(20), rows(20, 1, seed=2))


def test_subclassed_model():
    def build(lib):
        class Block(lib.layers.Layer):
            def __init__(self, units):
                super().__init__()
                self.dense = lib.layers.Dense(units, activation="relu")
                self.norm = lib.layers.BatchNormalization()

            def call(self, x):
                return self.norm(self.dense(x))

        class Net(lib.Model):
            def __init__(self):
                super().__init__()
                self.blocks = [Block(5), Block(3)]
                self.head = lib.layers.Dense(1)

            def call(self, x, training=None):  # without it Keras trains in inference mode: see test_differences.py
                for block in self.blocks:
                    x = block(x, training=training)
                return self.head(x)

        model = Net()
        model.compile("sgd", "mse", metrics=["mae"])
        return model

    models = twins(build, shape=(1, 4))
    x, y = rows(20), rows(20, 1, seed=2)
    same_history(*fit_both(models, x, y, epochs=3, batch_size=5))
    same_weights(models)


@pytest.mark.parametrize(
    "arguments",
    [
        {"validation_split": 0.3, "batch_size": 4},
        {"validation_split": 0.3, "batch_size": 4, "validation_batch_size": 5, "validation_freq": 2},
        {"validation_data": "rows", "validation_freq": [1, 4], "batch_size": 4},
        {"initial_epoch": 2, "batch_size": 4},
        {"steps_per_epoch": 2, "batch_size": 4, "validation_data": "rows", "validation_steps": 1},
        {"steps_per_epoch": 5, "batch_size": 4},
    ],
    ids=lambda a: ",".join(a),
)
def test_arguments_of_fit(arguments, pair):
    x, y = rows(20), rows(20, 1, seed=2)
    if arguments.get("validation_data"):
        arguments = {**arguments, "validation_data": (x[:9], y[:9])}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VeraxWarning)  # 5 batches in passes of 2: both say that data ran out
        same_history(*fit_both(pair, x, y, epochs=4, **arguments))
    same_weights(pair)


@pytest.fixture(scope="module")
def shared_pair():
    return twins(lambda lib: mlp(lib, OPTIMIZERS["sgd"], metrics=["mae"]))


@pytest.fixture
def pair(shared_pair):
    """Twins that start from new, equal weights and without momentum."""
    theirs, ours = shared_pair
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=w.shape).astype("float32") for w in ours.get_weights()]
    with_state = theirs.optimizer
    theirs.set_weights(weights)
    ours.set_weights(weights)
    for variable in with_state.variables:
        if "learning_rate" not in variable.path:
            variable.assign(np.zeros(variable.shape, variable.dtype))
    ours._model.compiled.opt_state = None
    return shared_pair


def batches(x, y, size=5):
    for start in range(0, len(x), size):
        yield x[start : start + size], y[start : start + size]


def test_generator(pair):
    x, y = rows(18), rows(18, 1, seed=2)
    same_history(*fit_both(pair, lambda _: batches(x, y), epochs=1))

    def endless(_):
        while True:
            yield from batches(x, y)

    same_history(*fit_both(pair, endless, epochs=3, steps_per_epoch=4, validation_data=(x, y)))
    same_weights(pair)


def test_py_dataset(pair):
    x, y = rows(18), rows(18, 1, seed=2)

    def dataset(lib):
        class Rows(lib.utils.PyDataset):
            def __len__(self):
                return 4

            def __getitem__(self, i):
                return x[5 * i : 5 * i + 5], y[5 * i : 5 * i + 5], np.arange(len(x[5 * i : 5 * i + 5])) + 1.0

        return Rows()

    same_history(*fit_both(pair, dataset, epochs=3, validation_data=dataset))
    same_weights(pair)


def test_on_batch(pair):
    theirs, ours = pair
    x, y = rows(6), rows(6, 1, seed=2)
    for _ in range(3):
        with oracle():
            theirs.reset_metrics()  # they accumulate over calls
            expected = {k: float(v) for k, v in theirs.train_on_batch(x, y, return_dict=True).items()}
        assert ours.train_on_batch(x, y, return_dict=True) == pytest.approx(expected, rel=1e-5)
    with oracle():
        theirs.reset_metrics()
        tested, predicted = theirs.test_on_batch(x, y), theirs.predict_on_batch(x)
    np.testing.assert_allclose(ours.test_on_batch(x, y), tested, rtol=1e-5)
    np.testing.assert_allclose(ours.predict_on_batch(x), predicted, rtol=1e-5)
    same_weights(pair)


def test_frozen_layers_between_fits():
    def build(lib):
        layers = lib.layers
        inner = lib.Sequential([lib.Input((4,)), layers.Dense(3, name="d"), layers.BatchNormalization()], name="inner")
        model = lib.Sequential([lib.Input((4,)), inner, layers.Dense(2), layers.Dense(1, name="out")])
        model.compile("sgd", "mse")
        return model

    models = twins(build)
    x, y = rows(20), rows(20, 1, seed=2)
    same_history(*fit_both(models, x, y, epochs=2, batch_size=5))
    for model in models:
        model.layers[0].trainable = False
        model.compile("sgd", "mse")
    frozen = models[1].layers[0].get_weights()
    same_history(*fit_both(models, x, y, epochs=2, batch_size=5))
    for before, after in zip(frozen, models[1].layers[0].get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    for model in models:
        model.layers[0].trainable = True
        model.layers[1].trainable = False
        model.compile("sgd", "mse")
    same_history(*fit_both(models, x, y, epochs=2, batch_size=5))
    same_weights(models)
    assert [len(m.trainable_weights) for m in models] == [6, 6]
