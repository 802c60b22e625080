"""The works that are timed, each written once against a module ``k`` that is Keras or Verax.

A work is named ``convnet``, or ``mlp:256:4`` with its sizes; ``work(name)`` gives its model, data and how it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["PEERS", "ROWS", "WORKS", "Data", "Work", "batches", "compiled", "work"]

Data = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]

#: Who is timed beside Verax, and how the tables name them.
PEERS = {"keras-jax": "Keras-JAX", "keras-tensorflow": "Keras-TF", "keras-torch": "Keras-torch", "torch": "raw torch"}


@dataclass(frozen=True)
class Work:
    """A model, its data and the call that is timed.

    Attributes:
        title: What a table calls it.
        model: k -> the model, not compiled.
        data: rows -> (x, y).
        batch: Rows in a batch.
        steps: Batches in an epoch.
        quick: Batches in an epoch of a quick run.
        epochs: Epochs in a call of ``fit``.
        optimizer: The name of one of ``OPTIMIZERS``.
        loss: By Keras' name.
        metrics: By Keras' names.
        call: "fit" or "predict" on arrays, or "generator": ``fit`` on batches that a Python generator yields.
        policy: The dtype policy, by Keras' name.
        targets: Peer's time / Verax's that is aimed at, in the order of ``PEERS``.
    """

    title: str
    model: Callable[[Any], Any]
    data: Callable[[int], Data]
    batch: int
    steps: int
    quick: int
    epochs: int = 1
    optimizer: str = "adam"
    loss: str = "sparse_categorical_crossentropy"
    metrics: tuple[str, ...] = ("accuracy",)
    call: str = "fit"
    policy: str = "float32"
    targets: tuple[float, ...] = ()


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "adam": lambda k: k.optimizers.Adam(1e-3),
    "sgd": lambda k: k.optimizers.SGD(0.1),
    "momentum": lambda k: k.optimizers.SGD(0.01, momentum=0.9),
}


def compiled(k: Any, made: Work) -> Any:
    """The work's model, built by ``k`` and compiled."""
    k.config.set_dtype_policy(made.policy)
    model = made.model(k)
    model.compile(optimizer=OPTIMIZERS[made.optimizer](k), loss=made.loss, metrics=list(made.metrics))
    return model


def batches(data: Data, batch: int) -> Iterator[Data]:
    """Batches of rows, again and again, as a person's generator would yield them."""
    x, y = data
    while True:
        for start in range(0, len(x) - batch + 1, batch):
            yield x[start : start + batch], y[start : start + batch]


# ---- data: random, of the shapes and types of the real thing ---------------------------------------------------------


def _normal(shape: tuple[int, ...], classes: int) -> Callable[[int], Data]:
    def data(rows: int) -> Data:
        rng = np.random.default_rng(0)
        return rng.standard_normal((rows, *shape), np.float32), rng.integers(0, classes, rows).astype(np.int32)

    return data


def _tokens(length: int, words: int, classes: int) -> Callable[[int], Data]:
    def data(rows: int) -> Data:
        rng = np.random.default_rng(0)
        x = rng.integers(0, words, (rows, length)).astype(np.int32)
        return x, rng.integers(0, classes, rows).astype(np.int32)

    return data


def _halves(features: int) -> Callable[[int], Data]:
    def data(rows: int) -> Data:
        rng = np.random.default_rng(0)
        x = rng.standard_normal((rows, features), np.float32)
        return x, (x @ rng.standard_normal(features) > 0).astype(np.float32)

    return data


def _regression(features: int) -> Callable[[int], Data]:
    def data(rows: int) -> Data:
        rng = np.random.default_rng(0)
        return rng.standard_normal((rows, features), np.float32), rng.standard_normal((rows, 1), np.float32)

    return data


# ---- the models ------------------------------------------------------------------------------------------------------


def _logistic(k: Any) -> Any:
    return k.Sequential([k.Input((20,)), k.layers.Dense(1, activation="sigmoid")])


def _wide(k: Any) -> Any:
    return k.Sequential([k.Input((20,)), k.layers.Dense(1000, activation="relu"), k.layers.Dense(1)])


