"""Gaps with a planted cause: small models whose one large reason for a gap is known before anything is measured.

A scenario makes one model, and asks for a gap once for each seed: other rows, other draws, the same compiled programs.
Most plant their cause in a linear model that already knows the truth, so that nothing else is large beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import verax
from verax import layers, optimizers, regularizers
from verax.ledger import Cause, Gap

__all__ = ["SCENARIOS", "TRUTH", "Scenario", "fitted", "knows", "linear", "rows"]

#: The coefficients behind every regression: y = x · TRUTH + noise.
TRUTH = np.linspace(-1.5, 1.5, 8, dtype="float32")[:, None]


@dataclass(frozen=True)
class Scenario:
    """A planted cause.

    Attributes:
        name: What was planted.
        make: () -> a compiled model.
        ask: (model, rng) -> the gap.
        cause: What must carry the largest amount; None where there is to be no gap at all.
        sign: Of that amount, validation less training.
    """

    name: str
    make: Callable[[], Any]
    ask: Callable[[Any, np.random.Generator], Gap]
    cause: Cause | None
    sign: int


def rows(rng: np.random.Generator, n: int = 256, noise: float = 0.3) -> tuple[Any, Any]:
    """x (n, 8) and y (n, 1) of the linear truth."""
    x = rng.normal(size=(n, 8))
    return x.astype("float32"), (x @ TRUTH + noise * rng.normal(size=(n, 1))).astype("float32")


def linear(*before: Any, rate: float = 1e-4, loss: Any = "mse", metrics: Any = None, **head: Any) -> Any:
    """Layers, then one linear unit; trained so slowly that its weights hardly move."""
    model = verax.Sequential([verax.Input((8,)), *before, layers.Dense(1, name="head", **head)])
    model.compile(optimizers.SGD(rate), loss, metrics=metrics)
    return model


def knows(model: Any, scale: float = 1.0) -> Any:
    """The same model, its last layer knowing the truth."""
    model.get_layer("head").set_weights([scale * TRUTH, np.zeros(1, "float32")])
    return model


def shuffled(model: Any, rng: np.random.Generator) -> Any:
    """The same model with its weight matrices shuffled: a new start of the same distribution."""
    weights = model.get_weights()
    model.set_weights([rng.permutation(w.ravel()).reshape(w.shape) if w.ndim > 1 else w for w in weights])
    return model


def fitted(model: Any, train: Any, validation: Any, metric: str = "loss", **fit: Any) -> Gap:
    """The gap after one epoch of batches of 16."""
    arguments = {"batch_size": 16, "epochs": 1, "verbose": 0, **fit}
    return model.fit(*train, validation_data=validation, **arguments).gap(metric)


def plain(**fit: Any) -> Callable[[Any, np.random.Generator], Gap]:
    """Fit the model that knows the truth; training and validation rows are drawn alike."""
    return lambda model, rng: fitted(knows(model), rows(rng), rows(rng), **fit)


# ---- layers of a person's own ----------------------------------------------------------------------------------------


class SkipInTraining(verax.Layer):
    """Stochastic depth: a block whose rows are left out at random in training, and never in inference."""

    def call(self, x):
        def drop():
            kept = jax.random.bernoulli(self.draw_key(), 0.5, (x.shape[0], 1))
            return jnp.where(kept, x, jnp.zeros_like(x))

        return self.by_mode("stochastic_depth", train=drop, infer=lambda: x)


class RandomFlip(verax.Layer):
    """Augmentation: half of the columns change their sign at random in training."""

    def call(self, x):
        def flip():
            sign = jnp.where(jax.random.bernoulli(self.draw_key(), 0.5, (x.shape[0], 1)), 1.0, -1.0)
            return jnp.concatenate([x[:, :4] * sign, x[:, 4:]], axis=1)

        return self.by_mode("augmentation", train=flip, infer=lambda: x)


class TwiceInTraining(verax.Layer):
    """A layer with a ``training`` argument, that does something else with it than it should."""

    def call(self, x, training=None):
        return 2.0 * x if training else x


# ---- what is asked ---------------------------------------------------------------------------------------------------


def small_batches(model: Any, rng: np.random.Generator) -> Gap:
    """Two rows a batch, moving averages that have caught up: what is left is the noise of a batch's own moments."""
    return fitted(knows(model), rows(rng), rows(rng), batch_size=2)


