"""Why two numbers differ: an enumeration of causes, each with a sentence and what to do about it."""

from __future__ import annotations

import enum

from verax.errors import ChainError
from verax.ledger.facts import Change

__all__ = ["Cause"]


class Cause(enum.Enum):
    """One reason for a difference between two readings: value = (facts that name it, title, sentence, advice)."""

    PENALTIES = (
        ("terms",),
        "penalties",
        "penalties are counted in one number and not in the other",
        "compare the losses without them: reading.data",
    )
    OBJECTIVE = (
        ("objective",),
        "training objective",
        "the training objective is not the reported loss",
        "give the plain loss to compile as a metric, and compare that",
    )
    WEIGHTS_MOVED = (
        ("params",),
        "weights moved",
        "the weights moved while the number was being averaged",
        "nothing is wrong; for the number at the end of the epoch, model.evaluate on the training rows",
    )
    FITTED_DRAWS = (
        ("draws",),
        "fitted draws",
        "the steps had already fitted the random draws they were measured with",
        "nothing is wrong: each step lowers the loss for the masks it drew, and new masks undo a part of that",
    )
    AUGMENTATION = (
        ("view", "mode:augmentation"),
        "augmentation",
        "training rows are augmented and validation rows are not",
        "nothing is wrong; to compare, model.evaluate on the plain training rows",
    )
    DROPOUT = (
        ("mode:dropout", "mode:noise"),
        "dropout and noise",
        "dropout and noise are on in training and off in inference",
        "nothing is wrong; to compare in inference mode, model.evaluate on the training rows",
    )
    STOCHASTIC_DEPTH = (
        ("mode:stochastic_depth",),
        "stochastic depth",
        "blocks are skipped at random in training and never in inference",
        "nothing is wrong; to compare in inference mode, model.evaluate on the training rows",
    )
    CUSTOM_MODE = (
        ("mode:custom",),
        "custom layer",
        "a layer behaves differently in training",
        "read the layer's call: what does it do with training?",
    )
    BATCH_STATISTICS = (
        ("mode:batch_statistics:train",),
        "batch statistics",
        "normalization used each batch's own mean and variance",
        "larger batches, or a normalization that does not mix rows (LayerNormalization)",
    )
    MOVING_AVERAGES = (
        ("mode:batch_statistics:population",),
        "moving averages lag",
        "the moving averages lag behind the weights",
        "model.recalibrate(x) sets them to the present weights; or train with a smaller momentum",
    )
    ROW_WEIGHTS = (
        ("weights",),
        "row weights",
        "rows count differently in the two numbers",
        "give the validation rows weights by the same rule: validation_data=(x, y, sample_weight)",
    )
    AVERAGE = (
        ("average",),
        "averaging",
        "the two numbers average their rows in different ways",
        "compare numbers that are averaged alike: the same reduction for both",
    )
    AVERAGED_WEIGHTS = (
        ("averaged",),
        "averaged weights",
        "validation used weights averaged over steps",
        "nothing is wrong; to compare, evaluate both numbers with the same weights",
    )
    PRECISION = (
        ("dtype",),
        "precision",
        "the numbers were computed in different precision",
        "to compare, measure both in float32",
    )
    SKIPPED_ROWS = (
        ("rows:skipped",),
        "rows left out",
        "the epoch did not see all training rows",
        "let the epoch see every row: leave steps_per_epoch out",
    )
    ROWS = (
        ("rows",),
        "different rows",
        "the rows differ, all else equal",
        "more data, augmentation, regularization or a smaller model; and check that the validation rows are drawn and "
        "prepared as the training rows are",
    )

    NOT_SEPARATED = (
        (),
        "not separated",
        "several facts changed at once and could not be measured one by one",
        "train on arrays or a sequence of batches, which can be read again",
    )

    def __init__(self, facts: tuple[str, ...], title: str, sentence: str, advice: str):
        self.facts = facts
        self.title = title
        self.sentence = sentence
        self.advice = advice

    @classmethod
    def of(cls, change: Change) -> Cause:
        """The cause that one changed fact is."""
        wanted = change.fact
        if wanted.startswith("mode:custom"):
            wanted = "mode:custom"
        elif wanted == "mode:batch_statistics":
            ends = {change.before, change.after}
            wanted += ":population" if ends == {"population", "infer"} else ":train"
        for cause in cls:
            if wanted in cause.facts:
                return cause
        raise ChainError("A changed fact was to be named as a cause.", received=str(change), because="no cause has it")
