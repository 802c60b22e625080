"""DenseNet121 under a head of one's own, for a number: why fit's loss and evaluate's are far apart, and what is what.

A network is trained with a Dense layer on top, the loss that fit shows falls, and evaluate says something else of the
very same rows. The weights are random here, because nothing is downloaded; a person would write weights="imagenet".
"""

from __future__ import annotations

import numpy as np

import verax
from verax import layers

verax.utils.set_random_seed(0)
(digits, labels), _ = verax.datasets.digits.load_data()
images = np.kron(digits[:64], np.ones((4, 4)))[..., None] * (255 / 16)  # 32 x 32, from 0 to 255
x = verax.applications.densenet.preprocess_input(np.repeat(images, 3, axis=-1).astype("float32"))
y = labels[:64].astype("float32") / 9

base = verax.applications.DenseNet121(include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg")
model = verax.Sequential([base, layers.Dense(1)])
model.compile(optimizer=verax.optimizers.SGD(1e-3), loss="mean_squared_error")

# The validation rows are the training rows, so val_loss is what evaluate says of them.
history = model.fit(x, y, epochs=3, batch_size=16, verbose=0, validation_data=(x, y))
print(f"fit says {history.history['loss'][-1]:.4f}, evaluate says {history.history['val_loss'][-1]:.4f}\n")
print(history.readings["loss"][-1])
print(history.readings["val_loss"][-1], end="\n\n")

print(history.gap())
