"""Why does `fit` print one loss and `evaluate` another, on the same rows? The answer, in numbers that add up."""

from __future__ import annotations

import verax
from verax import layers

verax.utils.set_random_seed(0)
(x, y), _ = verax.datasets.digits.load_data()
x = x.reshape(-1, 64) / 16

model = verax.Sequential(
    [
        verax.Input((64,)),
        layers.Dense(64, activation="relu", kernel_regularizer="l2"),
        layers.BatchNormalization(),
        layers.Dropout(0.5),
        layers.Dense(10, activation="softmax"),
    ]
)
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])

# The validation rows are the training rows, so val_loss is what evaluate says of them.
history = model.fit(x, y, epochs=3, validation_data=(x, y), verbose=0)
print(f"fit says {history.history['loss'][-1]:.4f}, evaluate says {model.evaluate(x, y, verbose=0)[0]:.4f}\n")
print(history.readings["loss"][-1])
print(history.readings["val_loss"][-1], end="\n\n")

print(history.gap())

# The same for any metric.
print("\n", history.gap("accuracy"), sep="")
