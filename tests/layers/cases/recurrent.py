"""Recurrences: cells, layers over cells, both ways, step by step, and of images."""

from __future__ import annotations

from typing import Any

from tests.layers.cases.base import QUICK, STEPS, Case

__all__ = ["CASES"]

LINES, IMAGES, VOLUMES = (2, 3, 6, 2), (2, 3, 5, 6, 2), (2, 2, 3, 4, 3, 2)
IMAGES_FIRST = (2, 3, 2, 5, 6)
KINDS = ("LSTM", "GRU", "SimpleRNN")
OUTPUTS: dict[str, dict[str, Any]] = {
    "stateful": {"stateful": True},
    "unrolled": {"unroll": True},
    "unrolled backwards": {"unroll": True, "go_backwards": True, "return_state": True},
    "state only": {"return_state": True},
    "zero output": {"zero_output_for_mask": True, "return_sequences": True},
}
REGULAR = {
    "kernel_regularizer": "l2",
    "recurrent_regularizer": "l1",
    "bias_regularizer": "l1",
    "activity_regularizer": "l2",
    "kernel_constraint": "max_norm",
    "recurrent_constraint": "non_neg",
    "bias_constraint": "unit_norm",
    "bias_initializer": "ones",
}


def _penalties(kind: str) -> dict[str, str]:
    # Keras forgets the activity regularizer of SimpleRNN: see test_recurrent.py.
    return {k: v for k, v in REGULAR.items() if kind != "SimpleRNN" or k != "activity_regularizer"}


def _kinds() -> list[Case]:
    rows: list[Case] = []
    for kind in KINDS:
        for name, options in OUTPUTS.items():
            rows.append(
                Case(
                    f"{kind} {name}",
                    lambda m, k=kind, o=options: getattr(m, k)(3, **o, **QUICK),
                    STEPS,
                    fixed="stateful" in options,
                )
            )
        rows += [
            Case(f"{kind} with penalties", lambda m, k=kind: getattr(m, k)(3, **_penalties(k), **QUICK), STEPS),
            Case(f"{kind} linear", lambda m, k=kind: getattr(m, k)(3, activation=None, **QUICK), STEPS),
            Case(f"{kind} named", lambda m, k=kind: getattr(m, k)(3, name="read", **QUICK), STEPS),
            Case(f"{kind} frozen", lambda m, k=kind: getattr(m, k)(3, trainable=False, **QUICK), STEPS),
            Case(f"{kind} drops", lambda m, k=kind: getattr(m, k)(3, dropout=0.5, **QUICK), STEPS, draws=True),
        ]
    rows += [
        Case("LSTM forget bias off", lambda m: m.LSTM(3, unit_forget_bias=False, **QUICK), STEPS),
        Case("LSTM without cuDNN", lambda m: m.LSTM(3, use_cudnn=False, **QUICK), STEPS),
        Case("GRU relu, reset before, backwards", lambda m: m.GRU(3, "relu", reset_after=False, go_backwards=True,
             use_bias=False, **QUICK), STEPS),
        Case("GRU seeded", lambda m: m.GRU(3, recurrent_dropout=0.5, seed=1, **QUICK), STEPS, draws=True),
        Case("GRU one step", lambda m: m.GRU(3, return_sequences=True, **QUICK), (2, 1, 4)),
    ]  # fmt: skip
    return rows


