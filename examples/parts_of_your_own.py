"""A layer, a loss, a metric, an optimizer, a schedule and a callback of one's own, together in a model."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax

import verax


class Centre(verax.Layer):
    def build(self, input_shape):
        self.mean = self.add_weight((input_shape[-1],), "zeros", trainable=False, name="mean")

    def call(self, x):
        def train():
            self.follow(self.mean, x.mean(axis=0), momentum=0.5)
            return x - x.mean(axis=0, keepdims=True)

        return self.by_mode("batch_statistics", train=train, infer=lambda: x - self.mean.value[None])


class Quantile(verax.losses.Loss):
    def __init__(self, q=0.5):
        super().__init__()
        self.q = q

    def call(self, y_true, y_pred):
        return jnp.mean(jnp.maximum(self.q * (y_true - y_pred), (self.q - 1) * (y_true - y_pred)), axis=-1)


class Bias(verax.metrics.Metric):
    def tally(self, y_true, y_pred, sample_weight=None):
        return verax.ledger.Tally.of(jnp.mean(y_pred - y_true, axis=-1), sample_weight)


class Halving(verax.optimizers.schedules.LearningRateSchedule):
    def __init__(self, initial=0.1, steps=4):
        self.initial, self.steps = initial, steps

    def __call__(self, step):
        return self.initial * 0.5 ** jnp.floor(step / self.steps)


class Signs(verax.optimizers.Optimizer):
    def __init__(self, learning_rate=0.01, momentum=0.9):
        super().__init__(learning_rate)
        self.momentum = momentum

    def rule(self, learning_rate):
        return optax.chain(optax.trace(self.momentum), optax.scale_by_sign(), optax.scale(-learning_rate))


class Biases(verax.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        print(f"epoch {epoch}: {logs.readings['bias']}")


verax.utils.set_random_seed(0)
rng = np.random.default_rng(0)
x = rng.normal(1.0, 2.0, size=(60, 4)).astype("float32")
y = x.sum(axis=1, keepdims=True)
model = verax.Sequential([verax.Input((4,)), Centre(), verax.layers.Dense(1)])
model.compile(Signs(Halving()), Quantile(0.8), metrics=[Bias()])
history = model.fit(x, y, batch_size=20, epochs=3, shuffle=False, verbose=0, callbacks=[Biases()])
print(history.readings["loss"][-1])
verax.testing.check_layer(Centre(), x)
verax.testing.check_loss(Quantile(0.8), y, y + x[:, :1])
verax.testing.check_metric(Bias(), y, y + x[:, :1])
