"""A training step is gradient and update; a measuring step changes nothing."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from verax.engine.step import Carry, Constrained, Pass, measure_step, train_step
from verax.errors import StateError
from verax.frame.mode import Mode, ModeMap


def observe(params, state, batch, *, mode, key):
    """(w·x - y)² with a count of passes as state."""
    x, y = batch
    error = params["w"] * x - y
    return jnp.sum(error**2), ({"passes": state["passes"] + 1}, {"errors": jnp.sum(jnp.abs(error))})


class Descent:
    """Gradient descent with a rate of 0.1; its state counts updates."""

    def update(self, grads, opt, params):
        return {k: params[k] - 0.1 * grads[k] for k in params}, opt + 1


def carry():
    return Carry.begin({"w": jnp.float32(2.0)}, {"passes": jnp.float32(0.0)}, jnp.int32(0), 5)


BATCH = (jnp.array([1.0, 2.0]), jnp.array([0.0, 1.0]))
TRAIN = Pass(observe, ModeMap(Mode.TRAIN))


def test_train_step():
    after, tallies = train_step(TRAIN, Descent(), carry(), BATCH, key=jax.random.key(0))
    # d/dw Σ (w x - y)² = Σ 2 x (w x - y) = 2·2 + 2·2·3 = 16 at w = 2
    assert float(after.params["w"]) == pytest.approx(2.0 - 0.1 * 16.0)
    assert (float(after.state["passes"]), int(after.opt), int(after.step)) == (1.0, 1, 6)
    assert float(tallies["errors"]) == 5.0  # before the update


def test_measure_step_changes_nothing():
    before = carry()
    after, tallies = measure_step(Pass(observe, ModeMap(Mode.INFER)), before, BATCH, key=None)
    assert all(a is b for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(before), strict=True))
    assert float(tallies["errors"]) == 5.0


@pytest.mark.parametrize("mode", [ModeMap(Mode.INFER), ModeMap(Mode.INFER, effects={"dropout": Mode.TRAIN})])
def test_parameters_are_not_updated_from_infer(mode):
    with pytest.raises(StateError, match="does not train"):
        train_step(Pass(observe, mode), Descent(), carry(), BATCH, key=jax.random.key(0))


def test_layers_may_infer_in_a_training_pass():
    mode = ModeMap.of("infer", default=Mode.TRAIN)
    assert mode.at("any", "dropout") is Mode.INFER
    after, _ = train_step(Pass(observe, mode), Descent(), carry(), BATCH, key=jax.random.key(0))
    assert float(after.params["w"]) != 2.0


def test_constraints_follow_the_update():
    rule = Constrained(Descent(), {"w": lambda w: jnp.maximum(w, 1.5)})
    after, _ = train_step(TRAIN, rule, carry(), BATCH, key=jax.random.key(0))
    assert float(after.params["w"]) == 1.5
    assert int(after.opt) == 1


def test_a_step_is_pure():
    """It may be compiled, and vectorized over carries."""
    one = train_step(TRAIN, Descent(), carry(), BATCH, key=jax.random.key(0))[0]
    compiled = jax.jit(lambda c: train_step(TRAIN, Descent(), c, BATCH, key=jax.random.key(0))[0])(carry())
    np.testing.assert_allclose(compiled.params["w"], one.params["w"], rtol=1e-6)
    many = jax.vmap(
        lambda w: train_step(TRAIN, Descent(), carry()._replace(params={"w": w}), BATCH, key=jax.random.key(0))[0]
    )(jnp.array([2.0, 0.0]))
    np.testing.assert_allclose(many.params["w"], [0.4, 0.4], rtol=1e-5)


def test_any_optax_rule_is_a_rule():
    class Rule:
        tx = optax.sgd(0.1)

        def update(self, grads, opt, params):
            changes, opt = self.tx.update(grads, opt, params)
            return optax.apply_updates(params, changes), opt

    start = carry()._replace(opt=Rule.tx.init(carry().params))
    after, _ = train_step(TRAIN, Rule(), start, BATCH, key=jax.random.key(0))
    assert float(after.params["w"]) == pytest.approx(0.4)
