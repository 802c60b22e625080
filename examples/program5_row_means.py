"""Reported losses are means over rows, whatever the batch size; a total is the weighted sum of parts one can read."""

from __future__ import annotations

import numpy as np

import verax
from verax import layers

verax.utils.set_random_seed(0)
rng = np.random.default_rng(0)
x = rng.normal(size=(96, 8))
price, kind = x[:, :1] * 3 + rng.normal(size=(96, 1)), (x[:, 1] > 0).astype(int)

features = verax.Input((8,), name="features")
hidden = layers.Dense(16, activation="relu", kernel_regularizer=verax.regularizers.L2(0.01), name="hidden")(features)
outputs = [layers.Dense(1, name="price")(hidden), layers.Dense(2, activation="softmax", name="kind")(hidden)]
model = verax.Model(features, outputs)
model.compile(
    optimizer="adam",
    loss={"price": "mse", "kind": "sparse_categorical_crossentropy"},
    loss_weights={"price": 0.2, "kind": 2.0},
    metrics={"kind": ["accuracy"]},
)
model.fit(x, [price, kind], batch_size=96, epochs=30, verbose=0)

print("Batch size 32 or 64, the last batch short: the same numbers.")
sizes = {size: model.evaluate(x, [price, kind], batch_size=size, verbose=0, return_dict=True) for size in (32, 64)}
print(sizes[32], sizes[64], sep="\n")

print("\nThe total is the weighted sum of its parts, penalties apart.")
total = model.measure(x, [price, kind])["loss"]
print(total)
for name, part in total.parts.items():
    print(f"  {part.coefficient} x {name} {part.value:.6f} ({part.kind})")

print("\nRows that count more, and classes that do.")
weight = np.where(price[:, 0] > 0, 10.0, 1.0)
weighted = model.measure(x, [price, kind], sample_weight=weight)["loss"]
print(weighted)
print(verax.explain(total, weighted))
one = verax.Sequential([layers.Dense(2, activation="softmax")])
one.compile(optimizer="adam", loss="sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
by_class = one.fit(x, kind, batch_size=96, class_weight={0: 1.0, 1: 5.0}, verbose=0).readings
print(by_class["loss"][0], by_class["accuracy"][0], sep="\n")

print("\nMasked steps do not count: two sentences, padded with zeros to one length, or with more of them.")
reader = verax.Sequential([layers.Embedding(9, 4, mask_zero=True), layers.LSTM(4, return_sequences=True)])
reader.add(layers.Dense(1))
reader.compile(optimizer="adam", loss="mse")
short, marks = np.array([[3, 5, 8, 0], [7, 2, 0, 0]]), np.array([[1.0, 2, 3, 0], [1, 2, 0, 0]])
long, more = np.pad(short, ((0, 0), (0, 3))), np.pad(marks, ((0, 0), (0, 3)))
padded = reader.evaluate(short, marks[..., None], verbose=0), reader.evaluate(long, more[..., None], verbose=0)
print(padded)
