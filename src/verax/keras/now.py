"""The two numbers of a Keras model at the weights of now, and why they differ."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from verax.errors import InputError, NotCompiledError, UnknownNameError
from verax.keras.explaining import Pass, gap_of
from verax.keras.frameworks import below, require_keras, size_of
from verax.keras.losses import rows_of, unpacked
from verax.keras.program import KerasProgram, Weights
from verax.keras.sources import Given
from verax.ledger.chain import Gap
from verax.ledger.facts import Facts
from verax.watch import Epoch, Step

__all__ = ["explain", "measured_pass", "rows_again", "weights_now"]

#: So many batches are measured at a time.
_CHUNK = 16


def explain(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    validation_data: Any,
    sample_weight: Any = None,
    class_weight: Mapping[int, float] | None = None,
    batch_size: int = 32,
    metric: str = "loss",
    memory: int = 256 << 20,
) -> Gap:
    """Why a Keras model's loss on training rows in training mode is not its loss on validation rows, both as it is now.

    The first number is the mean loss of the training rows with dropout and all else as in training, each batch with its
    own statistics; the second is that of ``model.evaluate``. Nothing of the model changes.

    Args:
        model: A compiled Keras model.
        x, y: (rows, ...) the training rows; or a ``keras.utils.PyDataset`` as x.
        validation_data: (x, y), (x, y, sample_weight) or a ``keras.utils.PyDataset``.
        sample_weight, class_weight: Of the training rows, as ``fit`` takes them.
        batch_size: Rows in a batch, for both.
        metric: "loss".
        memory: How many bytes of batches are kept at most; of more, a sample is measured for the causes between.

    Raises:
        NotCompiledError: The model has no loss.
        InputError: The rows cannot be read again.
        MissingExtraError: Keras is not installed.

    >>> import keras
    >>> keras.utils.set_random_seed(0)
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.5), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> rows = np.ones((64, 3), "float32"), np.ones(64, "float32")
    >>> gap = verax.keras.explain(model, *rows, validation_data=rows)
    >>> [link.cause.name for link in gap.links]
    ['DROPOUT', 'ROWS']
    """
    require_keras("verax.keras.explain measures a Keras model.")
    if metric != "loss":
        raise UnknownNameError.among("number of a Keras model", metric, ["loss"])
    check_compiled(model)
    if sample_weight is not None and class_weight is not None:
        raise InputError(
            "Training rows were to be weighted.",
            received="sample_weight and class_weight",
            because="Keras takes one of them",
            do="Give their product as sample_weight.",
        )
    train = Given(x, y, sample_weight, class_weight, batch_size)
    validation = Given.of(validation_data, batch_size, "validation_data")
    first = next(iter(train.batches()), None)
    if first is None:
        raise InputError("Training rows were to be measured.", received="none", do="Give at least one row.")
    if not model.built or (model._compile_loss is not None and not model._compile_loss.built):
        model._symbolic_build(data_batch=first)
    program = KerasProgram(model, first, weights_now(model))
    passes: list[Pass] = []
    for label, given, training in (("training rows", train, True), ("validation rows", validation, False)):
        record, weighted = measured_pass(program, given, training=training, memory=memory)
        words = "class weights" if given.class_weight else "sample weights"
        passes.append(Pass(label, record, given.rows, words if weighted else "none"))
    program.reread = rows_again(train, validation, passes[1].record)
    return gap_of(program, passes[0], passes[1], ("loss", "val_loss"), "now")


def check_compiled(model: Any) -> None:
    """The model has a loss.

    Raises:
        InputError: It is no Keras model.
        NotCompiledError: It was not compiled.
    """
    if not isinstance(model, require_keras("A Keras model was to be explained.").Model):
        raise InputError(
            "A Keras model was to be explained.",
            received=type(model).__name__,
            do="Give a keras.Model; a Verax model has model.explain.",
        )
    if not model.compiled:
        raise NotCompiledError(
            f"The gap of Keras model {model.name!r} was to be explained.",
            because="it was not compiled, so it has no loss",
            do="Call model.compile(optimizer, loss) first.",
        )


def weights_now(model: Any) -> Weights:
    """The variables of a model, copied."""
    copy = below().copy
    updates = int(model.optimizer.iterations) if getattr(model, "optimizer", None) is not None else 0
    trainable = [copy(v.value) for v in model.trainable_variables]
    return Weights(trainable, [copy(v.value) for v in model.non_trainable_variables], None, updates)


def measured_pass(
    program: KerasProgram, given: Given, *, training: bool, memory: int, chosen: int | None = None
) -> tuple[Epoch, bool]:
    """Rows as they are measured at the program's weights: its batches, and whether rows have weights.

    Args:
        program: Of the model.
        given: The rows.
        training: In which mode.
        memory: Bytes of batches to keep.
        chosen: How many batches are measured; all when None.
    """
    averaged = "raw" if training or program.weights.averaged is None else "EMA"
    modes = program.modes.facts("train" if training else "infer")
    facts = Facts(draws="fresh", modes=modes, weights="as given", averaged=averaged)
    record = Epoch(given.number or 1, memory)
    weighted = False
    batches = given.batches(chosen)
    while chunk := list(itertools.islice(batches, _CHUNK)):
        steps = [Step(record.steps + i, [b], size=size_of(b) if _owned(given, b) else 0) for i, b in enumerate(chunk)]
        weighted = weighted or unpacked(chunk[0])[2] is not None
        for step, found in zip(steps, program.run(facts, steps, None), strict=True):
            penalty = sum(found.penalties.values())
            record.add(step, found.value + penalty, found.rows, penalty, place=record.place())
    if not record.steps:
        raise InputError("Rows were to be measured.", received="none", do="Give at least one row.")
    return record, weighted


def _owned(given: Given, batch: Any) -> bool:
    """Whether a batch is a copy, which takes memory."""
    leaves = [a for a in require_keras("A batch was to be kept.").tree.flatten(unpacked(batch)[0]) if a is not None]
    return not given.arrays or any(getattr(leaf, "base", None) is None for leaf in leaves)


def rows_again(train: Given | None, validation: Given | None, record: Epoch) -> Any:
    """(facts) -> the batches of its rows, where they can be had a second time.

    Args:
        train, validation: The rows as they were given, where that is known.
        record: The validation's batches.
    """

    def again(facts: Facts) -> Iterable[Any] | None:
        if facts.rows.label == "validation rows":
            kept = record.sample()
            if len(kept) == record.steps:
                return [step.batch for step in kept]
            source, limit = validation, record.steps
        else:
            source, limit = train, None
        if source is None or not source.again:
            return None
        return ([batch] for batch in itertools.islice(source.batches(), limit))

    return again


def counted(given: Given | None) -> int | None:
    """How many rows were given; None where that is not known."""
    return None if given is None or not given.arrays else rows_of(given.x)
