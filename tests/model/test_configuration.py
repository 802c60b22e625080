"""Models as configurations: ours into Keras, Keras' into ours, and back, with equal answers from equal weights."""

from __future__ import annotations

import json

import numpy as np
import pytest

import verax
from tests.oracle import oracle
from verax import layers, models
from verax.errors import GraphError, InputError, UnknownNameError


def shared(k):
    """A layer called three times, functions between, several inputs and outputs in structures."""
    a, b = k.Input((4,), name="a"), k.Input((4,), name="b", dtype="int32")
    dense = k.layers.Dense(3, activation="relu", name="d")
    x, y = dense(a), dense(k.ops.cast(b, "float32"))
    z = k.layers.Concatenate()([x + 2.0 * y, x - y])
    return k.Model({"b": b, "a": a}, [z, dense(k.ops.concatenate([z[:, 1:4], a[:, :1]], axis=-1))], name="shared")


def nested(k):
    """Models in a model: one called twice, of both kinds."""
    i = k.Input((4,))
    inner = k.Model(i, k.layers.BatchNormalization()(k.layers.Dense(4)(i)), name="inner")
    tail = k.Sequential([k.Input((4,)), k.layers.Dense(2), k.layers.ReLU()], name="tail")
    a = k.Input((4,))
    x = inner(a)
    return k.Model(a, [tail(inner(x) + x), inner(x)], name="nested")


def keywords(k):
    """Arguments by name, and one tensor given twice."""
    a = k.Input((5, 4), name="a")
    attention = k.layers.MultiHeadAttention(2, 3, name="m")
    x = attention(a, value=a, key=k.layers.Dense(4)(a))
    x = k.layers.LayerNormalization()(x + a)
    return k.Model(inputs=a, outputs=k.layers.GlobalAveragePooling1D()(x), name="keywords")


def chain(k):
    return k.Sequential(
        [
            k.Input((6, 6, 1)),
            k.layers.Conv2D(3, 3, padding="same", kernel_regularizer="l2"),
            k.layers.BatchNormalization(),
            k.layers.Flatten(),
            k.layers.Dropout(0.5),
            k.layers.Dense(2, activation="softmax"),
        ],
        name="chain",
    )


def inputs_of(model):
    rng = np.random.default_rng(1)

    def one(tensor):
        shape = (3, *tensor.shape[1:])
        if "int" in str(tensor.dtype):
            return rng.integers(0, 5, shape).astype("int32")
        return rng.normal(size=shape).astype("float32")

    given = model.input if hasattr(model, "input") else model.inputs[0]
    return {key: one(t) for key, t in given.items()} if isinstance(given, dict) else one(given)


def answers(model, x):
    found = model.predict(x, verbose=0)
    return list(found) if isinstance(found, (list, tuple)) else [found]


def same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("build", [shared, nested, keywords, chain])
def test_a_model_goes_both_ways_between_keras_and_verax(build):
    ours = build(verax)
    x = inputs_of(ours)
    with oracle() as keras:
        theirs = build(keras)
        rng = np.random.default_rng(0)
        weights = [rng.uniform(0.1, 1.0, w.shape).astype("float32") for w in theirs.get_weights()]
        theirs.set_weights(weights)
        expected, text, names = answers(theirs, x), theirs.to_json(), [layer.name for layer in theirs.layers]
        there = keras.models.model_from_json(ours.to_json())
        there.set_weights(weights)
        same(answers(there, x), expected)
    ours.set_weights(weights)
    same(answers(ours, x), expected)
    for model in (
        models.model_from_json(text),
        models.model_from_json(ours.to_json()),
        type(ours).from_config(ours.get_config()),
        models.clone_model(ours),
        models.clone_model(ours, recursive=True),
    ):
        assert type(model) is type(ours)
        assert model.name == ours.name
        assert not set(map(id, model.weights)) & set(map(id, ours.weights))
        model.set_weights(weights)
        same(answers(model, x), expected)
    assert [layer.name for layer in models.model_from_json(text).layers] == names
    again = models.model_from_json(ours.to_json())
    assert json.loads(again.to_json()) == json.loads(ours.to_json())


