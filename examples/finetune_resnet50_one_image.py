"""ResNet50 and one image: with the base frozen fit and evaluate agree; with the base trained they do not, and why.

An image of 32 x 32 is 1 x 1 at the end of ResNet50: normalized by its own mean it is nothing, fit's loss is the log of
10 classes whatever the image shows, and all that is learned is what the moving averages make of it in inference.
The weights are random here, because nothing is downloaded; a person would write weights="imagenet".
"""

from __future__ import annotations

import numpy as np

import verax
from verax import layers

verax.utils.set_random_seed(0)
(digits, labels), _ = verax.datasets.digits.load_data()
image = np.kron(digits[:1], np.ones((4, 4)))[..., None] * (255 / 16)  # 32 x 32, from 0 to 255
x = verax.applications.resnet50.preprocess_input(np.repeat(image, 3, axis=-1).astype("float32"))
y = labels[:1]

base = verax.applications.ResNet50(include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg")
model = verax.Sequential([base, layers.Dense(10, activation="softmax")])
start = model.get_weights()


def train(said, rate):
    """evaluate, fit, and why they differ."""
    print(said)
    model.set_weights(start)
    model.compile(optimizer=verax.optimizers.SGD(rate), loss="sparse_categorical_crossentropy")
    before = model.evaluate(x, y, verbose=0)
    history = model.fit(x, y, epochs=1, verbose=0, validation_data=(x, y))
    print(
        f"evaluate {before:.4f}   fit {history.history['loss'][0]:.4f}   evaluate {history.history['val_loss'][0]:.4f}"
    )
    print(history.readings["loss"][0])
    print(history.gap(), end="\n\n")


base.trainable = False
train("The base is frozen: batch normalization runs on its moving averages, in fit too.", 1e-5)

base.trainable = True
train("The base is trained: fit's loss is made with the statistics of the image itself.", 1e-3)
