"""Batch normalization and one image: why fit and evaluate disagree, and the two switches that make them agree."""

from __future__ import annotations

import numpy as np

import verax
from verax import layers


def block(x, filters):
    """Two convolutions with batch normalization, and the way around them."""
    y = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)))
    y = layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same", use_bias=False)(y))
    around = x if x.shape[-1] == filters else layers.Conv2D(filters, 1)(x)
    return layers.ReLU()(layers.Add()([around, y]))


verax.utils.set_random_seed(0)
image = verax.Input((8, 8, 3))
features = block(block(layers.Conv2D(8, 3, activation="relu")(image), 8), 16)
outputs = layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(features))
model = verax.Model(image, outputs, name="resnet")
model.compile(optimizer=verax.optimizers.SGD(0.01), loss="sparse_categorical_crossentropy")
x, y = np.random.default_rng(0).normal(size=(1, 8, 8, 3)), np.array([3])


def train(**arguments):
    """evaluate, fit, evaluate."""
    before = model.evaluate(x, y, verbose=0)
    history = model.fit(x, y, epochs=1, verbose=0, **arguments)
    after = model.evaluate(x, y, verbose=0)
    reading = history.readings["loss"][0]
    print(f"evaluate {before:.6f}   fit {reading.value:.6f}   evaluate {after:.6f}\n  {reading}")
    return before, reading.value, after


start = model.get_weights()
print("As it is: the fit's loss is made with the statistics of the image itself.")
moving = train()

print("\nAll layers frozen: nothing is trained, and batch normalization uses its moving averages.")
model.set_weights(start)
model.trainable = False
frozen = train()

print('\nfit(mode="infer"): every layer in inference mode, and the weights train.')
model.trainable = True
inference = train(mode="infer")

print(
    "\nWhy the two numbers differ: the statistics of the batch, and averages that have hardly seen it. Frozen: nothing."
)
print(model.explain(x, y, validation_data=(x, y)))
model.trainable = False
print(model.explain(x, y, validation_data=(x, y)))
