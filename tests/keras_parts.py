"""The parts of examples/parts_of_your_own.py as Keras has them written."""

from __future__ import annotations

from types import ModuleType
from typing import Any

__all__ = ["parts"]


def parts(keras: ModuleType) -> dict[str, Any]:
    """name -> the class, made with the Keras given."""
    ops = keras.ops

    class Centre(keras.layers.Layer):
        def build(self, input_shape):
            self.mean = self.add_weight(shape=(input_shape[-1],), initializer="zeros", trainable=False, name="mean")

        def call(self, x, training=False):
            if training:
                mean = ops.mean(x, axis=0)
                self.mean.assign(0.5 * self.mean + 0.5 * mean)
                return x - mean
            return x - self.mean

        def compute_output_shape(self, input_shape):
            return input_shape

    class Quantile(keras.losses.Loss):
        def __init__(self, q=0.5):
            super().__init__()
            self.q = q

        def call(self, y_true, y_pred):
            return ops.mean(ops.maximum(self.q * (y_true - y_pred), (self.q - 1) * (y_true - y_pred)), axis=-1)

        def get_config(self):
            return {**super().get_config(), "q": self.q}

    class Bias(keras.metrics.Metric):
        def __init__(self, name="bias"):
            super().__init__(name=name)
            self.total = self.add_variable((), "zeros", name="total")
            self.count = self.add_variable((), "zeros", name="count")

        def update_state(self, y_true, y_pred, sample_weight=None):
            values = ops.mean(y_pred - y_true, axis=-1)
            weights = ops.ones_like(values) if sample_weight is None else sample_weight
            self.total.assign_add(ops.sum(values * weights))
            self.count.assign_add(ops.sum(weights))

        def result(self):
            return self.total / self.count

    class Halving(keras.optimizers.schedules.LearningRateSchedule):
        def __init__(self, initial=0.1, steps=4):
            self.initial, self.steps = initial, steps

        def __call__(self, step):
            return self.initial * 0.5 ** ops.floor(ops.cast(step, "float32") / self.steps)

        def get_config(self):
            return {"initial": self.initial, "steps": self.steps}

    class Signs(keras.optimizers.Optimizer):
        def __init__(self, learning_rate=0.01, momentum=0.9):
            super().__init__(learning_rate=learning_rate)
            self.momentum = momentum

        def build(self, variables):
            if not self.built:
                super().build(variables)
                self.traces = [self.add_variable_from_reference(v, name="trace") for v in variables]

        def update_step(self, gradient, variable, learning_rate):
            trace = self.traces[self._get_variable_index(variable)]
            self.assign(trace, self.momentum * trace + gradient)
            self.assign_sub(variable, learning_rate * ops.sign(trace))

        def get_config(self):
            return {**super().get_config(), "momentum": self.momentum}

    class Biases(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            print(f"epoch {epoch}: {logs['bias']}")

    return {made.__name__: made for made in (Centre, Quantile, Bias, Halving, Signs, Biases)}
