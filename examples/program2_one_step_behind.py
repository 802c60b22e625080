"""With one batch an epoch, the validation of epoch k is the training loss of epoch k + 1, digit for digit."""

from __future__ import annotations

import numpy as np

import verax
from verax import layers

verax.utils.set_random_seed(0)
rng = np.random.default_rng(0)
x = rng.normal(size=(100, 5))
y = (x[:, 0] + 0.5 * rng.normal(size=100) > 0).astype(int)

model = verax.Sequential([layers.Dense(1, activation="sigmoid")])
model.compile(optimizer=verax.optimizers.SGD(2.0), loss="binary_crossentropy", metrics=["acc"])
history = model.fit(x, y, batch_size=100, epochs=10, validation_data=(x, y), verbose=0)

numbers = history.history
for epoch in range(10):
    print(f"epoch {epoch + 1:2}: loss {numbers['loss'][epoch]:.7f}  val_loss {numbers['val_loss'][epoch]:.7f}")
for name in ("loss", "acc"):
    behind = numbers[f"val_{name}"][:-1] == numbers[name][1:]
    print(f"val_{name}[k] == {name}[k + 1] for every epoch, exactly: {behind}")
print(history.readings["loss"][-1])
print(history.readings["val_acc"][-1])

print(history.gap())
