"""Losses: per-example values first, a reduction only when a loss is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from verax.errors import InputError
from verax.frame.registry import Registry
from verax.losses.base import Loss, LossFunctionWrapper
from verax.losses.base import form_of as _form_of
from verax.losses.crossentropy import (
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    CategoricalGeneralizedCrossEntropy,
    SparseCategoricalCrossentropy,
)
from verax.losses.hinge import CategoricalHinge, Hinge, SquaredHinge, categorical_hinge, hinge, squared_hinge
from verax.losses.pairs import Circle, circle
from verax.losses.probabilistic import (
    KLDivergence,
    Poisson,
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_generalized_cross_entropy,
    kl_divergence,
    poisson,
    sparse_categorical_crossentropy,
)
from verax.losses.regions import Dice, Tversky, dice, tversky
from verax.losses.regression import (
    CosineSimilarity,
    Huber,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    cosine_similarity,
    huber,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
)
from verax.losses.sequences import CTC, ctc

__all__ = [
    "CTC",
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalGeneralizedCrossEntropy",
    "CategoricalHinge",
    "Circle",
    "CosineSimilarity",
    "Dice",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "LossFunctionWrapper",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "Tversky",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_generalized_cross_entropy",
    "categorical_hinge",
    "circle",
    "cosine_similarity",
    "ctc",
    "deserialize",
    "dice",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "poisson",
    "resolve",
    "serialize",
    "sparse_categorical_crossentropy",
    "squared_hinge",
    "tversky",
]

_ALIASES: dict[type[Loss], tuple[str, ...]] = {
    BinaryCrossentropy: ("bce", "BCE"),
    KLDivergence: ("kld", "KLD"),
    MeanAbsoluteError: ("mae", "MAE"),
    MeanAbsolutePercentageError: ("mape", "MAPE"),
    MeanSquaredError: ("mse", "MSE"),
    MeanSquaredLogarithmicError: ("msle", "MSLE"),
}
_registry = Registry("loss")
for _name in __all__:
    if _name[0].isupper() and _name not in ("Loss", "LossFunctionWrapper"):
        _registry.add(globals()[_name], *_ALIASES.get(globals()[_name], ()))


def get(identifier: Any) -> Loss | None:
    """The loss that ``identifier`` stands for.

    Args:
        identifier: A name (``"mse"``, ``"mean_squared_error"``, ``"MeanSquaredError"``), a configuration, a loss, a
            loss class, or a function ``(y_true, y_pred) -> values``, which is wrapped; None stays None.

    Raises:
        UnknownNameError: A name that is no loss; the nearest are given.

    Differs from Keras: the result is always a :class:`Loss`, with the name the person used.

    >>> get("mse"), get(lambda t, p: p - t)
    (<MeanSquaredError 'mse'>, <LossFunctionWrapper '<lambda>'>)
    """
    if isinstance(identifier, Mapping):
        return deserialize(identifier)
    found = _registry.get(identifier)
    if found is None or isinstance(found, Loss):
        if found is not None and isinstance(identifier, str) and identifier != type(found).__name__:
            found.name = identifier
        return found
    name = getattr(found, "__name__", "")
    if getattr(_registry.entries().get(name), "function", None) is found:
        return _registry[name]()
    return LossFunctionWrapper(found)


def resolve(identifier: Any, y_shape: tuple[int | None, ...], pred_shape: tuple[int | None, ...]) -> Loss | None:
    """As :func:`get`; ``"crossentropy"`` and ``"ce"`` take their form from the shapes, as in Keras' ``compile``.

    >>> resolve("crossentropy", (32,), (32, 10))
    <SparseCategoricalCrossentropy 'crossentropy'>
    """
    if not isinstance(identifier, str) or identifier.lower() not in ("crossentropy", "ce"):
        return get(identifier)
    return _registry[_form_of(y_shape, pred_shape) + "_crossentropy"](name=identifier)


def serialize(loss: Loss | Callable[..., Any] | None) -> Any:
    """The configuration of a loss, in Keras' form; the name of a function.

    >>> serialize(Huber(2.0))["config"]
    {'delta': 2.0, 'reduction': 'sum_over_batch_size', 'name': 'huber_loss', 'dtype': None}
    """
    config = _registry.serialize(loss)
    if isinstance(loss, LossFunctionWrapper):
        config["config"]["fn"] = getattr(loss.fn, "__name__", loss.name)
    return config


def deserialize(
    name: Mapping[str, Any] | str, custom_objects: Mapping[str, Callable[..., Any]] | None = None
) -> Loss | None:
    """The loss of a configuration made by :func:`serialize`.

    Args:
        name: A name, or a configuration.
        custom_objects: Name -> class or function, for losses that are not Verax's.

    Raises:
        InputError: A loss made of a function that ``custom_objects`` does not give.
    """
    known = custom_objects or {}
    if isinstance(name, str):
        return get(known.get(name, name))
    config = name
    if config["class_name"] != "LossFunctionWrapper":
        return cast("Loss", _registry.deserialize(config, custom_objects))
    fn = config["config"]["fn"]
    if isinstance(fn, str) and fn not in known:
        raise InputError(
            f"A loss made of the function {fn!r} was to be restored.",
            because="a function is saved by its name only",
            do=f"Pass custom_objects={{{fn!r}: {fn}}}.",
        )
    return LossFunctionWrapper(**{**config["config"], "fn": known.get(fn, fn)})
