"""Many articles say that the training loss is higher because it has the L2 penalty. It is in both numbers."""

from __future__ import annotations

import verax
from verax import layers

verax.utils.set_random_seed(0)
(x, y), (x_test, y_test) = verax.datasets.digits.load_data()
x, x_test = x.reshape(-1, 64) / 16, x_test.reshape(-1, 64) / 16

model = verax.Sequential(
    [
        verax.Input((64,)),
        layers.Dense(64, "relu", kernel_regularizer="l2"),
        layers.Dense(10, "softmax", kernel_regularizer="l2"),
    ]
)
model.compile("adam", "sparse_categorical_crossentropy")
history = model.fit(x, y, epochs=20, validation_data=(x_test, y_test), verbose=0)

for name in ("loss", "val_loss"):
    reading = history.readings[name][-1]
    print(reading)
    print(f"  {name} {reading.value:.4f} = data {reading.data:.4f} + penalties {reading.penalties:.4f}")
print("\n", history.gap(), sep="")
