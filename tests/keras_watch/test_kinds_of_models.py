"""Every kind of Keras model, data and loop: what is explained, and what is said where something cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import verax
from tests.keras_watch import layers_of_ones_own as own
from tests.keras_watch.scenarios import TRUTH, knows, linear, rows
from tests.oracle import oracle
from verax.keras import callback as callback_room
from verax.ledger import Cause
from verax.ledger.verdict import Kind


@pytest.fixture
def keras() -> Iterator[Any]:
    with oracle() as found:
        found.utils.set_random_seed(3)
        yield found


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(4)


def watched(model: Any, *data: Any, batch_size: int | None = 16, **fit: Any) -> tuple[Any, Any]:
    """The callback, after one epoch; and the history."""
    why = verax.keras.Explain(fit.pop("second", None), verbose=0)
    size = {} if batch_size is None else {"batch_size": batch_size}
    history = model.fit(*data, callbacks=[why], verbose=0, **size, **fit).history
    return why, history


def largest(gap: Any) -> Cause:
    amounts = gap.by_cause()
    return max(amounts, key=lambda cause: abs(amounts[cause]))


def shown(why: Any, history: Any) -> None:
    assert why.gap.train.value == pytest.approx(history["loss"][-1], rel=1e-5)
    assert why.gap.validation.value == pytest.approx(history["val_loss"][-1], rel=1e-5)
    assert abs(why.gap.residual) < 1e-9


def test_a_subclassed_model_that_depends_on_the_mode_itself(keras: Any, rng: np.random.Generator):
    model = own.residual_model(keras)()
    model.compile(keras.optimizers.SGD(1e-5), "mse")
    model(np.zeros((1, 8), "float32"))
    why, history = watched(knows(model), *rows(rng), validation_data=rows(rng))
    shown(why, history)
    causes = {link.cause for link in why.gap.links}
    assert {Cause.CUSTOM_MODE, Cause.DROPOUT} <= causes
    assert why.gap.grade == "full"


def test_several_inputs_and_outputs(keras: Any, rng: np.random.Generator):
    layers = keras.layers
    a, b = keras.Input((8,), name="a"), keras.Input((8,), name="b")
    body = layers.Dropout(0.5)(layers.Add()([a, b]))
    outputs = {"far": layers.Dense(1, name="far")(body), "near": layers.Dense(1, name="near")(body)}
    model = keras.Model({"a": a, "b": b}, outputs)
    model.compile(keras.optimizers.SGD(1e-5), {"far": "mse", "near": "mae"}, loss_weights={"far": 1.0, "near": 0.5})
    for name in outputs:
        model.get_layer(name).set_weights([TRUTH, np.zeros(1)])
    (x, y), (xv, yv) = rows(rng), rows(rng)
    train = {"a": x / 2, "b": x / 2}, {"far": y, "near": y}
    validation = {"a": xv / 2, "b": xv / 2}, {"far": yv, "near": yv}
    why, history = watched(model, *train, validation_data=validation)
    shown(why, history)
    assert largest(why.gap) is Cause.DROPOUT
    assert why.gap.train.facts.even
    assert why.gap.validation.stderr > 0
    now = verax.keras.explain(model, *train, validation_data=validation)
    assert largest(now) is Cause.DROPOUT


def test_several_steps_in_one_execution(keras: Any, rng: np.random.Generator):
    model = linear(keras, keras.layers.Dropout(0.5), rate=0.0, kernel_regularizer="l2")
    model.compile(keras.optimizers.SGD(0.0), "mse", steps_per_execution=4)
    knows(model)
    why, history = watched(model, *rows(rng, 200), validation_data=rows(rng, 90))
    shown(why, history)
    assert largest(why.gap) is Cause.DROPOUT
    assert abs(why.gap.by_cause()[Cause.WEIGHTS_MOVED]) < 1e-5  # the masks of all four were drawn again
    assert "penalties are those at the first of each 4 steps" in why.gap.notes[0]


def batches_of(data: Any, size: int = 16) -> Any:
    while True:
        for i in range(0, len(data[0]) - size + 1, size):
            yield tuple(part[i : i + size] for part in data)


def test_a_generator(keras: Any, rng: np.random.Generator):
    model = linear(keras, keras.layers.Dropout(0.5))
    why, history = watched(model, batches_of(rows(rng)), batch_size=None, steps_per_epoch=16, validation_data=rows(rng))
    shown(why, history)
    assert largest(why.gap) is Cause.DROPOUT
    assert why.gap.grade == "full"  # each batch was seen as it passed


def test_a_generator_that_writes_into_one_buffer(keras: Any, rng: np.random.Generator):
    model, (x, y) = linear(keras, rate=0.0), rows(rng)

    def batches() -> Any:
        buffer = np.empty((16, 8), "float32"), np.empty((16, 1), "float32")
        for i in range(0, 256, 16):
            buffer[0][:], buffer[1][:] = x[i : i + 16], y[i : i + 16]
            yield buffer

    why, _ = watched(model, batches(), batch_size=None, validation_data=rows(rng))
    assert abs(why.gap.by_cause()[Cause.WEIGHTS_MOVED]) < 1e-6


def test_a_generator_that_ends_early(keras: Any, rng: np.random.Generator):
    model = linear(keras)
    data = rows(rng)
    why, history = watched(
        model, (b for b, _ in zip(batches_of(data), range(5), strict=False)), batch_size=None, validation_data=data
    )
    shown(why, history)
    assert why.gap.train.facts.rows.count == 80


def py_dataset(keras: Any, data: Any) -> Any:
    class Batches(keras.utils.PyDataset):
        def __len__(self) -> int:
            return len(data[0]) // 16

        def __getitem__(self, i: int) -> Any:
            return tuple(part[16 * i : 16 * i + 16] for part in data)

    return Batches()


def test_a_sequence_of_batches(keras: Any, rng: np.random.Generator):
    model = linear(keras, keras.layers.Dropout(0.5))
    train, validation = (py_dataset(keras, rows(rng)) for _ in range(2))
    why, history = watched(model, train, batch_size=None, validation_data=validation)
    shown(why, history)
    assert largest(why.gap) is Cause.DROPOUT
    assert largest(verax.keras.explain(model, train, validation_data=validation)) is Cause.DROPOUT


def test_validation_rows_of_the_callback(keras: Any, rng: np.random.Generator):
    model = linear(keras, keras.layers.Dropout(0.5))
    validation = rows(rng)
    why, history = watched(model, *rows(rng), second=validation)
    assert "val_loss" not in history
    assert largest(why.gap) is Cause.DROPOUT
    assert why.gap.validation.value == pytest.approx(model.evaluate(*validation, verbose=0), rel=1e-5)


def told(keras: Any, frozen: bool) -> Any:
    """A subclassed model that tells its layers the mode itself."""

    class Told(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.norm = keras.layers.BatchNormalization(name="norm")
            self.norm.trainable = not frozen
            self.called = keras.layers.BatchNormalization(name="called")
            self.drop = keras.layers.Dropout(0.5, name="drop")
            self.head = keras.layers.Dense(1, name="head")

        def call(self, x: Any, training: bool = False) -> Any:
            x = self.called(self.norm(x, training=training), training=False)
            return self.head(self.drop(x, training=True))

    model = Told()
    model.compile(keras.optimizers.SGD(1e-6), "mse")
    model(np.zeros((1, 8), "float32"))
    return knows(model)


def test_layers_that_do_the_same_in_both_modes(keras: Any, rng: np.random.Generator):
    why, _ = watched(told(keras, frozen=True), *rows(rng), validation_data=rows(rng))
    states = {m.path: (m.state, m.why) for m in why.gap.train.facts.modes}
    assert states == {"norm": ("infer", "frozen"), "called": ("infer", "forced"), "drop": ("train", "forced")}
    assert not {Cause.BATCH_STATISTICS, Cause.MOVING_AVERAGES, Cause.DROPOUT} & set(why.gap.by_cause())
    assert why.gap.notes == ("drop runs in training mode in validation too: a call in its model says training=True.",)
    why, _ = watched(told(keras, frozen=False), *rows(rng), validation_data=rows(rng))
    assert Cause.MOVING_AVERAGES in why.gap.by_cause()


def test_attention_of_keras_is_no_effect_of_its_own(keras: Any, rng: np.random.Generator):
    """The layer hands training on to the dropout inside it; only that is named."""
    x = keras.Input((4, 8))
    attended = keras.layers.MultiHeadAttention(2, 4, dropout=0.5, name="attention")(x, x)
    model = keras.Model(x, keras.layers.Dense(1)(attended))
    model.compile(keras.optimizers.SGD(1e-4), "mse")
    data = rng.normal(size=(64, 4, 8)).astype("float32"), rng.normal(size=(64, 4, 1)).astype("float32")
    why, _ = watched(model, *data, validation_data=data)
    assert {m.effect for m in why.gap.train.facts.modes} == {"dropout"}
    assert len(why.gap.train.facts.modes) == 1


def test_mixed_precision_is_no_cause(keras: Any, rng: np.random.Generator):
    model = keras.Sequential([keras.Input((8,)), keras.layers.BatchNormalization(), keras.layers.Dense(1, name="head")])
    for layer in model.layers:
        layer.dtype_policy = "mixed_bfloat16"
    model.compile(keras.optimizers.SGD(1e-4), "mse")
    why, history = watched(knows(model), *rows(rng), validation_data=rows(rng))
    shown(why, history)
    assert Cause.PRECISION not in why.gap.by_cause()
    assert why.gap.grade == "full"


def test_masks_make_an_average_of_batches_that_is_made_even(keras: Any, rng: np.random.Generator):
    words = rng.integers(1, 20, (64, 12))
    words[np.arange(12) >= rng.choice([1, 12], 64)[:, None]] = 0
    y = np.broadcast_to(np.arange(12.0)[:, None], (64, 12, 1)).astype("float32")
    model = keras.Sequential(
        [keras.Input((12,), dtype="int32"), keras.layers.Embedding(20, 4, mask_zero=True), keras.layers.Dense(1)]
    )
    model.compile(keras.optimizers.SGD(0.0), "mse")
    why, history = watched(model, words, y, validation_data=(words, y), shuffle=False)
    shown(why, history)
    assert why.gap.verdict.kind is Kind.NONE
    assert abs(why.gap.by_cause()[Cause.AVERAGE]) < 1e-5  # taken off and put on again, on the same rows


def test_reductions(keras: Any, rng: np.random.Generator):
    for reduction in ("sum", "mean_with_sample_weight"):
        model = linear(keras, loss=keras.losses.MeanSquaredError(reduction=reduction), rate=0.0)
        weight = rng.uniform(size=256).astype("float32")
        why, history = watched(model, *rows(rng), validation_data=rows(rng), sample_weight=weight)
        shown(why, history)


def test_a_loss_that_is_a_plain_function(keras: Any, rng: np.random.Generator):
    model = linear(keras, loss=lambda y, p: keras.ops.mean((y - p) ** 2), rate=0.0)
    why, history = watched(model, *rows(rng), validation_data=rows(rng))
    shown(why, history)
    assert why.gap.validation.stderr > 0  # over batches, whose rows are not known one by one


def test_a_compute_loss_of_ones_own(keras: Any, rng: np.random.Generator):
    class Doubled(keras.Model):
        def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, **_: Any):
            return 2.0 * keras.ops.mean((y - y_pred) ** 2) + sum(self.losses)

    x = keras.Input((8,))
    head = keras.layers.Dense(1, name="head", kernel_regularizer="l2")
    model = Doubled(x, head(keras.layers.Dropout(0.5)(x)))
    model.compile(keras.optimizers.SGD(1e-5), "mse")
    why, history = watched(knows(model), *rows(rng), validation_data=rows(rng))
    shown(why, history)
    assert largest(why.gap) is Cause.DROPOUT
    assert any("compute_loss of its own" in note for note in why.gap.notes)


def test_a_train_step_of_ones_own_is_not_separated(keras: Any, rng: np.random.Generator):
    class Own(keras.Model):
        def train_step(self, *args: Any) -> Any:
            return super().train_step(*args)

    x = keras.Input((8,))
    model = Own(x, keras.layers.Dense(1, name="head", kernel_regularizer="l2")(x))
    model.compile(keras.optimizers.SGD(1e-4), "mse")
    why, history = watched(knows(model), *rows(rng), validation_data=rows(rng))
    shown(why, history)
    assert why.gap.grade == "not separated: the model has a train_step of its own, which cannot be run again " \
        "without changing it"  # fmt: skip
    assert list(why.gap.by_cause()) == [Cause.NOT_SEPARATED]


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_backend_whose_steps_are_not_seen(
    keras: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, dropout: float
):
    monkeypatch.setattr(callback_room, "why_unseen", lambda *_: "this backend does not show its steps one by one")
    model = linear(keras, keras.layers.Dropout(dropout), rate=0.02)
    why, history = watched(knows(model, 0.0), *rows(rng), validation_data=rows(rng))
    shown(why, history)
    amounts = why.gap.by_cause()
    if dropout:  # the weights moved and other masks were drawn, all at once; then causes are separated
        assert why.gap.grade == "not separated: this backend does not show its steps one by one"
        assert list(amounts)[:2] == [Cause.NOT_SEPARATED, Cause.DROPOUT]
        assert amounts[Cause.DROPOUT] < -0.5
    else:
        assert why.gap.grade == "full"
        assert largest(why.gap) is Cause.WEIGHTS_MOVED


def test_steps_that_are_not_seen_of_rows_that_are_gone(
    keras: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(callback_room, "why_unseen", lambda *_: "this backend does not show its steps one by one")
    model = linear(keras)
    why, history = watched(model, batches_of(rows(rng)), batch_size=None, steps_per_epoch=4, validation_data=rows(rng))
    shown(why, history)
    assert list(why.gap.by_cause()) == [Cause.NOT_SEPARATED]


def test_every_fit_inside_watching(keras: Any, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]):
    model, fit = linear(keras, keras.layers.Dropout(0.5)), keras.Model.fit
    data = rows(rng)
    with verax.keras.watching() as seen:
        model.fit(*data, 16, 1, 0, None, 0.25)  # all by position, as fit takes them
        model.fit(*data, validation_data=data, verbose=0, callbacks=keras.callbacks.History())
        model.fit(*data, verbose=0)
        mine = verax.keras.Explain(verbose=0)
        model.fit(*data, validation_data=data, verbose=0, callbacks=[mine])
    assert keras.Model.fit is fit
    assert "fit" not in vars(keras.Model)
    assert len(seen.fits) == 3  # the last had one already
    assert [largest(gap) for gap in seen.gaps] == [Cause.DROPOUT] * 2
    assert capsys.readouterr().out.count("dropout") == 2
    with pytest.raises(RuntimeError, match="inside"), verax.keras.watching():
        raise RuntimeError("inside")
    assert keras.Model.fit is fit


def test_the_callback_is_one_of_keras(keras: Any):
    why = verax.keras.Explain()
    assert isinstance(why, keras.callbacks.Callback)
    assert isinstance(why, verax.keras.Explain)
    assert type(verax.keras.Explain()) is type(why)


@pytest.mark.parametrize("weights", [{}, {"class_weight": {0: 1.0, 1: 5.0}}])
def test_the_numbers_of_now(keras: Any, rng: np.random.Generator, weights: dict[str, Any]):
    """Without dropout the first number is what evaluate says of the training rows, weights included."""
    model = linear(keras, loss="binary_crossentropy", activation="sigmoid")
    (x, y), (xv, yv) = ((a, (b > 0).astype("float32")) for a, b in (rows(rng, 250), rows(rng, 90)))
    gap = verax.keras.explain(model, x, y, validation_data=(xv, yv), **weights)
    weight = np.where(y[:, 0] > 0, 5.0, 1.0) if weights else None
    assert gap.train.value == pytest.approx(model.evaluate(x, y, sample_weight=weight, verbose=0), rel=1e-5)
    assert gap.validation.value == pytest.approx(model.evaluate(xv, yv, verbose=0), rel=1e-5)
    assert (Cause.ROW_WEIGHTS in gap.by_cause()) == bool(weights)
