"""A training loop of one's own: gradients of a linear model with momentum, the loss fetched before the update."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

import verax
from verax import layers

rng = np.random.default_rng(0)
x = jnp.asarray(rng.normal(size=(64, 3)), "float32")
y = x @ jnp.array([[1.0], [-2.0], [0.5]]) + 3.0

model = verax.Sequential([verax.Input((3,)), layers.Dense(1, kernel_initializer="zeros")])
forward = verax.pure(model)


def loss_of(params, state):
    """Mean squared error of the training pass; a pass always says its mode."""
    predicted, state = forward(params, state, x, mode=verax.Mode.TRAIN)
    return jnp.mean((predicted - y) ** 2), state


def train(init, update, steps=20):
    """Losses before each update; the model has the last weights."""

    @jax.jit
    def step(params, state, momentum):
        (loss, state), grads = jax.value_and_grad(loss_of, has_aux=True)(params, state)
        params, momentum = update(grads, momentum, params)
        return params, state, momentum, loss

    params, state = verax.values(model)
    momentum, losses = init(params), []
    for _ in range(steps):
        params, state, momentum, loss = step(params, state, momentum)
        losses.append(float(loss))
    verax.load_values(model, params, state)
    return losses


def optax_update(grads, momentum, params):
    """One step of optax's SGD."""
    changes, momentum = sgd.update(grads, momentum, params)
    return optax.apply_updates(params, changes), momentum


start = model.get_weights()
sgd = optax.sgd(0.05, momentum=0.9)
with_optax = train(sgd.init, optax_update)
model.set_weights(start)
own = verax.optimizers.SGD(0.05, momentum=0.9)
with_verax = train(own.init, own.update)
print(f"optax: {with_optax[0]:.6f} -> {with_optax[-1]:.6f};  verax: {with_verax[0]:.6f} -> {with_verax[-1]:.6f}")

model.compile(loss="mse")
print(model.measure(x, y)["loss"])
print("the last loss of the loop was fetched before its update, so it is another number")
