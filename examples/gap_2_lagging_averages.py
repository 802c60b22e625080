"""The validation loss is bad for some epochs, then it heals: averages that lag behind the weights, and their cure."""

from __future__ import annotations

import verax
from verax import layers

verax.utils.set_random_seed(0)
(x, y), (x_test, y_test) = verax.datasets.digits.load_data()
x, x_test = x[..., None] / 16, x_test[..., None] / 16

model = verax.Sequential(
    [
        verax.Input((8, 8, 1)),
        layers.Conv2D(16, 3, activation="relu"),
        layers.BatchNormalization(name="first"),
        layers.Conv2D(32, 3, activation="relu"),
        layers.BatchNormalization(name="second"),
        layers.Flatten(),
        layers.Dense(10, activation="softmax"),
    ]
)
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(x, y, batch_size=64, epochs=2, validation_data=(x_test, y_test), verbose=0)
print(history.readings["val_loss"][-1], end="\n\n")
gap = history.gap()
print(gap)

# No step of training is needed: only the averages are wrong.
before = model.evaluate(x_test, y_test, verbose=0)
model.recalibrate(x, batch_size=64)
after = model.evaluate(x_test, y_test, verbose=0)
print(f"\nval_loss {before[0]:.4f} -> {after[0]:.4f}, val_accuracy {before[1]:.4f} -> {after[1]:.4f}")