OPS = {
    "arithmetic": lambda o, x: (x + 1.0) * x - x / 2.0,
    "negative": lambda o, x: -x,
    "mean": lambda o, x: o.mean(x, axis=1, keepdims=True),
    "sum": lambda o, x: o.sum(x, axis=-1),
    "max": lambda o, x: o.max(x, axis=(1, 2)),
    "reshape": lambda o, x: o.reshape(x, (-1, 12)),
    "transpose": lambda o, x: o.transpose(x, (0, 2, 1)),
    "expand and squeeze": lambda o, x: o.squeeze(o.expand_dims(x, 1), axis=1),
    "stack": lambda o, x: o.stack([x, x], axis=1),
    "softmax": lambda o, x: o.softmax(x, axis=1),
    "leaky": lambda o, x: o.leaky_relu(x, negative_slope=0.3),
    "gelu": lambda o, x: o.gelu(o.silu(x)),
    "clip": lambda o, x: o.clip(x, -0.5, 0.5),
    "where": lambda o, x: o.where(x > 0, x, 2.0 * x),
    "maximum": lambda o, x: o.maximum(x, 0.1),
    "matmul": lambda o, x: o.matmul(x, o.transpose(x, (0, 2, 1))),
    "einsum": lambda o, x: o.einsum("bij,bkj->bik", x, x),
    "pad": lambda o, x: o.pad(x, ((0, 0), (1, 1), (0, 2))),
    "slices": lambda o, x: x[:, ::2, None, -1],
    "ellipsis": lambda o, x: x[..., 1:],
    "power": lambda o, x: o.power(o.abs(x), 2.0) + x**2,
    "split": lambda o, x: o.split(x, 2, axis=1)[1],
    "repeat": lambda o, x: o.repeat(x, 2, axis=1),
    "take": lambda o, x: o.take(x, np.array([0, 2]), axis=1),
    "cast": lambda o, x: o.cast(o.cast(x, "int32"), "float32"),
    "logsumexp": lambda o, x: o.logsumexp(x, axis=1),
    "argmax": lambda o, x: o.cast(o.argmax(x, axis=-1), "float32"),
}


@pytest.mark.parametrize("name", OPS)
def test_functions_in_a_graph_go_both_ways(name):
    def build(k):
        a = k.Input((4, 3), name="a")
        return k.Model(a, OPS[name](k.ops, a))

    ours = build(verax)
    x = inputs_of(ours)
    with oracle() as keras:
        theirs = build(keras)
        expected, text = answers(theirs, x), theirs.to_json()
        same(answers(keras.models.model_from_json(ours.to_json()), x), expected)
    same(answers(models.model_from_json(text), x), expected)
    same(answers(models.model_from_json(ours.to_json()), x), expected)


def test_a_function_keras_has_not_comes_back_to_verax():
    a = verax.Input((4,))
    model = verax.Model(a, verax.ops.log_softmax(verax.ops.soft_sign(a)))
    again = models.model_from_json(model.to_json())
    x = inputs_of(model)
    same(answers(again, x), answers(model, x))


def test_a_sequential_without_input_is_built_where_it_was():
    with oracle() as keras:
        theirs = keras.Sequential([keras.layers.Dense(3), keras.layers.Dense(2)])
        unbuilt = theirs.to_json()
        theirs.build((None, 4))
        built = theirs.to_json()
    assert not models.model_from_json(unbuilt).built
    assert models.model_from_json(built).count_params() == theirs.count_params()
    ours = verax.Sequential([layers.Dense(3)])
    assert not models.model_from_json(ours.to_json()).built
    ours.fit_shape = ours(np.ones((2, 4), "float32"))
    assert models.model_from_json(ours.to_json()).get_config()["layers"][0]["class_name"] == "Dense"


def test_how_it_was_compiled_goes_both_ways():
    def build(k):
        model = chain(k)
        model.compile(
            k.optimizers.SGD(k.optimizers.schedules.ExponentialDecay(0.5, 10, 0.5), momentum=0.9),
            k.losses.CategoricalCrossentropy(label_smoothing=0.1),
            metrics=["accuracy", k.metrics.TopKCategoricalAccuracy(2)],
        )
        return model

    ours = build(verax)
    with oracle() as keras:
        text = build(keras).to_json()
        there = keras.models.model_from_json(ours.to_json())
        assert there.optimizer.momentum == 0.9
        assert there.loss.label_smoothing == 0.1
    again = models.model_from_json(text)
    assert again.compiled
    assert again.optimizer.get_config() == ours.optimizer.get_config()
    assert again.loss.get_config() == ours.loss.get_config()
    x, y = np.ones((4, 6, 6, 1), "float32"), np.eye(2)[[0, 1, 0, 1]]
    again.set_weights(ours.get_weights())
    np.testing.assert_allclose(again.evaluate(x, y, verbose=0), ours.evaluate(x, y, verbose=0), rtol=1e-6)
    assert not models.model_from_json(chain(verax).to_json()).compiled
    assert chain(verax).get_compile_config() == {}


