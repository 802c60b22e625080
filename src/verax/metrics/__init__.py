"""Metrics: sums that add up over any split of the rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from verax import losses
from verax.errors import InputError
from verax.frame.registry import Registry
from verax.losses import (
    Loss,
    LossFunctionWrapper,
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_hinge,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
)
from verax.losses.base import form_of as _form_of
from verax.metrics.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
    binary_accuracy,
    categorical_accuracy,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)
from verax.metrics.auc import AUC
from verax.metrics.base import Mean, MeanMetricWrapper, Metric, Sum
from verax.metrics.confusion import (
    FalseNegatives,
    FalsePositives,
    Precision,
    PrecisionAtRecall,
    Recall,
    RecallAtPrecision,
    SensitivityAtSpecificity,
    SpecificityAtSensitivity,
    TrueNegatives,
    TruePositives,
)
from verax.metrics.correlation import (
    ConcordanceCorrelation,
    PearsonCorrelation,
    concordance_correlation,
    pearson_correlation,
)
from verax.metrics.fscore import F1Score, FBetaScore
from verax.metrics.iou import BinaryIoU, IoU, MeanIoU, OneHotIoU, OneHotMeanIoU
from verax.metrics.probabilistic import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CategoricalHinge,
    Hinge,
    KLDivergence,
    Poisson,
    SparseCategoricalCrossentropy,
    SquaredHinge,
)
from verax.metrics.regression import (
    CosineSimilarity,
    LogCoshError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    R2Score,
    RootMeanSquaredError,
)

__all__ = [
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "BinaryIoU",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "ConcordanceCorrelation",
    "CosineSimilarity",
    "F1Score",
    "FBetaScore",
    "FalseNegatives",
    "FalsePositives",
    "Hinge",
    "IoU",
    "KLDivergence",
    "LogCoshError",
    "Mean",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanIoU",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Metric",
    "OneHotIoU",
    "OneHotMeanIoU",
    "PearsonCorrelation",
    "Poisson",
    "Precision",
    "PrecisionAtRecall",
    "R2Score",
    "Recall",
    "RecallAtPrecision",
    "RootMeanSquaredError",
    "SensitivityAtSpecificity",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "SpecificityAtSensitivity",
    "SquaredHinge",
    "Sum",
    "TopKCategoricalAccuracy",
    "TrueNegatives",
    "TruePositives",
    "binary_accuracy",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_accuracy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "concordance_correlation",
    "deserialize",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "pearson_correlation",
    "poisson",
    "resolve",
    "serialize",
    "sparse_categorical_accuracy",
    "sparse_categorical_crossentropy",
    "sparse_top_k_categorical_accuracy",
    "squared_hinge",
    "top_k_categorical_accuracy",
]

_ALIASES: dict[type[Metric], tuple[str, ...]] = {
    BinaryCrossentropy: ("bce", "BCE"),
    BinaryIoU: ("binary_iou",),
    IoU: ("iou",),
    KLDivergence: ("kld", "KLD"),
    MeanAbsoluteError: ("mae", "MAE"),
    MeanAbsolutePercentageError: ("mape", "MAPE"),
    MeanIoU: ("mean_iou",),
    MeanSquaredError: ("mse", "MSE"),
    MeanSquaredLogarithmicError: ("msle", "MSLE"),
    OneHotIoU: ("one_hot_iou",),
    OneHotMeanIoU: ("one_hot_mean_iou",),
}
_registry = Registry("metric")
for _name in __all__:
    if _name[0].isupper() and _name not in ("Metric", "MeanMetricWrapper"):
        _registry.add(globals()[_name], *_ALIASES.get(globals()[_name], ()))


def get(identifier: Any) -> Metric | None:
    """The metric that ``identifier`` stands for, where no shapes are needed to tell; see :func:`resolve`.

    Args:
        identifier: A name, a configuration, a metric, a metric class, a loss, or a function ``(y_true, y_pred) ->
            values``; losses and functions are wrapped in :class:`MeanMetricWrapper`; None stays None.

    Raises:
        UnknownNameError: A name that is no metric; the nearest are given.

    >>> get("mae"), get(lambda t, p: p - t)
    (<MeanAbsoluteError 'mae'>, <MeanMetricWrapper '<lambda>'>)
    """
    if isinstance(identifier, Mapping):
        return deserialize(identifier)
    if isinstance(identifier, str):
        return _registry[identifier](name=identifier)
    found = _registry.get(identifier)
    if found is None or isinstance(found, Metric):
        return found
    own = losses.get(found)  # the loss itself, the loss of one of Verax's functions, or a wrapper of a person's own
    return MeanMetricWrapper(found if own is None or isinstance(own, LossFunctionWrapper) else own)


def resolve(
    identifier: Any,
    y_shape: tuple[int | None, ...],
    pred_shape: tuple[int | None, ...],
    loss: Loss | None = None,
) -> Metric | None:
    """As :func:`get`, for targets and predictions of known shapes.

    ``"accuracy"`` (``"acc"``) and ``"crossentropy"`` (``"ce"``) become binary with one output unit, sparse categorical
    where targets have an axis less or a last axis of length 1, else categorical: the rule of Keras' ``compile``. The
    metric keeps the name that was typed.

    Args:
        identifier: As in :func:`get`.
        y_shape, pred_shape: (batch or None, ...) shapes of targets and predictions.
        loss: The loss trained with. If it takes logits, so does a metric given by name.

    Differs from Keras: a metric given by name beside a ``from_logits=True`` loss reads predictions as logits (binary
    accuracy, precision, recall and counts at logit 0, AUC of their sigmoid, crossentropies of logits).

    >>> resolve("accuracy", (32,), (32, 10)), resolve("acc", (32, 1), (32, 1)).threshold
    (<SparseCategoricalAccuracy 'accuracy'>, 0.5)
    >>> resolve("acc", (32, 1), (32, 1), loss=losses.BinaryCrossentropy(from_logits=True)).threshold
    0.0
    """
    if not isinstance(identifier, str):
        return get(identifier)
    name = {"acc": "accuracy", "ce": "crossentropy"}.get(identifier.lower(), identifier.lower())
    by_shape = name in ("accuracy", "crossentropy")
    cls = _registry[f"{_form_of(y_shape, pred_shape)}_{name}" if by_shape else identifier]
    return cls(name=identifier, **(cls.on_logits if getattr(loss, "from_logits", False) else {}))


def serialize(metric: Metric | Callable[..., Any] | None) -> Any:
    """The configuration of a metric, in Keras' form; the name of a function.

    >>> serialize(Precision(top_k=3))["config"]
    {'thresholds': None, 'top_k': 3, 'class_id': None, 'name': 'precision', 'dtype': None}
    """
    config = _registry.serialize(metric)
    if isinstance(metric, MeanMetricWrapper) and "fn" in config["config"]:
        config["config"]["fn"] = losses.serialize(metric.fn)
    return config


def deserialize(
    config: Mapping[str, Any] | str, custom_objects: Mapping[str, Callable[..., Any]] | None = None
) -> Metric | None:
    """The metric of a configuration made by :func:`serialize`.

    Args:
        config: A configuration, or a name.
        custom_objects: Name -> class or function, for metrics that are not Verax's.

    Raises:
        InputError: A metric made of a function that ``custom_objects`` does not give.
    """
    known = custom_objects or {}
    if isinstance(config, str):
        return get(known.get(config, config))
    if config["class_name"] != "MeanMetricWrapper":
        return cast("Metric", _registry.deserialize(config, custom_objects))
    fn = config["config"]["fn"]
    if isinstance(fn, Mapping):
        fn = losses.deserialize(fn, custom_objects)
    elif isinstance(fn, str):
        if fn not in known:
            raise InputError(
                f"A metric made of the function {fn!r} was to be restored.",
                because="a function is saved by its name only",
                do=f"Pass custom_objects={{{fn!r}: {fn}}}.",
            )
        fn = known[fn]
    return MeanMetricWrapper(**{**config["config"], "fn": fn})
