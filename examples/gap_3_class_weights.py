"""With class weights the training loss is of another kind: rows count differently in the two numbers."""

from __future__ import annotations

import numpy as np

import verax
from verax import layers

verax.utils.set_random_seed(0)
(x, y), (x_test, y_test) = verax.datasets.digits.load_data()
x, x_test = x.reshape(-1, 64) / 16, x_test.reshape(-1, 64) / 16
y, y_test = (y == 8).astype(int), (y_test == 8).astype(int)  # one row in ten is an eight

model = verax.Sequential([verax.Input((64,)), layers.Dense(32, "relu"), layers.Dense(1, "sigmoid")])
model.compile("adam", "binary_crossentropy")
weight = {0: 1.0, 1: 9.0}
history = model.fit(x, y, epochs=3, class_weight=weight, validation_data=(x_test, y_test), verbose=0)
print(history.readings["loss"][-1], end="\n\n")
print(history.gap())

# The advice taken: both by the same rule, so that weighted rows are compared with weighted rows.
alike = [np.vectorize(weight.get)(labels) for labels in (y, y_test)]
gap = model.explain(x, y, sample_weight=alike[0], validation_data=(x_test, y_test, alike[1]))
print("\nWith the validation rows weighted alike:\n", gap, sep="")