def test_what_was_set_later_is_in_the_configuration():
    model = chain(verax)
    model.layers[0].trainable = False
    again = models.model_from_json(model.to_json())
    assert [layer.trainable for layer in again.layers] == [False, True, True, True, True]
    verax.config.set_dtype_policy("mixed_bfloat16")
    try:
        text = chain(verax).to_json()
    finally:
        verax.config.set_dtype_policy("float32")
    assert models.model_from_json(text).layers[0].compute_dtype == "bfloat16"


def test_a_graph_with_a_missing_part_is_refused():
    config = shared(verax).get_config()
    config["layers"] = [entry for entry in config["layers"] if entry["name"] != "a"]
    with pytest.raises(GraphError, match="nothing makes"):
        verax.Model.from_config(config)
    with pytest.raises(UnknownNameError, match="Dens"):
        models.model_from_json('{"class_name": "Dens", "config": {}}')


# ---- clones ----------------------------------------------------------------------------------------------------------


def test_clone_function_is_called_as_in_keras():
    def run(k):
        seen = []

        def function(layer):
            seen.append(layer.name)
            config = layer.get_config()
            if "units" in config:
                config["activation"] = "tanh"
            return type(layer).from_config(config)

        clone = k.models.clone_model(nested(k), clone_function=function)
        return sorted(n for n in seen if "add" not in n), clone

    with oracle() as keras:
        expected, _ = run(keras)
    found, clone = run(verax)
    assert found == expected
    simple = models.clone_model(chain(verax), clone_function=lambda layer: layer)
    assert simple.layers[0] is not None
    assert clone.name == "nested"


def test_clones_may_share_layers_stand_on_other_inputs_and_have_layers_between():
    model = shared(verax)
    same_layers = models.clone_model(model, clone_function=lambda layer: layer)
    assert [id(w) for w in same_layers.weights] == [id(w) for w in model.weights]

    new = {"a": verax.Input((4,), name="u"), "b": verax.Input((4,), dtype="int32", name="v")}
    other = models.clone_model(model, input_tensors=new)
    assert sorted(t.name for t in other.inputs) == ["u", "v"]
    other.set_weights(model.get_weights())
    x = inputs_of(model)
    same(answers(other, x), answers(model, x))

    calls = []

    def call(layer, *args, **kwargs):
        calls.append(layer.name)
        out = layer(*args, **kwargs)
        return layers.Dropout(0.5)(out) if layer.name == "d" else out

    between = models.clone_model(model, call_function=call)
    assert calls.count("d") == 3
    assert sum(isinstance(layer, layers.Dropout) for layer in between.layers) == 3


def test_a_sequential_clone_on_another_input():
    clone = models.clone_model(chain(verax), input_tensors=verax.Input(batch_shape=(2, 6, 6, 1)))
    assert clone.input_shape == (2, 6, 6, 1)


def test_a_clone_is_compiled_as_its_model_is_with_an_optimizer_of_its_own():
    model = chain(verax)
    model.compile(verax.optimizers.SGD(0.25), "mse", metrics=["mae"])
    clone = models.clone_model(model)
    assert clone.compiled
    assert clone.optimizer is not model.optimizer
    assert clone.optimizer.learning_rate == 0.25


class Own(verax.Model):
    def __init__(self, units=2, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(units)

    def call(self, x):
        return self.dense(x)


def test_a_model_of_ones_own_is_cloned_by_its_configuration():
    model = Own(3)
    model(np.ones((1, 2), "float32"))
    clone = models.clone_model(model)
    assert clone(np.ones((1, 2), "float32")).shape == (1, 3)
    again = models.model_from_json(model.to_json(), {"Own": Own})
    assert again.dense.units == 3


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: models.clone_model(chain(verax), call_function=print), "Sequential"),
        (lambda: models.clone_model(chain(verax), input_tensors=[verax.Input((1,))] * 2), "one input"),
        (lambda: models.clone_model(shared(verax), input_tensors=verax.Input((4,))), "structure"),
        (lambda: models.clone_model(Own(), clone_function=print), "own code"),
    ],
)
def test_what_cannot_be_cloned_says_why(make, text):
    with pytest.raises(InputError, match=text):
        make()


def test_keras_reads_a_rescaling_without_an_offset():
    model = verax.Sequential([verax.Input((2,)), verax.layers.Rescaling(2.0)])
    with oracle() as keras:
        assert keras.models.model_from_json(model.to_json()).layers[-1].offset == 0.0
