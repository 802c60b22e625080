"""Keras models with a planted cause: what is large is known before anything is measured.

As in ``tests/model/scenarios.py``: linear models that know the truth, so that nothing else is large beside the cause.
Everything here runs inside ``oracle()``, on whatever backend Keras has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import verax
from tests.keras_watch import layers_of_ones_own as own
from verax.ledger import Cause, Gap

__all__ = ["SCENARIOS", "TRUTH", "Scenario", "fitted", "knows", "linear", "rows"]

#: The coefficients behind every regression: y = x · TRUTH + noise.
TRUTH = np.linspace(-1.5, 1.5, 8, dtype="float32")[:, None]


@dataclass(frozen=True)
class Scenario:
    """A planted cause.

    Attributes:
        name: What was planted.
        ask: (keras, rng) -> the gap.
        cause: What must carry the largest amount; None where there is to be no gap at all.
        sign: Of that amount, validation less training.
    """

    name: str
    ask: Callable[[Any, np.random.Generator], Gap]
    cause: Cause | None
    sign: int


def rows(rng: np.random.Generator, n: int = 256, noise: float = 0.3) -> tuple[Any, Any]:
    """x (n, 8) and y (n, 1) of the linear truth."""
    x = rng.normal(size=(n, 8))
    return x.astype("float32"), (x @ TRUTH + noise * rng.normal(size=(n, 1))).astype("float32")


def linear(keras: Any, *before: Any, rate: float = 1e-4, loss: Any = "mse", **head: Any) -> Any:
    """Layers, then one linear unit that knows the truth; trained so slowly that its weights hardly move."""
    model = keras.Sequential([keras.Input((8,)), *before, keras.layers.Dense(1, name="head", **head)])
    model.compile(keras.optimizers.SGD(rate), loss)
    return knows(model)


def knows(model: Any, scale: float = 1.0) -> Any:
    """The same model, its last layer knowing the truth."""
    model.get_layer("head").set_weights([scale * TRUTH, np.zeros(1, "float32")])
    return model


def fitted(model: Any, train: Any, validation: Any, *, callbacks: Any = (), **fit: Any) -> Gap:
    """The gap after one epoch of batches of 16."""
    why = verax.keras.Explain(verbose=0)
    arguments = {"batch_size": 16, "epochs": 1, "verbose": 0, **fit}
    model.fit(*train, validation_data=validation, callbacks=[*callbacks, why], **arguments)
    return why.gap


def plain(make: Callable[[Any], Any], **fit: Any) -> Callable[[Any, np.random.Generator], Gap]:
    """Fit a model that knows the truth; training and validation rows are drawn alike."""
    return lambda keras, rng: fitted(make(keras), rows(rng), rows(rng), **fit)


# ---- what is asked ---------------------------------------------------------------------------------------------------


def norm(keras: Any, momentum: float, **more: Any) -> Any:
    return keras.layers.BatchNormalization(momentum=momentum, name="norm", **more)


def lagging(keras: Any, rng: np.random.Generator) -> Gap:
    """Inputs far from 0, averages that begin at 0 and 1: 16 updates at momentum 0.99 are 15 % of the way."""
    (x, y), (xv, yv) = rows(rng), rows(rng)
    return fitted(linear(keras, norm(keras, 0.99)), (4 * x + 5, y), (4 * xv + 5, yv))


def stale(keras: Any, rng: np.random.Generator) -> Gap:
    """A base with averages of other data, as a pretrained one has them, and few steps on the data at hand."""
    model = linear(keras, norm(keras, 0.99))
    model.get_layer("norm").set_weights([np.ones(8), np.zeros(8), np.full(8, 2.0), np.full(8, 0.25)])
    return fitted(model, rows(rng), rows(rng))


def decaying_kernel(keras: Any, rng: np.random.Generator) -> Gap:
    """Inputs that are 0: nothing but the penalty moves their weights, and it shrinks from step to step."""
    layers = keras.layers
    x, unused = keras.Input((8,)), keras.Input((4,))
    body = layers.Dense(8, use_bias=False, kernel_regularizer=keras.regularizers.L2(0.5), name="body")
    model = keras.Model([x, unused], layers.Dense(1, name="head")(layers.Add()([x, body(unused)])))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.get_layer("body").set_weights([rng.normal(size=(4, 8))])
    (xt, yt), (xv, yv), zero = rows(rng), rows(rng), np.zeros((256, 4), "float32")
    return fitted(knows(model), ([xt, zero], yt), ([xv, zero], yv))


def louder_rows(keras: Any, rng: np.random.Generator) -> Gap:
    """An exact model, so the data loss is 0; the output of the validation rows is three times as large."""
    (x, y), (xv, yv) = rows(rng, noise=0), rows(rng, noise=0)
    model = linear(keras, activity_regularizer=keras.regularizers.L2(0.1))
    return fitted(model, (x, y), (3 * xv, 3 * yv))


def added_loss(keras: Any, rng: np.random.Generator) -> Gap:
    """A loss that a layer adds: the mean square of its input, and validation inputs are twice as large."""
    (x, y), (xv, yv) = rows(rng, noise=0), rows(rng, noise=0)
    return fitted(linear(keras, own.adds_loss(keras)()), (x, y), (2 * xv, 2 * yv))


def two_classes(keras: Any, rng: np.random.Generator) -> Gap:
    """Rows of class 1 count ten times in training."""
    x, xv = rng.normal(size=(2, 256, 8))
    y, yv = ((a[:, :1] > 0).astype(int) for a in (x, xv))
    model = linear(keras, loss="binary_crossentropy", activation="sigmoid")
    model.get_layer("head").set_weights([0.1 * rng.normal(size=(8, 1)), np.zeros(1)])
    return fitted(model, (x, y), (xv, yv), class_weight={0: 1.0, 1: 10.0})


def zero_weights(keras: Any, rng: np.random.Generator) -> Gap:
    """Three rows of four weigh nothing: Keras' loss, Σ w·v / N, is a quarter of the plain one."""
    weight = (np.arange(256) % 4 == 0).astype("float32")
    return fitted(linear(keras), rows(rng, noise=2), rows(rng, noise=2), sample_weight=weight)


