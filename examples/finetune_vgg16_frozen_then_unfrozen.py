"""VGG16 in two steps, as one fine-tunes: a new head on a frozen base, then all of it with a smaller learning rate.

VGG has no batch normalization: what fit and evaluate differ by is the head's dropout, and weights that move while the
number is averaged. The weights are random here, because nothing is downloaded; a person would write weights="imagenet".
"""

from __future__ import annotations

import numpy as np

import verax
from verax import layers

verax.utils.set_random_seed(0)
(digits, labels), _ = verax.datasets.digits.load_data()
images = np.kron(digits[:32], np.ones((4, 4)))[..., None] * (255 / 16)  # 32 x 32, from 0 to 255
x = verax.applications.vgg16.preprocess_input(np.repeat(images, 3, axis=-1).astype("float32"))
y = labels[:32]

base = verax.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg")
model = verax.Sequential([base, layers.Dropout(0.3), layers.Dense(10, activation="softmax")])


def train(said, rate, epochs):
    """fit, and why evaluate says something else of the same rows."""
    trained = sum(weight.value.size for weight in model.trainable_weights)
    print(f"{said}: {trained:,} numbers are trained.")
    model.compile(optimizer=verax.optimizers.Adam(rate), loss="sparse_categorical_crossentropy")
    history = model.fit(x, y, epochs=epochs, batch_size=16, verbose=0, validation_data=(x, y))
    print(f"fit says {history.history['loss'][-1]:.4f}, evaluate says {history.history['val_loss'][-1]:.4f}")
    print(history.readings["loss"][-1])
    print(history.gap(), end="\n\n")


base.trainable = False
train("The base is frozen", 1e-2, epochs=2)

base.trainable = True
train("All of it", 1e-4, epochs=1)