def lagging(model: Any, rng: np.random.Generator) -> Gap:
    """Inputs far from 0, averages that begin at 0 and 1: 16 updates at momentum 0.99 are 15 % of the way."""
    model.get_layer("norm").set_weights([np.ones(8), np.zeros(8), np.zeros(8), np.ones(8)])
    (x, y), (xv, yv) = rows(rng), rows(rng)
    return fitted(knows(model), (4 * x + 5, y), (4 * xv + 5, yv))


def stale(model: Any, rng: np.random.Generator) -> Gap:
    """A base with averages of other data, as a pretrained one has them, and few steps on the data at hand."""
    model.get_layer("norm").set_weights([np.ones(8), np.zeros(8), np.full(8, 2.0), np.full(8, 0.25)])
    return fitted(knows(model), rows(rng), rows(rng))


def decaying_kernel(model: Any, rng: np.random.Generator) -> Gap:
    """Inputs that are 0: nothing but the penalty moves their weights, and it shrinks from step to step."""
    model.get_layer("body").set_weights([rng.normal(size=(4, 8))])
    x, y = rows(rng)
    xv, yv = rows(rng)
    return fitted(knows(model), ([x, np.zeros((256, 4))], y), ([xv, np.zeros((256, 4))], yv))


def decaying_net() -> Any:
    x, unused = verax.Input((8,)), verax.Input((4,))
    body = layers.Dense(8, use_bias=False, kernel_regularizer=regularizers.L2(0.5), name="body")
    out = layers.Dense(1, name="head")(layers.Add()([x, body(unused)]))
    model = verax.Model([x, unused], out)
    model.compile(optimizers.SGD(0.1), "mse")
    return model


def word_net(rate: float = 0.1, penalty: float = 0.5) -> Any:
    table = layers.Embedding(50, 4, embeddings_regularizer=regularizers.L2(penalty), name="table")
    model = verax.Sequential([verax.Input((6,), dtype="int32"), table, layers.GlobalAveragePooling1D()])
    model.add(layers.Dense(1, name="head"))
    model.compile(optimizers.SGD(rate), "mse")
    return model


def decaying_words(model: Any, rng: np.random.Generator) -> Gap:
    """A table of 50 words of which 5 occur: the penalty of the others shrinks through the epoch."""
    model.get_layer("table").set_weights([rng.normal(size=(50, 4))])
    model.get_layer("head").set_weights([0.1 * rng.normal(size=(4, 1)), np.zeros(1)])
    words = rng.integers(0, 5, (512, 6))
    y = 0.3 * rng.normal(size=(512, 1))
    return fitted(model, (words[:256], y[:256]), (words[256:], y[256:]))


def frozen_words(model: Any, rng: np.random.Generator) -> Gap:
    """The same rows at the same weights, first with the table frozen (a frozen weight is not penalized), then not."""
    table = model.get_layer("table")
    table.set_weights([rng.normal(size=(50, 4))])
    words, y = rng.integers(0, 50, (256, 6)), rng.normal(size=(256, 1))
    readings = []
    for trainable in (False, True):
        table.trainable = trainable
        readings.append(model.measure(words, y)["loss"])
    return verax.explain(*readings)


def louder_rows(model: Any, rng: np.random.Generator) -> Gap:
    """An exact model, so the data loss is 0; the output of the validation rows is three times as large."""
    (x, y), (xv, yv) = rows(rng, noise=0), rows(rng, noise=0)
    return fitted(knows(model), (x, y), (3 * xv, 3 * yv))


def two_classes(model: Any, rng: np.random.Generator) -> Gap:
    """Rows of class 1 count ten times in training."""
    x, xv = rng.normal(size=(2, 256, 8))
    y, yv = ((a[:, :1] > 0).astype(int) for a in (x, xv))
    return fitted(shuffled(model, rng), (x, y), (xv, yv), class_weight={0: 1.0, 1: 10.0})


