"""Tallies add up: any split of the rows gives the same metric; and sklearn agrees with what they come to."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.metrics.test_oracle import CASES
from verax import metrics
from verax.ledger.tally import fold

RNG = np.random.default_rng(3)
ROWS = 12
SPLITS = [(3, 9), (9, 3), (3, 3, 3, 3)]  # of few sizes, since each is compiled once
SHARED = (
    "AtS",
    "AtR",
    "AtP",
    "Negatives",
    "FalseP",
    "Recall",
    "F1",
)  # in the name: the sums of Precision or FBetaScore
ONE_OF_A_CLASS = {case[0]: case for case in CASES if not any(part in case[0] for part in SHARED)}


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.permutations(range(ROWS)), st.sampled_from(SPLITS), st.booleans())
def check_any_split(metric, t, p, w, order, sizes, weighted):
    order = np.array(order)
    t, p, w = t[order], p[order], (w if weighted else np.ones_like(w))[order]
    whole = metric.finish(fold([metric.tally(t, p, w)]))
    parts = [metric.tally(t[a:b], p[a:b], w[a:b]) for a, b in itertools.pairwise(np.cumsum([0, *sizes]))]
    np.testing.assert_allclose(metric.finish(fold(parts)), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "arguments", "targets", "predictions"), ONE_OF_A_CLASS.values(), ids=ONE_OF_A_CLASS)
def test_any_split_of_the_rows_gives_the_same_value(name, arguments, targets, predictions):
    metric = getattr(metrics, name)(**arguments)
    metric.tally = jax.jit(metric.tally)
    check_any_split(metric, targets(ROWS, 3), predictions(ROWS, 3), RNG.integers(0, 3, ROWS).astype("float32"))


@pytest.mark.parametrize(
    ("name", "arguments", "targets", "predictions"), list(ONE_OF_A_CLASS.values())[::5], ids=list(ONE_OF_A_CLASS)[::5]
)
def test_a_tally_is_traced_and_a_row_of_weight_zero_is_not_there(name, arguments, targets, predictions):
    metric = getattr(metrics, name)(**arguments)
    t, p, w = targets(ROWS, 3), predictions(ROWS, 3), np.r_[np.ones(8), np.zeros(4)].astype("float32")
    padded = metric.finish(fold([jax.jit(metric.tally)(t, p, w)]))
    np.testing.assert_allclose(padded, metric.finish(fold([metric.tally(t[:8], p[:8])])), rtol=1e-5, atol=1e-6)


class TestSklearn:
    y = RNG.integers(0, 2, 200)
    p = np.clip(RNG.normal(0.35 + 0.3 * y, 0.2), 0, 1).round(2).astype("float32")  # ties, all between thresholds
    w = RNG.uniform(0.5, 2, 200).astype("float32")

    @pytest.mark.parametrize("weighted", [False, True])
    def test_auc_is_exact_where_thresholds_separate_the_scores(self, weighted):
        w = self.w if weighted else None
        halves = (np.arange(100) + 0.5) / 100
        auc = metrics.AUC(thresholds=halves)(self.y, self.p, sample_weight=w)
        assert auc == pytest.approx(sk.roc_auc_score(self.y, self.p, sample_weight=w), rel=1e-6)
        assert metrics.AUC()(self.y, self.p, sample_weight=w) == pytest.approx(auc, abs=1e-3)

    def test_auc_by_label(self):
        y, p = np.c_[self.y, 1 - self.y[::-1]], np.c_[self.p, self.p]
        auc = metrics.AUC(multi_label=True, num_labels=2, num_thresholds=2001)(y, p)
        assert auc == pytest.approx(sk.roc_auc_score(y, p), abs=1e-6)

    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize("threshold", [0.305, 0.5, 0.705])
    def test_precision_recall_and_counts(self, threshold, weighted):
        w = self.w if weighted else None
        yes = self.p > threshold
        arguments = (self.y, yes)
        got = [
            getattr(metrics, n)(thresholds=threshold)(self.y, self.p, sample_weight=w)
            for n in ("Precision", "Recall", "TrueNegatives", "FalsePositives", "FalseNegatives", "TruePositives")
        ]
        expected = [f(*arguments, sample_weight=w) for f in (sk.precision_score, sk.recall_score)]
        expected += list(sk.confusion_matrix(*arguments, sample_weight=w).ravel())
        np.testing.assert_allclose(got, expected, rtol=1e-5)

    @pytest.mark.parametrize("average", [None, "micro", "macro", "weighted"])
    @pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
    def test_f_scores(self, average, beta):
        t, p = RNG.integers(0, 4, 60), RNG.dirichlet(np.ones(4), 60).astype("float32")
        expected = sk.fbeta_score(t, p.argmax(-1), beta=beta, average=average)
        got = metrics.FBetaScore(average=average, beta=beta)(np.eye(4, dtype="float32")[t], p)
        np.testing.assert_allclose(got, expected, rtol=1e-5)

    @pytest.mark.parametrize("ours", [None, "uniform_average", "variance_weighted_average"])
    def test_r2(self, ours):
        t, p = RNG.normal(size=(50, 3)), RNG.normal(size=(50, 3))
        t[:, 2], p[:, 2] = 1.0, 1.0
        theirs = {None: "raw_values", "variance_weighted_average": "variance_weighted"}.get(ours, ours)
        got = metrics.R2Score(class_aggregation=ours)(t, p, sample_weight=np.ones(50))
        np.testing.assert_allclose(got, sk.r2_score(t, p, multioutput=theirs), rtol=1e-5)
