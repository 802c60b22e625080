"""Models of every kind, each built alike from Keras and from Verax: for files and configurations."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import numpy as np

__all__ = ["ARCHITECTURES", "answers", "filled", "inputs_of"]


@functools.cache
def parts(k: ModuleType) -> dict[str, Any]:
    """A person's own layer, model and function, registered."""
    register = k.saving.register_keras_serializable("tests")

    @register
    def halved(x):
        return 0.5 * x

    @register
    class Scaled(k.layers.Layer):
        def __init__(self, factor, inner=None, **kwargs):
            super().__init__(**kwargs)
            self.factor = factor
            self.inner = inner

        def build(self, shape):
            self.gain = self.add_weight(shape=(1, shape[-1]), initializer="ones", name="gain")
            self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")
            super().build(shape)

        def call(self, x):
            return self.factor * self.gain * (x if self.inner is None else self.inner(x)) + self.count

        def get_config(self):
            inner = None if self.inner is None else k.saving.serialize_keras_object(self.inner)
            return {**super().get_config(), "factor": self.factor, "inner": inner}

        @classmethod
        def from_config(cls, config):
            inner = config.pop("inner")
            return cls(inner=None if inner is None else k.saving.deserialize_keras_object(inner), **config)

    @register
    class Blocks(k.Model):
        def __init__(self, units=3, **kwargs):
            super().__init__(**kwargs)
            self.units = units
            self.zeroth = k.layers.Dense(units)
            self.blocks = [k.layers.Dense(units, activation="relu") for _ in range(2)]
            self.heads = {"b": k.layers.BatchNormalization(), "a": k.layers.Dense(2)}
            self.deep = [[k.layers.Dense(2)], [k.layers.Dense(2, use_bias=False)]]
            self._hidden = k.layers.Dense(2)

        @property
        def a_hidden(self):
            return self._hidden

        def call(self, x, training=None):
            x = self.zeroth(x)
            for block in self.blocks:
                x = block(x) + x
            x = self.heads["a"](self.heads["b"](x, training=training))
            return self._hidden(self.deep[1][0](self.deep[0][0](x)))

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    return {"halved": halved, "Scaled": Scaled, "Blocks": Blocks}


def dense(k):
    return k.Sequential([k.Input((4,)), k.layers.Dense(3, "relu"), k.layers.Dense(3), k.layers.Dense(1)], name="dense")


