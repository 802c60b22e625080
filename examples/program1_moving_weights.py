"""The loss that `fit` prints is measured while the weights move; `evaluate` measures them at rest."""

from __future__ import annotations

import numpy as np

import verax
from verax import layers

verax.utils.set_random_seed(0)
rng = np.random.default_rng(0)
x, y = rng.normal(size=(32, 20)), rng.normal(size=(32, 1))

model = verax.Sequential([layers.Dense(1000, activation="relu"), layers.Dense(1)])
model.compile(optimizer="adam", loss="mse")
history = model.fit(x, y, epochs=1, validation_data=(x, y), verbose=2)
loss = model.evaluate(x, y, verbose=0)

# The same rows, the same loss, no layer that depends on the mode: only the weights differ between the two numbers.
for name in ("loss", "val_loss"):
    print(history.readings[name][0])
print(f"evaluate: {loss}, val_loss: {history.history['val_loss'][0]}: equal to the last digit")
for change in history.readings["loss"][0].facts.differences(history.readings["val_loss"][0].facts):
    print("differs in", change)

print(history.gap())
