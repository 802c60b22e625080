"""check_loss passes for every loss, and finds every fault that is planted."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from tests.losses.test_oracle import CASES
from verax import losses
from verax.testing import CheckError, check_loss


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]} {c[1] or ''}")
def test_every_loss_passes(case):
    name, arguments, target, prediction = case
    y_true, y_pred = target(6, 5, 3), prediction(6, 5, 3)
    check_loss(getattr(losses, name)(**arguments), y_true, y_pred, mixes_rows=name == "Circle")


class Reduced(losses.Loss):
    """Averages over the batch."""

    def call(self, y_true, y_pred):
        return jnp.mean((y_true - y_pred) ** 2)


class Centred(losses.Loss):
    """Compares with the mean of the batch."""

    def call(self, y_true, y_pred):
        return jnp.mean((y_pred - y_pred.mean(axis=0, keepdims=True)) ** 2, axis=-1)


class Endless(losses.Loss):
    """Takes the logarithm of 0."""

    def call(self, y_true, y_pred):
        return -jnp.mean(y_true * jnp.log(y_pred), axis=-1)


class Steep(losses.Loss):
    """Has a finite value and an infinite gradient where a prediction is right."""

    def call(self, y_true, y_pred):
        return jnp.sqrt(jnp.sum((y_true - y_pred) ** 2, axis=-1))


class Conditional(losses.Loss):
    """Decides by a value."""

    def call(self, y_true, y_pred):
        error = jnp.mean(jnp.abs(y_true - y_pred), axis=-1)
        return error if bool(jnp.all(error >= 0)) else -error


class Forgets(losses.Loss):
    """Has a configuration that lacks an argument."""

    def __init__(self, power=1.0, name=None):
        super().__init__(name)
        self.power = power

    def call(self, y_true, y_pred):
        return jnp.mean(jnp.abs(y_true - y_pred) ** self.power, axis=-1)

    def get_config(self):
        return {"name": self.name}


class Weighs(losses.Loss):
    """Does as it likes with weights."""

    def call(self, y_true, y_pred):
        return jnp.mean((y_true - y_pred) ** 2, axis=-1)

    def __call__(self, y_true, y_pred, sample_weight=None, mask=None):
        return self.call(y_true, y_pred).mean()


@pytest.mark.parametrize(
    ("loss", "faults"),
    [
        (Reduced(), ["reduces"]),
        (Centred(), ["rows"]),
        (Endless(), ["finite", "gradient"]),
        (Steep(), ["gradient"]),
        (Conditional(), ["jit"]),
        (Forgets(3.0), ["config"]),
        (Weighs(), ["weights"]),
    ],
    ids=lambda v: getattr(v, "name", ""),
)
def test_a_planted_fault_is_found(loss, faults):
    rng = np.random.default_rng(0)
    y_pred = np.maximum(rng.uniform(-0.2, 1.0, (6, 3)), 0.0).astype("float32")
    y_true = rng.uniform(0.1, 1.0, (6, 3)).astype("float32")
    y_true[2], y_pred[1, 1] = y_pred[2], 0.0
    with pytest.raises(CheckError) as caught:
        check_loss(loss, y_true, y_pred)
    assert set(faults) <= set(caught.value.faults)
    assert next(iter(caught.value.faults)) in faults