def validation_weights(keras: Any, rng: np.random.Generator) -> Gap:
    """Only the validation rows have weights."""
    return fitted(linear(keras), rows(rng, noise=2), (*rows(rng, noise=2), np.full(256, 3.0)))


def lengths(keras: Any, rng: np.random.Generator) -> Gap:
    """Sequences of very unequal lengths whose error grows along them; the validation rows are the long ones."""
    words = rng.integers(1, 20, (512, 12))
    length = np.concatenate([rng.choice([1, 12], 256, p=[0.8, 0.2]), np.full(256, 12)])
    words[np.arange(12) >= length[:, None]] = 0
    y = np.broadcast_to(0.5 * np.arange(12.0)[:, None], (512, 12, 1)).astype("float32")
    table = keras.layers.Embedding(20, 4, mask_zero=True)
    model = keras.Sequential([keras.Input((12,), dtype="int32"), table, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e-4), "mse")
    return fitted(model, (words[:256], y[:256]), (words[256:], y[256:]))


def other_rows(scale: float = 1.0, shift: float = 0.0) -> Callable[[Any, np.random.Generator], Gap]:
    """Validation rows prepared in another way."""

    def ask(keras: Any, rng: np.random.Generator) -> Gap:
        xv, yv = rows(rng)
        return fitted(linear(keras), rows(rng), ((scale * xv + shift * (np.arange(8) < 4)).astype("float32"), yv))

    return ask


def sorted_split(keras: Any, rng: np.random.Generator) -> Gap:
    """Rows in the order of their targets, and a model that says 0: the last quarter is the hardest."""
    x, y = rows(rng)
    order = np.argsort(y[:, 0])
    return fitted(knows(linear(keras), 0.0), (x[order], y[order]), None, validation_split=0.25)


def overfitted(keras: Any, rng: np.random.Generator) -> Gap:
    """32 rows of pure noise learnt by heart."""
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(128, "relu"), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05), "mse")
    x, y = rng.normal(size=(288, 8)), rng.normal(size=(288, 1))
    return fitted(model, (x[:32], y[:32]), (x[32:], y[32:]), epochs=120)


def moving(keras: Any, rng: np.random.Generator) -> Gap:
    """One epoch from knowing nothing to knowing nearly all."""
    return fitted(knows(linear(keras, rate=0.02), 0.0), rows(rng), rows(rng))


def diverging(keras: Any, rng: np.random.Generator) -> Gap:
    """A rate that is too large: every step makes it worse, so the end of the epoch is the worst of it."""
    return fitted(knows(linear(keras, rate=1.2), 1.05), rows(rng), rows(rng), batch_size=64)


def left_out(keras: Any, rng: np.random.Generator) -> Gap:
    """Four batches of sixteen, unshuffled; the rows that are left out are the noisy ones, as are half of the others."""
    (x, y), (xv, yv) = rows(rng), rows(rng)
    noisy = np.arange(256) >= 64
    y, yv = (t + 3 * rng.normal(size=t.shape) * noisy[:, None] for t in (y, yv))
    return fitted(linear(keras), (x, y), (xv, yv), shuffle=False, steps_per_epoch=4)