def _mlp(width: int, depth: int) -> Callable[[Any], Any]:
    def model(k: Any) -> Any:
        hidden = [k.layers.Dense(width, activation="relu") for _ in range(depth)]
        return k.Sequential([k.Input((20,)), *hidden, k.layers.Dense(1, activation="sigmoid")])

    return model


def _convnet(k: Any) -> Any:
    layers = k.layers
    return k.Sequential(
        [
            k.Input((28, 28, 1)),
            layers.Conv2D(64, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Dropout(0.25),
            layers.Conv2D(128, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Dropout(0.25),
            layers.Conv2D(128, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(256, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(128, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def _resnet50(k: Any) -> Any:
    """He et al., 2016, as keras.applications has it: biases before normalization, the stride in the first 1x1."""
    layers = k.layers

    def normalized(x: Any) -> Any:
        return layers.BatchNormalization(epsilon=1.001e-5)(x)

    def block(x: Any, filters: int, stride: int, project: bool) -> Any:
        y = layers.ReLU()(normalized(layers.Conv2D(filters, 1, strides=stride)(x)))
        y = layers.ReLU()(normalized(layers.Conv2D(filters, 3, padding="same")(y)))
        y = normalized(layers.Conv2D(4 * filters, 1)(y))
        if project:
            x = normalized(layers.Conv2D(4 * filters, 1, strides=stride)(x))
        return layers.ReLU()(layers.Add()([x, y]))

    start = k.Input((224, 224, 3))
    x = layers.Conv2D(64, 7, strides=2)(layers.ZeroPadding2D(3)(start))
    x = layers.ReLU()(normalized(x))
    x = layers.MaxPooling2D(3, strides=2)(layers.ZeroPadding2D(1)(x))
    for filters, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for i in range(blocks):
            x = block(x, filters, 2 if i == 0 and filters > 64 else 1, project=i == 0)
    end = layers.Dense(1000, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    return k.Model(start, end)


#: Expansion, filters, blocks and the first block's stride (Sandler et al., 2018, table 2).
MOBILENET = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def _mobilenet(k: Any) -> Any:
    layers = k.layers

    def normalized(x: Any) -> Any:
        return layers.BatchNormalization()(x)

    def block(x: Any, expand: int, filters: int, stride: int) -> Any:
        inside, y = x.shape[-1], x
        if expand > 1:
            y = layers.ReLU(6.0)(normalized(layers.Conv2D(expand * inside, 1, use_bias=False)(y)))
        y = layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(y)
        y = normalized(layers.Conv2D(filters, 1, use_bias=False)(layers.ReLU(6.0)(normalized(y))))
        return layers.Add()([x, y]) if stride == 1 and inside == filters else y

    start = k.Input((96, 96, 3))
    x = layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False)(start)
    x = layers.ReLU(6.0)(normalized(x))
    for expand, filters, blocks, stride in MOBILENET:
        for i in range(blocks):
            x = block(x, expand, filters, stride if i == 0 else 1)
    x = layers.ReLU(6.0)(normalized(layers.Conv2D(1280, 1, use_bias=False)(x)))
    end = layers.Dense(100, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    return k.Model(start, end)


def _lstm(k: Any) -> Any:
    return k.Sequential([k.Input((100, 32)), k.layers.LSTM(128), k.layers.Dense(10, activation="softmax")])


def _transformer(depth: int, width: int, heads: int, length: int, words: int) -> Callable[[Any], Any]:
    """A pre-norm encoder, its outputs averaged over the tokens and classified."""

    def model(k: Any) -> Any:
        layers = k.layers
        start = k.Input((length,), dtype="int32")
        x = layers.Embedding(words, width)(start)
        for _ in range(depth):
            y = layers.LayerNormalization()(x)
            x = layers.Add()([x, layers.MultiHeadAttention(heads, width // heads)(y, y)])
            y = layers.Dense(4 * width, activation="gelu")(layers.LayerNormalization()(x))
            x = layers.Add()([x, layers.Dense(width)(y)])
        x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
        return k.Model(start, layers.Dense(10, activation="softmax")(x))

    return model


# ---- the works -------------------------------------------------------------------------------------------------------


def logistic(rows: int = 30_000) -> Work:
    return Work(
        f"logistic regression, {rows:,} rows, batch 100, SGD", _logistic, _halves(20),
        batch=100, steps=rows // 100, quick=rows // 100, epochs=5, optimizer="sgd", loss="binary_crossentropy",
        targets=(30, 80, 100, 30),
    )  # fmt: skip


def wide() -> Work:
    return Work(
        "Dense(1000)-Dense(1), batch 32, Adam", _wide, _regression(20),
        batch=32, steps=100, quick=100, epochs=5, loss="mse", metrics=(), targets=(5, 15, 20, 4),
    )  # fmt: skip


def convnet() -> Work:
    return Work(
        "MNIST convnet, batch 128, Adam", _convnet, _normal((28, 28, 1), 10),
        batch=128, steps=16, quick=6, targets=(3.5, 1.3, 2.3, 1.0),
    )  # fmt: skip


def resnet50(batch: int = 8, policy: str = "float32") -> Work:
    return Work(
        f"ResNet50, 224x224, batch {batch}, SGD, training", _resnet50, _normal((224, 224, 3), 1000),
        batch=batch, steps=4, quick=1, optimizer="momentum", policy=policy, targets=(2.2, 1.9, 1.5, 0.95),
    )  # fmt: skip


def resnet50_predict() -> Work:
    return Work(
        "ResNet50, 224x224, batch 8, predict", _resnet50, _normal((224, 224, 3), 1000),
        batch=8, steps=6, quick=3, optimizer="momentum", call="predict", targets=(1.3, 1.0, 1.5, 0.9),
    )  # fmt: skip


def lstm() -> Work:
    return Work(
        "LSTM(128) classifier, length 100, batch 64, Adam", _lstm, _normal((100, 32), 10),
        batch=64, steps=30, quick=10, targets=(1.5, 1.5, 1.5, 1.0),
    )  # fmt: skip


def transformer(depth: int = 6, width: int = 256, heads: int = 8, length: int = 128, batch: int = 16) -> Work:
    return Work(
        f"{depth}-layer transformer encoder, width {width}, length {length}, batch {batch}, Adam",
        _transformer(depth, width, heads, length, words=1000), _tokens(length, 1000, 10),
        batch=batch, steps=8, quick=2, targets=(1.2, 1.0, 1.2, 1.0),
    )  # fmt: skip


def mobilenet() -> Work:
    return Work(
        "MobileNetV2, 96x96, batch 32, SGD", _mobilenet, _normal((96, 96, 3), 100),
        batch=32, steps=5, quick=1, optimizer="momentum", targets=(1.5, 1.0, 1.2, 0.9),
    )  # fmt: skip


def generator() -> Work:
    return Work(
        "MLP from a generator of numpy batches, batch 128, Adam", _mlp(128, 2), _halves(20),
        batch=128, steps=1000, quick=400, loss="binary_crossentropy", call="generator", targets=(3, 3, 3, 1),
    )  # fmt: skip


def mlp(width: int, depth: int) -> Work:
    return Work(
        f"MLP, width {width}, depth {depth}, batch 32, SGD", _mlp(width, depth), _halves(20),
        batch=32, steps=50, quick=20, optimizer="sgd", loss="binary_crossentropy",
    )  # fmt: skip


#: The works of the table of results, in its order.
ROWS: dict[str, Callable[..., Work]] = {
    "logistic": logistic,
    "wide": wide,
    "convnet": convnet,
    "resnet50": resnet50,
    "resnet50_predict": resnet50_predict,
    "lstm": lstm,
    "transformer": transformer,
    "mobilenet": mobilenet,
    "generator": generator,
}

WORKS: dict[str, Callable[..., Work]] = {**ROWS, "mlp": mlp}


def work(name: str) -> Work:
    """The work of this name, with its sizes after colons.

    >>> work("mlp:256:4").title
    'MLP, width 256, depth 4, batch 32, SGD'
    """
    kind, *sizes = name.split(":")
    return WORKS[kind](*(int(s) if s.isdigit() else s for s in sizes))
