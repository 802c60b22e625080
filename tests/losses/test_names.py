"""Losses by name, and their configurations."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle import oracle
from verax import losses
from verax.errors import InputError, UnknownNameError

CLASSES = [getattr(losses, n) for n in losses.__all__ if n[0].isupper() and n not in ("Loss", "LossFunctionWrapper")]


def test_every_public_name_exists():
    assert len(set(losses.__all__)) == len(losses.__all__)
    assert all(hasattr(losses, name) for name in losses.__all__)


def test_every_keras_name_of_a_loss_we_have_is_known():
    with oracle() as keras:
        theirs = keras.src.losses.ALL_OBJECTS_DICT
    ours = {name for name, entry in theirs.items() if entry.__name__ in losses.__all__}
    ours -= {"Loss", "LossFunctionWrapper"}
    assert {"mse", "MSE", "bce", "kld", "Huber", "huber"} <= ours
    for name in ours:
        assert isinstance(losses.get(name), losses.Loss)
        assert type(losses.get(name)).__name__.lower() == theirs[name].__name__.replace("_", "").lower()


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_configurations_restore_the_loss(cls):
    loss = cls(reduction="sum")
    again = losses.deserialize(losses.serialize(loss))
    assert type(again) is cls
    assert again.get_config() == loss.get_config()
    with oracle() as keras:
        theirs = getattr(keras.losses, cls.__name__)()
        assert cls().name == theirs.name
        assert set(theirs.get_config()) <= set(loss.get_config())
        getattr(keras.losses, cls.__name__).from_config(loss.get_config())


def test_arguments_are_attributes():
    loss = losses.Huber(delta=3.0)
    assert loss.delta == 3.0
    assert losses.BinaryFocalCrossentropy(gamma=1.0).gamma == 1.0
    with pytest.raises(AttributeError, match="Huber has no attribute 'gamma'"):
        loss.gamma


def test_get():
    loss = losses.Poisson()
    assert losses.get(loss) is loss
    assert losses.get(None) is None
    assert losses.get("mse").name == "mse"
    assert losses.get("MeanSquaredError").name == "mean_squared_error"
    assert isinstance(losses.get(losses.Poisson), losses.Poisson)
    assert isinstance(losses.get(losses.poisson), losses.Poisson)
    assert losses.get({"class_name": "Huber", "config": {"delta": 2.0}}).delta == 2.0
    with pytest.raises(UnknownNameError, match="Did you mean 'mean_squared_error'"):
        losses.get("mean_square_error")


@pytest.mark.parametrize(
    ("y", "pred", "expected"),
    [
        ((8,), (8, 1), "BinaryCrossentropy"),
        ((8, 1), (8, 1), "BinaryCrossentropy"),
        ((8,), (8, 3), "SparseCategoricalCrossentropy"),
        ((8, 1), (8, 3), "SparseCategoricalCrossentropy"),
        ((8, 3), (8, 3), "CategoricalCrossentropy"),
        ((8, 5), (8, 5, 3), "SparseCategoricalCrossentropy"),
    ],
)
@pytest.mark.parametrize("name", ["crossentropy", "ce"])
def test_the_form_of_a_crossentropy_follows_the_shapes_as_in_keras(name, y, pred, expected):
    assert type(losses.resolve(name, y, pred)).__name__ == expected
    with oracle():
        from keras.src.trainers.compile_utils import get_loss

        theirs = get_loss(name, jnp.zeros(y), jnp.zeros(pred))
    assert theirs.fn.__name__.replace("_", "") == expected.lower()
    assert type(losses.resolve("mse", y, pred)) is losses.MeanSquaredError


def scaled(y_true, y_pred, scale=1.0):
    return scale * jnp.mean(jnp.abs(y_true - y_pred), axis=-1)


def test_a_user_function_is_restored_from_custom_objects():
    loss = losses.LossFunctionWrapper(scaled, name="mine", scale=3.0)
    config = losses.serialize(loss)
    again = losses.deserialize(config, custom_objects={"scaled": scaled})
    assert float(again(np.zeros((2, 1)), np.ones((2, 1)))) == 3.0
    assert again.name == "mine"
    with pytest.raises(InputError, match="custom_objects="):
        losses.deserialize(config)