def zero_weights(model: Any, rng: np.random.Generator) -> Gap:
    """Three rows of four weigh nothing: Keras' loss, Σ w·v / N, is a quarter of the plain one."""
    weight = (np.arange(256) % 4 == 0).astype("float32")
    return fitted(knows(model), rows(rng, noise=2), rows(rng, noise=2), sample_weight=weight)


def validation_weights(model: Any, rng: np.random.Generator) -> Gap:
    """Only the validation rows have weights."""
    return fitted(knows(model), rows(rng, noise=2), (*rows(rng, noise=2), np.full(256, 3.0)))


def lengths(model: Any, rng: np.random.Generator) -> Gap:
    """Sequences of very unequal lengths whose error grows along them; the validation rows are the long ones."""
    words = rng.integers(1, 20, (512, 12))
    length = np.concatenate([rng.choice([1, 12], 256, p=[0.8, 0.2]), np.full(256, 12)])
    words[np.arange(12) >= length[:, None]] = 0
    y = np.broadcast_to(0.5 * np.arange(12.0)[:, None], (512, 12, 1))
    return fitted(shuffled(model, rng), (words[:256], y[:256]), (words[256:], y[256:]))


def sequence_net() -> Any:
    table = layers.Embedding(20, 4, mask_zero=True)
    model = verax.Sequential([verax.Input((12,), dtype="int32"), table, layers.Dense(1)])
    model.compile(optimizers.SGD(1e-4), "mse")
    return model


def other_rows(scale: float = 1.0, shift: float = 0.0) -> Callable[[Any, np.random.Generator], Gap]:
    """Validation rows prepared in another way."""

    def ask(model: Any, rng: np.random.Generator) -> Gap:
        xv, yv = rows(rng)
        return fitted(knows(model), rows(rng), (scale * xv + shift * (np.arange(8) < 4), yv))

    return ask


def sorted_split(model: Any, rng: np.random.Generator) -> Gap:
    """Rows in the order of their targets, and a model that says 0: the last quarter is the hardest."""
    x, y = rows(rng)
    order = np.argsort(y[:, 0])
    model.get_layer("head").set_weights([np.zeros((8, 1)), np.zeros(1)])
    return fitted(model, (x[order], y[order]), None, validation_split=0.25)


def overfitted(model: Any, rng: np.random.Generator) -> Gap:
    """32 rows of pure noise learnt by heart."""
    x, y = rng.normal(size=(288, 8)), rng.normal(size=(288, 1))
    return fitted(shuffled(model, rng), (x[:32], y[:32]), (x[32:], y[32:]), epochs=150)


def overfitting_net() -> Any:
    model = verax.Sequential([verax.Input((8,)), layers.Dense(128, activation="relu"), layers.Dense(1)])
    model.compile(optimizers.SGD(0.05), "mse")
    return model


def moving(model: Any, rng: np.random.Generator) -> Gap:
    """One epoch from knowing nothing to knowing nearly all."""
    model.get_layer("head").set_weights([np.zeros((8, 1)), np.zeros(1)])
    return fitted(model, rows(rng), rows(rng))


def diverging(model: Any, rng: np.random.Generator) -> Gap:
    """A rate that is too large: every step makes it worse, so the end of the epoch is the worst of it."""
    return fitted(knows(model, 1.05), rows(rng), rows(rng), batch_size=64)


def left_out(model: Any, rng: np.random.Generator) -> Gap:
    """Four batches of sixteen, unshuffled; the rows that are left out are the noisy ones, as are half of the others."""
    (x, y), (xv, yv) = rows(rng), rows(rng)
    noisy = np.arange(256) >= 64
    y, yv = (t + 3 * rng.normal(size=t.shape) * noisy[:, None] for t in (y, yv))
    return fitted(knows(model), (x, y), (xv, yv), shuffle=False, steps_per_epoch=4)


def averaged(_: Any, rng: np.random.Generator) -> Gap:
    """An average over hundreds of steps, after sixteen; a new model for each seed, for the average starts with it."""
    model = linear()
    model.compile(optimizers.SGD(0.05, use_ema=True, ema_momentum=0.99), "mse")
    model.get_layer("head").set_weights([np.zeros((8, 1)), np.zeros(1)])
    train = rows(rng)
    return fitted(model, train, rows(rng), epochs=3, callbacks=[verax.callbacks.SwapEMAWeights()])