def _over_cells() -> list[Case]:
    def cell(m, kind, **options):
        return getattr(m, f"{kind}Cell")(3, name="cell", **options, **QUICK)

    def stack(m, **options):
        first, second = m.LSTMCell(3, name="first", **QUICK), m.GRUCell(2, name="second", **QUICK)
        return m.RNN(m.StackedRNNCells([first, second], name="cell"), **options)

    rows = [Case(f"RNN {kind}Cell", lambda m, k=kind: m.RNN(cell(m, k)), STEPS) for kind in KINDS]
    rows += [
        Case(
            f"RNN {kind}Cell all outputs",
            lambda m, k=kind: m.RNN(cell(m, k), return_sequences=True, return_state=True),
            STEPS,
        )
        for kind in KINDS
    ]
    rows += [
        Case("RNN backwards", lambda m: m.RNN(cell(m, "GRU"), go_backwards=True), STEPS),
        Case("RNN unrolled", lambda m: m.RNN(cell(m, "LSTM"), unroll=True, return_sequences=True), STEPS),
        Case("RNN stateful", lambda m: m.RNN(cell(m, "LSTM"), stateful=True), STEPS, fixed=True),
        Case("RNN zero output", lambda m: m.RNN(cell(m, "LSTM"), zero_output_for_mask=True), STEPS),
        Case("RNN of other activations", lambda m: m.RNN(cell(m, "LSTM", activation="relu", use_bias=False)), STEPS),
        Case("RNN that drops", lambda m: m.RNN(cell(m, "GRU", recurrent_dropout=0.5)), STEPS, draws=True),
        Case("RNN with a penalty", lambda m: m.RNN(cell(m, "GRU"), activity_regularizer="l2"), STEPS),
        Case("RNN of a stack", stack, STEPS),
        Case("RNN of a stack, all outputs", lambda m: stack(m, return_sequences=True), STEPS),
        Case("RNN of a stack, states", lambda m: stack(m, return_state=True, return_sequences=True), STEPS),
        Case("RNN of a stack, unrolled", lambda m: stack(m, unroll=True), STEPS),
        Case("RNN of a stack, backwards", lambda m: stack(m, go_backwards=True), STEPS),
        Case("RNN of a stack, stateful", lambda m: stack(m, stateful=True), STEPS, fixed=True),
    ]
    return rows


def _cells() -> list[Case]:
    rows = [
        Case(f"{kind}Cell", lambda m, k=kind: getattr(m, f"{k}Cell")(3, **QUICK), [(2, 4), (2, 3)], spread=True)
        for kind in ("GRU", "SimpleRNN")
    ]
    rows += [
        Case("GRUCell reset before", lambda m: m.GRUCell(3, reset_after=False, **QUICK), [(2, 4), (2, 3)], spread=True),
        Case("GRUCell no bias", lambda m: m.GRUCell(3, use_bias=False, **QUICK), [(2, 4), (2, 3)], spread=True),
        Case("SimpleRNNCell relu", lambda m: m.SimpleRNNCell(3, "relu", **QUICK), [(2, 4), (2, 3)], spread=True),
    ]
    return rows


def _both_ways() -> list[Case]:
    rows = [
        Case(f"Bidirectional {kind}", lambda m, k=kind: m.Bidirectional(getattr(m, k)(3, **QUICK)), STEPS)
        for kind in KINDS
    ]
    for mode in ("sum", "mul", "ave", "concat", None):
        rows += [
            Case(f"Bidirectional {mode}", lambda m, w=mode: m.Bidirectional(m.GRU(2, **QUICK), merge_mode=w), STEPS),
            Case(
                f"Bidirectional {mode}, all outputs",
                lambda m, w=mode: m.Bidirectional(m.LSTM(2, return_sequences=True, **QUICK), merge_mode=w),
                STEPS,
            ),
        ]

    def two(m, **options):
        backward = m.GRU(2, "relu", go_backwards=True, return_sequences=True, name="other", **QUICK)
        return m.Bidirectional(m.LSTM(2, return_sequences=True, **QUICK), backward_layer=backward, **options)

    rows += [
        Case("Bidirectional, states", lambda m: m.Bidirectional(m.LSTM(2, return_state=True, **QUICK)), STEPS),
        Case(
            "Bidirectional of two, all outputs and states",
            lambda m: m.Bidirectional(m.GRU(2, return_sequences=True, return_state=True, **QUICK), merge_mode=None),
            STEPS,
        ),
        Case("Bidirectional with a backward layer", two, STEPS),
        Case("Bidirectional with a backward layer, summed", lambda m: two(m, merge_mode="sum"), STEPS),
        Case("Bidirectional stateful", lambda m: m.Bidirectional(m.GRU(2, stateful=True, **QUICK)), STEPS, fixed=True),
        Case("Bidirectional named", lambda m: m.Bidirectional(m.GRU(2, name="read", **QUICK), name="both"), STEPS),
        Case(
            "Bidirectional over a cell",
            lambda m: m.Bidirectional(m.RNN(m.LSTMCell(2, name="cell", **QUICK), return_sequences=True)),
            STEPS,
        ),
        Case("Bidirectional that drops", lambda m: m.Bidirectional(m.GRU(2, dropout=0.5, **QUICK)), STEPS, draws=True),
        Case("Bidirectional ConvLSTM1D", lambda m: m.Bidirectional(m.ConvLSTM1D(2, 2, **QUICK)), LINES),
    ]
    return rows


