"""Models as estimators of scikit-learn, in its own pipelines, searches and checks."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.datasets import make_classification, make_regression
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import verax
from verax import layers, wrappers
from verax.errors import DataError, InputError, MissingExtraError, StateError


def network(X, y, units=8, loss="categorical_crossentropy", last="softmax"):
    model = verax.Sequential(
        [verax.Input(X.shape[1:]), layers.Dense(units, activation="relu"), layers.Dense(y.shape[1], activation=last)]
    )
    model.compile(verax.optimizers.Adam(0.05), loss)
    return model


FIT = {"epochs": 20, "verbose": 0}


def classes(n=3, rows=60):
    return make_classification(rows, 6, n_informative=4, n_classes=n, random_state=0)


def test_a_classifier_learns_labels_of_any_kind():
    X, y = classes()
    names = np.array(["b", "a", "c"])[y]
    estimator = wrappers.SKLearnClassifier(network, model_kwargs={"units": 12}, fit_kwargs=FIT).fit(X, names)
    assert is_classifier(estimator)
    assert estimator.classes_.tolist() == ["a", "b", "c"]
    assert estimator.score(X, names) > 0.8
    assert estimator.model_.layers[0].units == 12
    assert len(estimator.history_.epoch) == 20
    np.testing.assert_allclose(estimator.predict_proba(X).sum(1), 1.0, rtol=1e-5)
    assert estimator.decision_function(X).shape == (60, 3)
    two = wrappers.SKLearnClassifier(network, fit_kwargs=FIT).fit(*classes(2))
    assert two.decision_function(X).shape == (60,)


def test_a_regressor_keeps_the_rank_of_its_targets():
    X, y = make_regression(60, 4, random_state=0)
    X, y = X.astype("f"), (y / y.std()).astype("f")
    kwargs = {"loss": "mse", "last": None}
    estimator = wrappers.SKLearnRegressor(network, model_kwargs=kwargs, fit_kwargs={**FIT, "epochs": 60}).fit(X, y)
    assert is_regressor(estimator)
    assert estimator.predict(X).shape == (60,)
    assert estimator.score(X, y) > 0.9
    two = wrappers.SKLearnRegressor(network, model_kwargs=kwargs, fit_kwargs=FIT).fit(X, np.stack([y, -y], 1))
    assert two.predict(X).shape == (60, 2)


def test_a_transformer_in_a_pipeline():
    X, y = classes(2)
    kwargs = {"loss": "binary_crossentropy", "last": "sigmoid"}
    transformer = wrappers.SKLearnTransformer(network, model_kwargs=kwargs, fit_kwargs=FIT)
    pipeline = make_pipeline(StandardScaler(), transformer, LogisticRegression()).fit(X, y)
    assert pipeline.score(X, y) > 0.8


def test_cross_validation_and_a_search():
    X, y = classes(2, 40)
    fit = {"epochs": 5, "verbose": 0}
    estimator = wrappers.SKLearnClassifier(network, model_kwargs={"units": 4}, fit_kwargs=fit)
    assert cross_val_score(estimator, X, y, cv=2).shape == (2,)
    search = GridSearchCV(estimator, {"model_kwargs": [{"units": 2}, {"units": 6}]}, cv=2).fit(X, y)
    assert search.best_params_["model_kwargs"]["units"] in (2, 6)


def test_a_model_is_cloned_and_fit_goes_on_only_when_asked():
    X, y = classes(2)
    model = network(X, np.zeros((1, 2)))
    before = model.get_weights()
    fit = {"epochs": 1, "verbose": 0}
    estimator = wrappers.SKLearnClassifier(model, fit_kwargs=fit)
    first = estimator.fit(X, y).model_
    assert first is not model
    assert estimator.fit(X, y, epochs=2).model_ is not first
    assert len(estimator.history_.epoch) == 2
    assert fit == {"epochs": 1, "verbose": 0}
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    warm = wrappers.SKLearnClassifier(model, warm_start=True, fit_kwargs=fit).fit(X, y)
    first = warm.model_
    assert warm.fit(X, y).model_ is first


def test_scikit_learn_may_clone_it_show_it_and_set_its_parameters():
    estimator = wrappers.SKLearnRegressor(network, True, {"units": 3}, FIT)
    again = clone(estimator)
    assert again.get_params() == estimator.get_params()
    assert "SKLearnRegressor" in repr(again)
    assert again.set_params(warm_start=False).warm_start is False
    assert pickle.loads(pickle.dumps(again)).model_kwargs == {"units": 3}


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda X, y: wrappers.SKLearnClassifier(network).predict(X), NotFittedError, "not fitted"),
        (lambda X, y: wrappers.SKLearnClassifier(network).fit(X, y * 0), DataError, "only one class"),
        (lambda X, y: wrappers.SKLearnClassifier(network).fit(X, np.eye(2)[y]), DataError, "multilabel"),
        (lambda X, y: wrappers.SKLearnRegressor(3).fit(X, y), InputError, "function"),
        (lambda X, y: wrappers.SKLearnRegressor(lambda X, y: 3).fit(X, y), InputError, "returned 3"),
        (lambda X, y: wrappers.SKLearnRegressor(verax.Sequential()).fit(X, y), StateError, "compile"),
    ],
)
def test_what_cannot_be_done_says_so(make, error, text):
    with pytest.raises(error, match=text):
        make(*classes(2))


def test_without_scikit_learn_the_message_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.delitem(vars(wrappers), "SKLearnClassifier", raising=False)
    with pytest.raises(MissingExtraError, match=r"verax\[sklearn\]"):
        wrappers.SKLearnClassifier
