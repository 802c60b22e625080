"""Draw the pictures of README.md and docs/: python docs/pictures.py"""

from __future__ import annotations

from pathlib import Path

import verax
from verax import layers

HERE = Path(__file__).parent


def digits_mlp(epochs: int, explain: str) -> verax.callbacks.History:
    """A small network with an L2 penalty, dropout, and batch normalization whose averages lag."""
    verax.utils.set_random_seed(0)
    (x, y), validation = verax.datasets.digits.load_data()
    flat = lambda images: images.reshape(len(images), -1) / 16  # noqa: E731
    model = verax.Sequential(
        [
            layers.Dense(64, activation="relu", kernel_regularizer="l2"),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    rows = (flat(validation[0]), validation[1])
    return model.fit(flat(x), y, epochs=epochs, validation_data=rows, verbose=0, explain=explain)


def main() -> None:
    """Write gap.png and curves.png beside this file."""
    digits_mlp(3, "end").gap().plot().figure.savefig(HERE / "gap.png", dpi=100, metadata={"Software": None})
    digits_mlp(12, "epoch").plot().figure.savefig(HERE / "curves.png", dpi=100, metadata={"Software": None})


if __name__ == "__main__":
    main()
