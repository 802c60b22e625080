"""Metrics by name, and their configurations."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

from tests.oracle import oracle
from verax import losses, metrics
from verax.errors import InputError, UnknownNameError

REQUIRED = {
    "SensitivityAtSpecificity": {"specificity": 0.5},
    "SpecificityAtSensitivity": {"sensitivity": 0.5},
    "PrecisionAtRecall": {"recall": 0.5},
    "RecallAtPrecision": {"precision": 0.5},
    "IoU": {"num_classes": 3, "target_class_ids": [0, 2]},
    "MeanIoU": {"num_classes": 3},
    "OneHotIoU": {"num_classes": 3, "target_class_ids": [0, 2]},
    "OneHotMeanIoU": {"num_classes": 3},
}
CLASSES = [n for n in metrics.__all__ if n[0].isupper() and n not in ("Metric", "MeanMetricWrapper")]


def test_every_public_name_exists():
    assert sorted(metrics.__all__) == metrics.__all__
    assert all(hasattr(metrics, name) for name in metrics.__all__)


def test_every_keras_name_of_a_metric_we_have_is_known():
    with oracle() as keras:
        theirs = keras.src.metrics.ALL_OBJECTS_DICT
    ours = {name for name, entry in theirs.items() if entry.__name__ in CLASSES and entry.__name__ not in REQUIRED}
    assert {"mse", "MAE", "auc", "f1_score", "TruePositives"} <= ours
    for name in ours:
        assert type(metrics.get(name)).__name__ == theirs[name].__name__
        assert metrics.get(name).name == name


@pytest.mark.parametrize("name", CLASSES)
def test_configurations_restore_the_metric(name):
    metric = getattr(metrics, name)(**REQUIRED.get(name, {}), dtype="float32")
    again = metrics.deserialize(metrics.serialize(metric))
    assert type(again) is type(metric)
    assert again.get_config() == metric.get_config()
    with oracle() as keras:
        getattr(keras.metrics, name).from_config(metric.get_config())


def test_get():
    metric = metrics.Recall()
    assert metrics.get(metric) is metric
    assert metrics.get(None) is None
    assert isinstance(metrics.get(metrics.Recall), metrics.Recall)
    assert metrics.get({"class_name": "Recall", "config": {"top_k": 2}}).top_k == 2
    assert metrics.get(losses.Huber(2.0)).name == "huber_loss"
    assert metrics.get(metrics.binary_crossentropy).link == "sigmoid"
    assert metrics.get(metrics.binary_accuracy).name == "binary_accuracy"
    with pytest.raises(UnknownNameError, match="Did you mean 'binary_accuracy'"):
        metrics.get("binary_acuracy")


def gap(y_true, y_pred, power=1.0):
    return jnp.mean(jnp.abs(y_true - y_pred) ** power, axis=-1)


def test_wrapped_functions_and_losses_are_restored():
    metric = metrics.MeanMetricWrapper(gap, power=2.0)
    config = metrics.serialize(metric)
    again = metrics.deserialize(config, custom_objects={"gap": gap})
    assert again.name == "gap"
    assert again(jnp.zeros((2, 1)), jnp.full((2, 1), 3.0)) == 9.0
    with pytest.raises(InputError, match="custom_objects="):
        metrics.deserialize(config)
    assert metrics.deserialize(metrics.serialize(metrics.get(losses.Huber(2.0)))).fn.delta == 2.0