def signs(metric: str) -> Callable[[Any, np.random.Generator], Gap]:
    """A classifier that knows the truth, asked for a metric."""

    def ask(model: Any, rng: np.random.Generator) -> Gap:
        (x, y), (xv, yv) = rows(rng, noise=1), rows(rng, noise=1)
        return fitted(knows(model), (x, (y > 0).astype(int)), (xv, (yv > 0).astype(int)), metric)

    return ask


def classifier() -> Any:
    dropped = layers.Dropout(0.5)
    return linear(dropped, loss="binary_crossentropy", metrics=["accuracy", "auc"], activation="sigmoid")


def norm(momentum: float) -> Any:
    return layers.BatchNormalization(momentum=momentum, name="norm")


SCENARIOS = [
    Scenario("dropout", lambda: linear(layers.Dropout(0.5)), plain(), Cause.DROPOUT, -1),
    Scenario("gaussian noise", lambda: linear(layers.GaussianNoise(1.0)), plain(), Cause.DROPOUT, -1),
    Scenario("stochastic depth", lambda: linear(SkipInTraining()), plain(), Cause.STOCHASTIC_DEPTH, -1),
    Scenario("augmentation layer", lambda: linear(RandomFlip()), plain(), Cause.AUGMENTATION, -1),
    Scenario("layer with a training argument", lambda: linear(TwiceInTraining()), plain(), Cause.CUSTOM_MODE, -1),
    Scenario("batches of two", lambda: linear(norm(0.97)), small_batches, Cause.BATCH_STATISTICS, -1),
    Scenario("lagging averages", lambda: linear(norm(0.99)), lagging, Cause.MOVING_AVERAGES, +1),
    Scenario("stale averages of a base", lambda: linear(norm(0.99)), stale, Cause.MOVING_AVERAGES, +1),
    Scenario("L2 on a kernel that decays", decaying_net, decaying_kernel, Cause.PENALTIES, -1),
    Scenario("L2 on embeddings that decay", word_net, decaying_words, Cause.PENALTIES, -1),
    Scenario("L2 on embeddings, frozen or not", word_net, frozen_words, Cause.PENALTIES, +1),
    Scenario(
        "activity regularizer, louder rows",
        lambda: linear(activity_regularizer=regularizers.L2(0.1)),
        louder_rows,
        Cause.PENALTIES,
        +1,
    ),
    Scenario(
        "class weights",
        lambda: linear(loss="binary_crossentropy", activation="sigmoid"),
        two_classes,
        Cause.ROW_WEIGHTS,
        -1,
    ),
    Scenario("zero sample weights", linear, zero_weights, Cause.ROW_WEIGHTS, +1),
    Scenario("weights on the validation rows", linear, validation_weights, Cause.ROW_WEIGHTS, +1),
    Scenario("masks of unequal lengths", sequence_net, lengths, Cause.ROWS, +1),
    Scenario("sorted rows, validation_split", linear, sorted_split, Cause.ROWS, +1),
    Scenario("validation rows not scaled", linear, other_rows(scale=3.0), Cause.ROWS, +1),
    Scenario("half of the validation columns shifted", linear, other_rows(shift=2.0), Cause.ROWS, +1),
    Scenario("overfitting", overfitting_net, overfitted, Cause.ROWS, +1),
    Scenario("weights move", lambda: linear(rate=0.02), moving, Cause.WEIGHTS_MOVED, -1),
    Scenario("weights move away", lambda: linear(rate=1.2), diverging, Cause.WEIGHTS_MOVED, +1),
    Scenario("steps_per_epoch", linear, left_out, Cause.SKIPPED_ROWS, +1),
    Scenario("averaged weights", linear, averaged, Cause.AVERAGED_WEIGHTS, +1),
    Scenario("accuracy under dropout", classifier, signs("accuracy"), Cause.DROPOUT, +1),
    Scenario("AUC under dropout", classifier, signs("auc"), Cause.DROPOUT, +1),
    Scenario("no gap", linear, plain(), None, 0),
]
