"""What every metric shares, and where Verax differs from Keras on purpose."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, log_expit

from verax import losses, metrics
from verax.errors import InputError, ShapeError, VeraxWarning
from verax.ledger.tally import Tally, fold

RNG = np.random.default_rng(4)


def test_a_mean_has_a_standard_error():
    sums = fold([metrics.MeanAbsoluteError().tally(np.zeros((4, 1)), np.arange(4.0)[:, None])])
    assert isinstance(sums, Tally)
    assert sums.mean == 1.5
    assert sums.stderr == pytest.approx(np.arange(4).std(ddof=1) / 2)


def test_a_scalar_function_counts_once_for_every_row():
    metric = metrics.get(lambda t, p: jnp.mean(jnp.abs(t - p)))
    metric.update_state(jnp.zeros((3, 1)), jnp.full((3, 1), 1.0))
    metric.update_state(jnp.zeros((1, 1)), jnp.full((1, 1), 5.0))
    assert metric.result() == 2.0


def test_nothing_weighed_is_zero():
    for metric in (metrics.BinaryAccuracy(), metrics.AUC(), metrics.Precision(), metrics.Recall()):
        assert metric.result() == 0.0
        assert metric([[1.0]], [[0.9]], sample_weight=[0.0]) == 0.0


@pytest.mark.parametrize("weighted", [False, True])
def test_an_ignored_class_never_counts(weighted):
    metric = metrics.SparseCategoricalCrossentropy(ignore_class=-1)
    p = np.array([[0.5, 0.5], [0.25, 0.75]], "float32")
    w = np.array([3.0, 2.0]) if weighted else None
    assert metric([-1, 1], p, sample_weight=w) == pytest.approx(-np.log(0.75))


def test_a_crossentropy_metric_takes_the_link_of_its_loss():
    z, t = np.array([[-200.0], [3.0]], "float32"), np.array([[1.0], [0.0]])
    metric = metrics.BinaryCrossentropy()
    true = -(t * log_expit(z) + (1 - t) * log_expit(-z)).mean()
    assert metric.link == "sigmoid"
    assert metric.finish(fold([jax.jit(metric.tally_from_link)(t, z)])) == pytest.approx(true, rel=1e-6)
    assert metric(t, expit(z)) < 20 < true
    assert metrics.BinaryCrossentropy(from_logits=True).link is None
    assert metrics.CategoricalCrossentropy().link == metrics.SparseCategoricalCrossentropy().link == "softmax"
    assert metrics.MeanSquaredError().link is metrics.AUC().link is None


def test_a_metric_of_a_persons_own_writes_tally_and_finish():
    class Largest(metrics.Metric):
        direction = "min"

        def tally(self, y_true, y_pred, sample_weight=None):
            error = jnp.abs(y_true - y_pred)
            return {"sum": error.sum(), "rows": jnp.asarray(error.shape[0], jnp.float32)}

        def finish(self, sums):
            return sums["sum"] / sums["rows"]

    metric = Largest()
    assert metric.name == "largest"
    metric.update_state(jnp.zeros(2), jnp.ones(2))
    assert metric(jnp.zeros(2), jnp.full(2, 4.0)) == 2.5


def test_a_metric_in_keras_way_is_told_what_to_write():
    class Old(metrics.Metric):
        pass

    with pytest.raises(NotImplementedError, match="in the place of Keras' add_weight and update_state"):
        Old().update_state([0], [1])


@pytest.mark.parametrize(
    ("direction", "names"),
    [
        ("max", ["BinaryAccuracy", "AUC", "Precision", "Recall", "F1Score", "R2Score", "CosineSimilarity"]),
        ("min", ["MeanSquaredError", "RootMeanSquaredError", "Poisson", "BinaryCrossentropy", "FalsePositives"]),
        (None, ["Mean", "Sum"]),
    ],
)
def test_directions(direction, names):
    assert {getattr(metrics, name)().direction for name in names} == {direction}


def test_r2_of_constant_targets():
    assert metrics.R2Score()([[1.0], [1.0]], [[1.0], [1.0]]) == 1.0
    assert metrics.R2Score()([[1.0], [1.0]], [[1.0], [2.0]]) == 0.0


def test_r2_adjusted_for_predictors_counts_rows():
    t, p = RNG.normal(size=(30, 2)).astype("float32"), RNG.normal(size=(30, 2)).astype("float32")
    plain, adjusted = metrics.R2Score()(t, p), metrics.R2Score(num_regressors=4)(t, p)
    assert adjusted == pytest.approx(1 - (1 - plain) * 29 / 25)
    with pytest.warns(VeraxWarning, match="3 rows are too few for 4 predictors"):
        metrics.R2Score(num_regressors=4)(t[:3], p[:3])


def test_dtype_is_that_of_the_sums():
    assert metrics.MeanSquaredError(dtype="float16").tally([[0.0]], [[1.0]]).sum.dtype == jnp.float16
    assert metrics.AUC(dtype="bfloat16").tally([0], [1.0])["tp"].dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: metrics.AUC(curve="ROCK"), "curve='ROCK'"),
        (lambda: metrics.AUC(num_thresholds=1), "num_thresholds=1"),
        (lambda: metrics.AUC(num_labels=3), "without multi_label"),
        (lambda: metrics.Precision(thresholds=1.5), "between 0 and 1"),
        (lambda: metrics.F1Score(average="mean"), "average='mean'"),
        (lambda: metrics.R2Score(num_regressors=-1), "num_regressors=-1"),
        (lambda: metrics.PrecisionAtRecall(1.5), "1.5 and num_thresholds=200"),
    ],
)
def test_arguments_are_checked(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("metric", "shape"),
    [(metrics.AUC(multi_label=True), (4,)), (metrics.Precision(class_id=1), (4,)), (metrics.F1Score(), (4, 2, 3))],
)
def test_shapes_are_checked(metric, shape):
    with pytest.raises(ShapeError, match=r"predictions of shape \(4,"):
        metric.update_state(np.zeros(shape), np.zeros(shape))


class TestResolve:
    @pytest.mark.parametrize(
        ("y", "pred", "form"),
        [
            ((8,), (8, 1), "Binary"),
            ((8, 1), (8, 1), "Binary"),
            ((8,), (8, 3), "SparseCategorical"),
            ((8, 1), (None, 3), "SparseCategorical"),
            ((8, 3), (None, 3), "Categorical"),
            ((8, 5), (None, 5, 3), "SparseCategorical"),
        ],
    )
    def test_the_form_follows_the_shapes_and_the_typed_name_stays(self, y, pred, form):
        for typed, kind in (("accuracy", "Accuracy"), ("acc", "Accuracy"), ("ce", "Crossentropy")):
            metric = metrics.resolve(typed, y, pred)
            assert type(metric).__name__ == form + kind
            assert metric.name == typed

    def test_other_names_do_not_look_at_shapes(self):
        metric = metrics.resolve("mse", (8,), (8, 3))
        assert type(metric) is metrics.MeanSquaredError
        assert metric.name == "mse"
        assert metrics.resolve("AUC", (8,), (8, 1)).name == "AUC"
        assert metrics.resolve(metric, (8,), (8, 3)) is metric

    @pytest.mark.parametrize("name", ["accuracy", "auc", "precision", "recall", "binary_crossentropy", "TruePositives"])
    def test_beside_a_loss_of_logits_a_named_metric_reads_logits(self, name):
        t, z = RNG.integers(0, 2, (20, 1)), RNG.normal(size=(20, 1)).astype("float32")
        plain = metrics.resolve(name, t.shape, z.shape, losses.BinaryCrossentropy())
        of_logits = metrics.resolve(name, t.shape, z.shape, losses.BinaryCrossentropy(from_logits=True))
        assert of_logits(t, z) == pytest.approx(plain(t, expit(z)), rel=1e-5)