def convnet(k):
    model = k.Sequential(
        [
            k.Input((8, 8, 3)),
            k.layers.Conv2D(4, 3, padding="same", kernel_regularizer=k.regularizers.L2(1e-3)),
            k.layers.BatchNormalization(),
            k.layers.ReLU(),
            k.layers.MaxPooling2D(),
            k.layers.SpatialDropout2D(0.2),
            k.layers.Flatten(),
            k.layers.Dropout(0.5),
            k.layers.Dense(3, activation="softmax"),
        ],
        name="convnet",
    )
    model.compile(k.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def separable(k):
    x = inputs = k.Input((9, 9, 2), name="image")
    x = k.layers.SeparableConv2D(4, 3, depth_multiplier=2)(x)
    x = k.layers.DepthwiseConv2D(3, padding="same")(x)
    x = k.layers.Conv2DTranspose(3, 2, strides=2)(x)
    x = k.layers.GroupNormalization(3)(x)
    x = k.layers.PReLU(shared_axes=[1, 2])(x)
    return k.Model(inputs, k.layers.GlobalAveragePooling2D()(x), name="separable")


def shared(k):
    a, b = k.Input((4,), name="a"), k.Input((4,), name="b", dtype="int32")
    layer = k.layers.Dense(3, activation="relu", name="d")
    x, y = layer(a), layer(k.ops.cast(b, "float32"))
    z = k.layers.Concatenate()([x + 2.0 * y, x - y])
    model = k.Model({"b": b, "a": a}, [z, layer(k.ops.concatenate([z[:, 1:4], a[:, :1]], axis=-1))], name="shared")
    model.compile("sgd", ["mse", "mae"], loss_weights=[1.0, 0.5])
    return model


def nested(k):
    i = k.Input((4,))
    inner = k.Model(i, k.layers.BatchNormalization()(k.layers.Dense(4)(i)), name="inner")
    tail = k.Sequential([k.Input((4,)), k.layers.Dense(2), k.layers.ReLU()], name="tail")
    a = k.Input((4,))
    x = inner(a)
    return k.Model(a, [tail(inner(x) + x), inner(x)], name="nested")


def frozen(k):
    base = k.Sequential([k.Input((6, 6, 3)), k.layers.Conv2D(3, 3), k.layers.BatchNormalization()], name="base")
    base.trainable = False
    inputs = k.Input((6, 6, 3))
    x = k.layers.GlobalMaxPooling2D()(base(inputs, training=False))
    model = k.Model(inputs, k.layers.Dense(1)(x), name="frozen")
    model.compile(k.optimizers.RMSprop(1e-3, momentum=0.9), "mse")
    return model


def recurrent(k):
    x = inputs = k.Input((5, 3))
    x = k.layers.Bidirectional(k.layers.LSTM(2, return_sequences=True))(x)
    x = k.layers.GRU(3, return_sequences=True)(x)
    x = k.layers.RNN([k.layers.LSTMCell(2), k.layers.SimpleRNNCell(2)], return_sequences=True)(x)
    return k.Model(inputs, k.layers.TimeDistributed(k.layers.Dense(2))(x), name="recurrent")


def tokens(k):
    x = inputs = k.Input((6,), dtype="int32")
    x = k.layers.Embedding(5, 4, mask_zero=True)(x)
    x = k.layers.LSTM(3)(x)
    model = k.Model(inputs, k.layers.Dense(1, activation="sigmoid")(x), name="tokens")
    model.compile(
        k.optimizers.Nadam(k.optimizers.schedules.CosineDecay(0.1, 10)), "binary_crossentropy", metrics=["auc"]
    )
    return model


def transformer(k):
    x = inputs = k.Input((5, 4))
    y = k.layers.MultiHeadAttention(2, 3, dropout=0.1)(x, x, use_causal_mask=True)
    x = k.layers.LayerNormalization()(x + y)
    y = k.layers.GroupQueryAttention(2, 4, 2)(x, x)
    x = k.layers.RMSNormalization()(x + k.layers.Dense(4)(k.layers.Dense(8, activation="gelu")(y)))
    return k.Model(inputs, k.ops.mean(x, axis=1), name="transformer")


def wrapped(k):
    x = inputs = k.Input((4, 6, 6, 2))
    x = k.layers.ConvLSTM2D(2, 3, return_sequences=True)(x)
    x = k.layers.TimeDistributed(k.Sequential([k.layers.Flatten(), k.layers.Dense(3)]))(x)
    x = k.layers.UnitNormalization()(k.layers.Dense(2)(x))
    return k.Model(inputs, x, name="wrapped")


def own_layers(k):
    own = parts(k)
    x = inputs = k.Input((4,))
    x = own["Scaled"](2.0, inner=k.layers.Dense(4))(x)
    x = k.layers.Dense(3, activation=own["halved"])(x)
    return k.Model(inputs, own["Scaled"](0.5)(x), name="own_layers")


def own_model(k):
    model = parts(k)["Blocks"](3, name="own_model")
    model(np.zeros((1, 4), "float32"))
    return model


def preprocessing(k):
    scale = k.layers.Normalization()
    scale.adapt(np.arange(24.0, dtype="float32").reshape(8, 3))
    x = inputs = k.Input((3,))
    x = k.layers.Concatenate()([scale(x), k.layers.Rescaling(0.1, 1.0)(x)])
    return k.Model(inputs, k.layers.Dense(2)(k.layers.GaussianNoise(0.1)(x)), name="preprocessing")


def augmented(k):
    model = k.Sequential(
        [
            k.Input((8, 8, 3)),
            k.layers.RandomFlip("horizontal"),
            k.layers.RandomRotation(0.1),
            k.layers.Conv2D(2, 3),
            k.layers.GlobalAveragePooling2D(),
        ],
        name="augmented",
    )
    model.compile(k.optimizers.SGD(0.1, momentum=0.9, nesterov=True), "mse")
    return model


def mixed(k):
    return k.Sequential(
        [k.Input((4,)), k.layers.Dense(8, "relu", dtype="mixed_bfloat16"), k.layers.Dense(2, dtype="bfloat16")],
        name="mixed",
    )


def residual(k):
    x = inputs = k.Input((8, 8, 3))
    for filters in (4, 4):
        y = k.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        y = k.layers.BatchNormalization(momentum=0.9)(y)
        x = k.layers.Activation("relu")(k.layers.Add()([y, k.layers.Conv2D(filters, 1)(x)]))
    outputs = {"mean": k.ops.mean(x, axis=(1, 2)), "class": k.layers.Dense(3)(k.layers.Flatten()(x))}
    model = k.Model([inputs], outputs, name="residual")
    model.compile(k.optimizers.AdamW(1e-3), {"mean": "mse", "class": k.losses.SparseCategoricalCrossentropy(True)})
    return model


ARCHITECTURES = {
    made.__name__: made
    for made in (dense, convnet, separable, shared, nested, frozen, recurrent, tokens, transformer, wrapped, own_layers,
                 own_model, preprocessing, augmented, mixed, residual)
}  # fmt: skip


def inputs_of(model: Any, count: int = 3) -> Any:
    """Rows for a model's inputs."""
    rng = np.random.default_rng(1)

    def one(tensor):
        shape = (count, *tensor.shape[1:])
        if "int" in str(tensor.dtype):
            return rng.integers(0, 5, shape).astype("int32")
        return rng.normal(size=shape).astype("float32")

    given = model.input if getattr(model, "input", None) is not None else None
    if given is None:
        return rng.normal(size=(count, 4)).astype("float32")
    if isinstance(given, dict):
        return {key: one(t) for key, t in given.items()}
    return [one(t) for t in given] if isinstance(given, (list, tuple)) else one(given)


def answers(model: Any, x: Any) -> list[np.ndarray]:
    """What a model makes of rows, in inference."""
    found = model(x, training=False)
    if isinstance(found, dict):
        found = [found[key] for key in sorted(found)]
    return [np.asarray(one, "float32") for one in (found if isinstance(found, (list, tuple)) else [found])]


def filled(model: Any, seed: int = 0) -> Any:
    """The model, with positive weights of no symmetry."""
    rng = np.random.default_rng(seed)
    model.set_weights(
        [
            w if w.dtype.kind in "iu" else rng.uniform(0.05, 0.9, np.shape(w)).astype("float32").astype(w.dtype)
            for w in model.get_weights()
        ]
    )
    for layer in model.layers:
        # Keras computes with values that it derived from the weights.
        if type(layer).__module__.startswith("keras") and hasattr(layer, "finalize_state"):
            layer.finalize_state()
    return model