def _step_by_step() -> list[Case]:
    def timed(name, make, shape, dtype="float32", **options):
        return Case(f"TimeDistributed {name}", lambda m: m.TimeDistributed(make(m)), shape, dtype, **options)

    return [
        timed("Dense", lambda m: m.Dense(3, name="layer"), STEPS),
        timed("Dense relu", lambda m: m.Dense(3, "relu", use_bias=False, name="layer"), (2, 3, 5, 4)),
        timed("Dense frozen", lambda m: m.Dense(3, trainable=False, name="layer"), STEPS),
        timed("Conv2D", lambda m: m.Conv2D(3, 2, name="layer"), IMAGES),
        timed("Conv2D strided", lambda m: m.Conv2D(3, 2, strides=2, padding="same", name="layer"), IMAGES),
        timed("MaxPooling2D", lambda m: m.MaxPooling2D(2), IMAGES),
        timed("Flatten", lambda m: m.Flatten(), IMAGES),
        timed("Embedding", lambda m: m.Embedding(5, 3, name="layer"), (2, 3, 4), "int32"),
        timed("LSTM", lambda m: m.LSTM(3, name="layer", **QUICK), LINES),
        timed("LSTM all outputs", lambda m: m.LSTM(3, return_sequences=True, name="layer", **QUICK), LINES),
        timed("BatchNormalization", lambda m: m.BatchNormalization(name="layer"), STEPS),
        timed("BatchNormalization of images", lambda m: m.BatchNormalization(momentum=0.9, name="layer"), IMAGES),
        timed("LayerNormalization", lambda m: m.LayerNormalization(name="layer"), STEPS),
        timed("Dropout", lambda m: m.Dropout(0.5), STEPS, draws=True),
        timed("TimeDistributed", lambda m: m.TimeDistributed(m.Dense(2, name="layer"), name="layer"), (2, 3, 5, 4)),
    ]


def _images() -> list[Case]:
    def rows_of(name, shape, **options):
        said = ", ".join(f"{key}={value}" for key, value in options.items())
        make = lambda m: getattr(m, name)(3, 2, **options, **QUICK)  # noqa: E731
        return Case(f"{name} {said}".strip(), make, shape, fixed="stateful" in options)

    rows: list[Case] = []
    for name, shape in {"ConvLSTM1D": LINES, "ConvLSTM2D": IMAGES, "ConvLSTM3D": VOLUMES}.items():
        rows += [
            rows_of(name, shape),
            rows_of(name, shape, padding="same", return_sequences=True),
            rows_of(name, shape, strides=2, padding="same", return_state=True),
            rows_of(name, shape, go_backwards=True, use_bias=False),
        ]
    rows += [
        rows_of("ConvLSTM1D", (2, 3, 2, 6), data_format="channels_first", return_sequences=True),
        rows_of("ConvLSTM2D", IMAGES_FIRST, data_format="channels_first", padding="same"),
        rows_of("ConvLSTM2D", IMAGES_FIRST, data_format="channels_first", strides=2, return_state=True),
        rows_of("ConvLSTM2D", IMAGES, dilation_rate=2, return_sequences=True),
        rows_of("ConvLSTM2D", IMAGES, activation="relu", recurrent_activation="hard_sigmoid"),
        rows_of("ConvLSTM2D", IMAGES, unit_forget_bias=False, bias_initializer="ones"),
        rows_of("ConvLSTM2D", IMAGES, stateful=True),
        rows_of("ConvLSTM2D", IMAGES, unroll=True, return_sequences=True),
        Case("ConvLSTM2D of windows", lambda m: m.ConvLSTM2D(3, (2, 3), strides=(1, 2), **QUICK), IMAGES),
        Case("ConvLSTM2D with penalties", lambda m: m.ConvLSTM2D(3, 2, **REGULAR, **QUICK), IMAGES),
        Case("ConvLSTM2D drops", lambda m: m.ConvLSTM2D(3, 2, dropout=0.3, recurrent_dropout=0.2, **QUICK), IMAGES,
             draws=True),
        rows_of("ConvLSTM1D", LINES, zero_output_for_mask=True, return_sequences=True),
    ]  # fmt: skip
    return rows


CASES = [*_kinds(), *_over_cells(), *_cells(), *_both_ways(), *_step_by_step(), *_images()]
