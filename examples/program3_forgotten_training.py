"""A layer that never mentions training is right in both modes: plain layers and a nested block behave alike."""

from __future__ import annotations

import verax
from verax import layers


class Conv2DLayer(verax.Layer):
    """Conv2D, BatchNormalization and Dropout in one; its call says nothing of training."""

    def __init__(self, filters, rate):
        super().__init__()
        self.conv = layers.Conv2D(filters, 3, activation="relu")
        self.norm = layers.BatchNormalization()
        self.drop = layers.Dropout(rate)

    def call(self, inputs):
        return self.drop(self.norm(self.conv(inputs)))


def network(nested, rate):
    """The same network, of plain layers or of a block."""
    plain = [layers.Conv2D(16, 3, activation="relu"), layers.BatchNormalization(), layers.Dropout(rate)]
    first = [Conv2DLayer(16, rate)] if nested else plain
    model = verax.Sequential([verax.Input((8, 8, 1)), *first, layers.Flatten(), layers.Dense(10, "softmax")])
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


verax.utils.set_random_seed(0)
(x, y), (x_test, y_test) = verax.datasets.digits.load_data()
x, x_test, y = x[:1408, ..., None] / 16, x_test[..., None] / 16, y[:1408]

models = {"plain": network(False, 0.25), "nested": network(True, 0.25)}
models["nested"].set_weights(models["plain"].get_weights())
for name, model in models.items():
    history = model.fit(
        x, y, batch_size=64, epochs=5, validation_data=(x_test, y_test), validation_batch_size=359, verbose=0
    )
    print(f"{name}: {history}")
    for number in ("loss", "val_loss"):
        print(f"  {history.readings[number][-1]}")
    print(history.gap())

models["nested"].set_weights(models["plain"].get_weights())
scores = {name: model.evaluate(x_test, y_test, batch_size=359, verbose=0) for name, model in models.items()}
print(f"at the same weights, evaluate gives {scores['plain']} and {scores['nested']}")
models["nested"].summary()
