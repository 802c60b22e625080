"""A person's own objects in configurations: registered, in a scope, or passed; against real Keras."""

from __future__ import annotations

import json

import jax.numpy as jnp
import numpy as np
import pytest

import verax
from tests.oracle import oracle
from verax import layers, saving
from verax.errors import InputError, UnknownNameError


@saving.register_keras_serializable("tests")
class Scale(verax.Layer):
    """Times a number."""

    def __init__(self, factor=2.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        return self.factor * x


class Wrap(verax.Layer):
    """A layer around a layer; not registered."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def call(self, x):
        return self.inner(x)


@saving.register_keras_serializable("tests", name="thrice")
def times_three(x):
    return 3 * x


def times_four(x):
    return 4 * x


def test_names_are_those_keras_gives():
    with oracle() as keras:

        @keras.saving.register_keras_serializable("tests")
        class Theirs(keras.layers.Layer):
            pass

        @keras.saving.register_keras_serializable("tests", name="thrice")
        def their_three(x):
            return 3 * x

        names = [keras.saving.get_registered_name(o) for o in (Theirs, their_three, times_four)]
        said = keras.saving.serialize_keras_object(their_three)
    assert names == ["tests>Theirs", "tests>thrice", "times_four"]
    assert saving.get_registered_name(Scale) == "tests>Scale"
    assert saving.get_registered_name(times_three) == "tests>thrice"
    assert saving.get_registered_name(times_four) == "times_four"
    assert saving.get_registered_object("tests>Scale") is Scale
    assert saving.get_registered_object("nothing") is None
    assert saving.get_registered_object("a", {"a": 1}) == saving.get_registered_object("a", None, {"a": 1}) == 1
    ours = saving.serialize_keras_object(times_three)
    assert {k: ours[k] for k in ("class_name", "config", "registered_name")} == {
        k: said[k] for k in ("class_name", "config", "registered_name")
    }


def test_a_registered_layer_and_function_go_through_json():
    model = verax.Sequential([verax.Input((3,)), Scale(3.0), layers.Dense(2, activation=times_three)])
    again = verax.models.model_from_json(model.to_json())
    again.set_weights(model.get_weights())
    x = np.ones((2, 3), "float32")
    np.testing.assert_array_equal(again(x), model(x))
    assert again.layers[0].factor == 3.0
    assert again.layers[1].activation is times_three


def test_what_is_not_registered_is_found_in_a_scope_or_when_passed():
    text = verax.Sequential([verax.Input((3,)), layers.Dense(2, activation=times_four)]).to_json()
    with pytest.raises(UnknownNameError, match="times_four"):
        verax.models.model_from_json(text)
    assert verax.models.model_from_json(text, {"times_four": times_four}).layers[0].activation is times_four
    with verax.utils.CustomObjectScope({"times_four": times_four}):
        assert verax.models.model_from_json(text).layers[0].activation is times_four
    with pytest.raises(UnknownNameError):
        verax.models.model_from_json(text)


def test_scopes_nest_and_the_global_table_is_the_table():
    with saving.custom_object_scope({"a": 1, "b": 1}):
        with saving.custom_object_scope({"a": 2}):
            assert (saving.get_registered_object("a"), saving.get_registered_object("b")) == (2, 1)
        assert saving.get_registered_object("a") == 1
    assert saving.get_registered_object("a") is None
    table = saving.get_custom_objects()
    table["mine"] = times_four
    try:
        assert verax.activations.get("mine") is times_four
    finally:
        del table["mine"]


def test_own_parts_by_name():
    with saving.custom_object_scope({"four": times_four, "Scale4": Scale}):
        assert layers.Dense(2, activation="four").activation is times_four
        assert isinstance(layers.deserialize({"class_name": "Scale4", "config": {"factor": 1.0}}), Scale)
    assert layers.deserialize(saving.serialize_keras_object(Scale(5.0))).factor == 5.0


def test_a_layer_within_a_layer_is_made_anew():
    outer = Wrap(Scale(4.0))
    config = outer.get_config()
    assert config["inner"]["registered_name"] == "tests>Scale"
    again = Wrap.from_config(config)
    assert again.inner is not outer.inner
    assert again.inner.factor == 4.0


def test_a_class_without_configuration_is_refused():
    with pytest.raises(InputError, match="no get_config"):

        @saving.register_keras_serializable()
        class Bare:
            pass


# ---- configurations of any object ------------------------------------------------------------------------------------

PLAIN = {
    "none": None,
    "number": 1.5,
    "text": "a",
    "nested": {"a": [1, (2, 3)], "b": True},
    "slice": slice(1, None, 2),
    "ellipsis": ...,
    "bytes": b"abc",
    "array": np.arange(6.0).reshape(2, 3),
    "integers": np.arange(3),
    "scalar": np.float32(2.5),
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_objects_have_keras_form_and_come_back(name):
    value = PLAIN[name]
    with oracle() as keras:
        expected = keras.saving.serialize_keras_object(value)
    found = saving.serialize_keras_object(value)
    assert found == expected
    again = saving.deserialize_keras_object(found)
    assert type(again) is type(value) or name == "scalar"
    np.testing.assert_equal(again, value)


def test_a_jax_array_has_keras_form():
    with oracle() as keras:
        expected = keras.saving.serialize_keras_object(jnp.ones((2, 2), "bfloat16"))
    found = saving.serialize_keras_object(jnp.ones((2, 2), "bfloat16"))
    assert found == expected
    again = saving.deserialize_keras_object(found)
    assert (again.dtype, again.shape) == (jnp.bfloat16, (2, 2))


PARTS = {
    "loss": lambda k: k.losses.Huber(delta=0.5),
    "metric": lambda k: k.metrics.SparseTopKCategoricalAccuracy(k=3),
    "optimizer": lambda k: k.optimizers.Adam(0.25),
    "schedule": lambda k: k.optimizers.schedules.ExponentialDecay(0.5, 10, 0.5),
    "initializer": lambda k: k.initializers.Constant(0.5),
    "regularizer": lambda k: k.regularizers.L2(0.25),
    "constraint": lambda k: k.constraints.MaxNorm(2),
    "policy": lambda k: k.DTypePolicy("mixed_bfloat16"),
    "layer": lambda k: k.layers.Dense(3, activation="relu", kernel_regularizer="l2"),
    "function": lambda k: k.activations.relu,
}


@pytest.mark.parametrize("name", PARTS)
def test_parts_go_both_ways(name):
    ours = PARTS[name](verax)
    said = json.loads(json.dumps(saving.serialize_keras_object(ours)))
    with oracle() as keras:
        theirs = PARTS[name](keras)
        expected = json.loads(json.dumps(keras.saving.serialize_keras_object(theirs)))
        back = keras.saving.deserialize_keras_object(said)
        if name != "function":
            ours_there = keras.saving.serialize_keras_object(back)["config"]
            for config in (ours_there, expected["config"]):
                config.pop("name", None)
            assert json.loads(json.dumps(ours_there)) == expected["config"]
        assert type(back) is type(theirs)
    assert (said["module"], said["class_name"]) == (expected["module"], expected["class_name"])
    again = saving.deserialize_keras_object(expected)
    assert type(again) is type(ours)
    if name == "function":
        assert again is ours


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: saving.serialize_keras_object(lambda x: x), "lambda"),
        (lambda: saving.serialize_keras_object(object()), "no get_config"),
        (lambda: saving.deserialize_keras_object({"class_name": "__lambda__", "config": {}}), "bytecode"),
        (lambda: saving.deserialize_keras_object(
            {"module": "keras.layers", "class_name": "Dens", "config": {}, "registered_name": None}), "Dense"),
        (lambda: saving.deserialize_keras_object(
            {"module": "os", "class_name": "system", "config": {}, "registered_name": None}), "system"),
        (lambda: saving.deserialize_keras_object({}, nonsense=1), "nonsense"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_says_so(make, text):
    with pytest.raises(InputError, match=text):
        make()


def test_module_objects_name_strings():
    assert saving.deserialize_keras_object("Scale", module_objects={"Scale": Scale}).factor == 2.0
    assert saving.deserialize_keras_object("f", module_objects={"f": times_four}) is times_four
    assert saving.deserialize_keras_object("just a string") == "just a string"