def averaged(keras: Any, rng: np.random.Generator) -> Gap:
    """An average over hundreds of steps, after forty-eight."""
    model = linear(keras)
    model.compile(keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.99), "mse")
    swap = keras.callbacks.SwapEMAWeights()
    return fitted(knows(model, 0.0), rows(rng), rows(rng), epochs=3, callbacks=[swap])


def flipped(keras: Any, rng: np.random.Generator) -> Gap:
    """Images whose left half alone tells the target, and a layer of Keras that mirrors them in training."""
    flip = keras.layers.RandomFlip("horizontal")
    model = keras.Sequential([keras.Input((1, 8, 1)), flip, keras.layers.Flatten(), keras.layers.Dense(1, name="head")])
    model.compile(keras.optimizers.SGD(1e-4), "mse")
    (x, y), (xv, yv) = rows(rng), rows(rng)
    return fitted(knows(model), (x.reshape(-1, 1, 8, 1), y), (xv.reshape(-1, 1, 8, 1), yv))


def recurrent(keras: Any, rng: np.random.Generator) -> Gap:
    """Dropout inside the cell of a recurrent layer, on whose sum the target stands."""
    gru = keras.layers.SimpleRNN(1, activation="linear", use_bias=False, dropout=0.5, name="head")
    model = keras.Sequential([keras.Input((6, 8)), gru])
    model.compile(keras.optimizers.SGD(1e-5), "mse")
    gru.set_weights([TRUTH, np.ones((1, 1))])
    x = rng.normal(size=(2, 256, 6, 8)).astype("float32")
    y = (x @ TRUTH).sum(2)
    return fitted(model, (x[0], y[0]), (x[1], y[1]))


SCENARIOS = [
    Scenario("dropout", plain(lambda k: linear(k, k.layers.Dropout(0.5))), Cause.DROPOUT, -1),
    Scenario("gaussian noise", plain(lambda k: linear(k, k.layers.GaussianNoise(1.0))), Cause.DROPOUT, -1),
    Scenario("gaussian dropout", plain(lambda k: linear(k, k.layers.GaussianDropout(0.5))), Cause.DROPOUT, -1),
    Scenario("dropout in a recurrent cell", recurrent, Cause.DROPOUT, -1),
    Scenario("stochastic depth", plain(lambda k: linear(k, own.drop_path(k)())), Cause.STOCHASTIC_DEPTH, -1),
    Scenario("augmentation layer of Keras", flipped, Cause.AUGMENTATION, -1),
    Scenario("augmentation of one's own", plain(lambda k: linear(k, own.random_sign(k)())), Cause.AUGMENTATION, -1),
    Scenario("layer with a training argument", plain(lambda k: linear(k, own.twice(k)())), Cause.CUSTOM_MODE, -1),
    Scenario("block with layers inside", plain(lambda k: linear(k, own.block(k)())), Cause.DROPOUT, -1),
    Scenario("batches of two", plain(lambda k: linear(k, norm(k, 0.97)), batch_size=2), Cause.BATCH_STATISTICS, -1),
    Scenario("lagging averages", lagging, Cause.MOVING_AVERAGES, +1),
    Scenario("stale averages of a base", stale, Cause.MOVING_AVERAGES, +1),
    Scenario("L2 on a kernel that decays", decaying_kernel, Cause.PENALTIES, -1),
    Scenario("activity regularizer, louder rows", louder_rows, Cause.PENALTIES, +1),
    Scenario("add_loss, louder rows", added_loss, Cause.PENALTIES, +1),
    Scenario("class weights", two_classes, Cause.ROW_WEIGHTS, -1),
    Scenario("zero sample weights", zero_weights, Cause.ROW_WEIGHTS, +1),
    Scenario("weights on the validation rows", validation_weights, Cause.ROW_WEIGHTS, +1),
    Scenario("masks of unequal lengths", lengths, Cause.ROWS, +1),
    Scenario("sorted rows, validation_split", sorted_split, Cause.ROWS, +1),
    Scenario("validation rows not scaled", other_rows(scale=3.0), Cause.ROWS, +1),
    Scenario("half of the validation columns shifted", other_rows(shift=2.0), Cause.ROWS, +1),
    Scenario("overfitting", overfitted, Cause.ROWS, +1),
    Scenario("weights move", moving, Cause.WEIGHTS_MOVED, -1),
    Scenario("weights move away", diverging, Cause.WEIGHTS_MOVED, +1),
    Scenario("steps_per_epoch", left_out, Cause.SKIPPED_ROWS, +1),
    Scenario("averaged weights", averaged, Cause.AVERAGED_WEIGHTS, +1),
    Scenario("no gap", plain(linear), None, 0),
    Scenario("no gap, dropout of rate 0", plain(lambda k: linear(k, k.layers.Dropout(0.0))), None, 0),
]
