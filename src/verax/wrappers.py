"""Models as estimators of scikit-learn: in pipelines, in cross-validation, in a grid search.

The classes are made when they are first asked for, because their bases are scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from verax.errors import DataError, InputError, MissingExtraError, StateError
from verax.models import Model, clone_model

if TYPE_CHECKING:
    SKLearnClassifier: type[Any]
    SKLearnRegressor: type[Any]
    SKLearnTransformer: type[Any]

__all__ = ["SKLearnClassifier", "SKLearnRegressor", "SKLearnTransformer"]


class _Estimator:
    """What the three have in common.

    Args:
        model: A compiled model, of which ``fit`` trains a clone; or a function ``(X, y, **model_kwargs)`` that makes
            one for the data (of a classifier, ``y`` is one-hot).
        warm_start: A second ``fit`` goes on with the model of the first, where it is False a new one is trained.
        model_kwargs: Further arguments of the function.
        fit_kwargs: Arguments of ``model.fit``; those given to ``fit`` come before them.

    Attributes:
        model_: The trained model.
        history_: What its ``fit`` returned.

    Differs from Keras: ``warm_start`` does what it says (there, it changes nothing); cloning keeps ``fit_kwargs``,
    and ``fit`` does not change them.
    """

    def __init__(
        self,
        model: Model | Callable[..., Model],
        warm_start: bool = False,
        model_kwargs: Mapping[str, Any] | None = None,
        fit_kwargs: Mapping[str, Any] | None = None,
    ):
        self.model = model
        self.warm_start = warm_start
        self.model_kwargs = model_kwargs
        self.fit_kwargs = fit_kwargs

    def __sklearn_clone__(self) -> Any:
        # A model is a parameter and never trained itself: the clone may hold the same one.
        return type(self)(self.model, self.warm_start, self.model_kwargs, self.fit_kwargs)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # pyright: ignore[reportAttributeAccessIssue]
        tags.non_deterministic = True
        return tags

    def fit(self, X: Any, y: Any, **kwargs: Any) -> Any:
        """Train on X (rows, features) and y (rows,) or (rows, outputs); the rest goes to ``model.fit``."""
        from sklearn.utils.validation import validate_data

        X, y = validate_data(self, X, y, **self._y_checks)
        targets = self._encoded(y)
        model = self.model_ if self.warm_start and hasattr(self, "model_") else self._made(X, targets)
        if not model.compiled:
            raise StateError(
                f"{type(self).__name__} trains its model.",
                because="the model is not compiled",
                do="Call model.compile(optimizer='adam', loss=...) before.",
            )
        self.history_ = model.fit(X, targets, **{**(self.fit_kwargs or {}), **kwargs})
        self.model_ = model
        return self

    _y_checks: Mapping[str, Any] = {"multi_output": True, "y_numeric": True}

    def _made(self, X: Any, y: Any) -> Model:
        made = clone_model(self.model) if isinstance(self.model, Model) else None
        if made is None and callable(self.model):
            made = self.model(X=X, y=y, **(self.model_kwargs or {}))
        if not isinstance(made, Model):
            raise InputError(
                f"{type(self).__name__}(model=...) takes a model, or a function (X, y) -> model.",
                received=f"{type(self.model).__name__}" if made is None else f"a function that returned {made!r}",
            )
        return made

    def _outputs(self, X: Any) -> Any:
        from sklearn.utils.validation import check_is_fitted, validate_data

        check_is_fitted(self)
        return self.model_.predict(validate_data(self, X, reset=False), verbose=0)

    def _encoded(self, y: Any) -> Any:
        self.ndim_ = y.ndim
        return y.reshape(-1, 1) if y.ndim == 1 else y


class _Classifier(_Estimator):
    __doc__ = f"""A classifier; ``y`` may be any labels, which the model sees one-hot.
    {(_Estimator.__doc__ or "").split("have in common.", 1)[1]}
    ``classes_``: the labels, in the order of the model's outputs.
    """

    _y_checks: Mapping[str, Any] = {"multi_output": True}

    def _encoded(self, y: Any) -> Any:
        from sklearn.utils.multiclass import check_classification_targets, type_of_target

        check_classification_targets(y)
        kind = type_of_target(y)
        if kind not in ("binary", "multiclass"):
            raise DataError(
                "SKLearnClassifier learns one class for each row.",
                received=f"targets of the kind {kind!r}",
                because="Only binary and multiclass targets are supported",
            )
        self.classes_, numbers = np.unique(np.ravel(y), return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(
                "SKLearnClassifier learns to tell classes apart.",
                received=f"one class: {self.classes_[0]!r}",
                because="the classifier can't be trained when only one class is present",
            )
        return np.eye(len(self.classes_), dtype=np.float32)[numbers]

    def predict(self, X: Any) -> Any:
        """The label of each row: (rows,)."""
        found = self._outputs(X)
        return self.classes_[np.argmax(found, axis=-1)]

    def predict_proba(self, X: Any) -> Any:
        """The model's outputs (rows, classes): probabilities, where it ends in a softmax."""
        return self._outputs(X)

    def decision_function(self, X: Any) -> Any:
        """The model's outputs (rows, classes); for two classes those of the second, (rows,)."""
        found = self._outputs(X)
        return found[:, 1] if len(self.classes_) == 2 else found


class _Regressor(_Estimator):
    __doc__ = f"""A regressor.
    {(_Estimator.__doc__ or "").split("have in common.", 1)[1]}"""

    def predict(self, X: Any) -> Any:
        """The model's outputs, of the rank of the targets it was trained on."""
        found = self._outputs(X)
        return found[:, 0] if self.ndim_ == 1 and found.ndim == 2 and found.shape[1] == 1 else found


class _Transformer(_Estimator):
    __doc__ = f"""What a model makes of its inputs, as features for another estimator.
    {(_Estimator.__doc__ or "").split("have in common.", 1)[1]}"""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags

    def transform(self, X: Any) -> Any:
        """The model's outputs for X."""
        return self._outputs(X)


_PARTS = {
    "SKLearnClassifier": (_Classifier, "ClassifierMixin"),
    "SKLearnRegressor": (_Regressor, "RegressorMixin"),
    "SKLearnTransformer": (_Transformer, "TransformerMixin"),
}


def __getattr__(name: str) -> Any:
    if name not in _PARTS:
        raise AttributeError(f"module 'verax.wrappers' has no attribute {name!r}")
    try:
        from sklearn import base
    except ImportError:
        asked = f"wrappers.{name} is an estimator of scikit-learn."
        raise MissingExtraError.of("scikit-learn", extra="sklearn", asked=asked) from None
    part, mixin = _PARTS[name]
    made = type(
        name, (part, getattr(base, mixin), base.BaseEstimator), {"__module__": __name__, "__doc__": part.__doc__}
    )
    globals()[name] = made
    return made


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
