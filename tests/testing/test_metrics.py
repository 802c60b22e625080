"""check_metric passes for every metric, and finds every fault that is planted."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from tests.metrics.test_oracle import CASES
from verax import metrics
from verax.ledger.tally import Tally
from verax.testing import CheckError, check_metric


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]} {c[1] or ''}")
def test_every_metric_passes(case):
    name, arguments, target, prediction = case
    # The adjusted R² divides by the number of rows, which weights do not change.
    counts = not arguments.get("num_regressors")
    check_metric(getattr(metrics, name)(**arguments), target(9, 3), prediction(9, 3), counts=counts)


class BatchAverage(metrics.Metric):
    """A mean of batches' means."""

    def tally(self, y_true, y_pred, sample_weight=None):
        return Tally.of(jnp.mean(jnp.abs(y_true - y_pred), keepdims=True), None)


class Largest(metrics.Metric):
    """The largest error of a batch is no sum."""

    def tally(self, y_true, y_pred, sample_weight=None):
        return {"most": jnp.max(jnp.abs(y_true - y_pred))}

    def finish(self, sums):
        return float(sums["most"])


class Unweighted(metrics.Metric):
    """Takes weights and ignores them."""

    def tally(self, y_true, y_pred, sample_weight=None):
        return Tally.of(jnp.abs(y_true - y_pred), None)


class Remembers(metrics.Metric):
    """Keeps what it has seen where reset_state does not reach."""

    def __init__(self, name=None):
        super().__init__(name)
        self.seen = 0

    def tally(self, y_true, y_pred, sample_weight=None):
        return Tally.of(jnp.abs(y_true - y_pred), sample_weight)

    def update_state(self, *args):
        self.seen += 1
        super().update_state(*args)

    def result(self):
        return super().result() * self.seen

    def get_config(self):
        return {"name": self.name}


class Conditional(metrics.Metric):
    """Decides by a value."""

    def tally(self, y_true, y_pred, sample_weight=None):
        error = jnp.abs(y_true - y_pred)
        return Tally.of(error if float(jnp.sum(error)) >= 0 else -error, sample_weight)


class Forgets(metrics.Metric):
    """Has a configuration that lacks an argument."""

    def __init__(self, power=1.0, name=None):
        super().__init__(name)
        self.power = power

    def tally(self, y_true, y_pred, sample_weight=None):
        return Tally.of(jnp.abs(y_true - y_pred) ** self.power, sample_weight)

    def get_config(self):
        return {"name": self.name}


@pytest.mark.parametrize(
    ("metric", "fault"),
    [
        (BatchAverage(), "split"),
        (Largest(), "split"),
        (Unweighted(), "weights"),
        (Remembers(), "reset"),
        (Conditional(), "jit"),
        (Forgets(3.0), "config"),
    ],
    ids=lambda v: getattr(v, "name", ""),
)
def test_a_planted_fault_is_found(metric, fault):
    rng = np.random.default_rng(0)
    with pytest.raises(CheckError) as caught:
        check_metric(metric, rng.normal(size=9).astype("float32"), rng.normal(size=9).astype("float32"))
    assert fault in caught.value.faults
    assert set(caught.value.faults) <= {fault, "weights"}
