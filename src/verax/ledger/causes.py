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
        "compare the data losses: reading.data",
    )
    OBJECTIVE = (
        ("objective",),
        "training objective",
        "the training objective is not the reported loss",
        "report the plain loss as a metric",
    )
    WEIGHTS_MOVED = (
        ("params",),
        "weights moved",
        "the weights moved while the loss was being averaged",
        "report the loss at the end of the epoch: model.evaluate on the training rows",
    )
    FITTED_DRAWS = (
        ("draws",),
        "fitted draws",
        "these random draws had already been fitted",
        "nothing: it is how dropout trains; measure with fresh draws to see it",
    )
    AUGMENTATION = (
        ("view", "mode:augmentation"),
        "augmentation",
        "augmentation makes the rows harder",
        "measure plain rows to compare",
    )
    DROPOUT = (
        ("mode:dropout", "mode:noise"),
        "dropout and noise",
        "dropout and noise are on in training and off in inference",
        "compare in inference mode: model.evaluate",
    )
    STOCHASTIC_DEPTH = (
        ("mode:stochastic_depth",),
        "stochastic depth",
        "blocks are skipped at random in training and never in inference",
        "compare in inference mode: model.evaluate",
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
        "a batch's own mean and variance are noisy",
        "use larger batches, or a normalization that does not mix rows",
    )
    MOVING_AVERAGES = (
        ("mode:batch_statistics:population",),
        "moving averages lag",
        "the moving averages lag behind the weights",
        "model.recalibrate(x), or a smaller momentum",
    )
    ROW_WEIGHTS = (
        ("weights",),
        "row weights",
        "rows count differently",
        "pass the same sample weights to validation",
    )
    AVERAGE = (
        ("average",),
        "averaging",
        "the number averages rows unequally",
        "fold sums, not averages: Verax's own readings do",
    )
    AVERAGED_WEIGHTS = (
        ("averaged",),
        "averaged weights",
        "validation used weights averaged over steps",
        "evaluate the raw weights to compare",
    )
    PRECISION = (("dtype",), "precision", "the numbers were computed in different precision", "compare in float32")
    ROWS = (
        ("rows",),
        "different rows",
        "the rows differ, all else equal: the generalization gap",
        "more data, regularization or a smaller model, if it is more than sampling noise",
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
