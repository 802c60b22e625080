"""``observe``: additive sums whose mean is the objective, with masks, weights, penalties and coefficients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import verax
from verax.engine.objective import Meter, Objective, Term
from verax.engine.readings import layer_modes, readings_of
from verax.frame.mode import Mode, ModeMap
from verax.ledger.facts import Facts, Rows
from verax.ledger.tally import Tally, fold

TRAIN, INFER = ModeMap(Mode.TRAIN), ModeMap(Mode.INFER)


class Identity(verax.Layer):
    """Returns its input, whose zeros are masked if asked for."""

    def __init__(self, masked=False, penalty=False):
        super().__init__()
        self.masked, self.penalty = masked, penalty

    def call(self, x):
        if self.penalty:
            self.add_loss(jnp.sum(x) * 0.5)
        return x + 0.0

    def compute_mask(self, inputs, mask=None):
        return (inputs != 0) if self.masked else None


def squares(y_true, y_pred):
    return (y_true - y_pred) ** 2


def objective(*terms, model=None, meters=()):
    return Objective(model or Identity(), terms, meters, lambda s: s if isinstance(s, list) else [s, s])


def observe(made, x, y, weight=None, mode=TRAIN):
    total, (_, tallies) = made.observe({}, {}, (x, y, weight), mode=mode, key=jax.random.key(0))
    return float(total), tallies


X = jnp.array([[1.0, 0.0], [2.0, 3.0], [0.0, 0.0]])
Y = jnp.zeros((3, 2))
W = jnp.array([1.0, 10.0, 5.0])


@pytest.mark.parametrize(
    ("reduction", "masked", "weight", "expected"),
    [
        ("mean", False, None, 14 / 6),
        ("mean", False, W, 131 / 6),
        ("mean", True, None, 14 / 3),
        ("mean", True, W, 131 / 3),
        ("weighted_mean", False, W, 131 / 32),
        ("weighted_mean", True, W, 131 / 21),
        ("sum", True, W, 131.0),
        ("sum", False, None, 14.0),
    ],
)
def test_reductions(reduction, masked, weight, expected):
    made = objective(Term("out", 0, squares, reduction=reduction), model=Identity(masked))
    total, tallies = observe(made, X, Y, weight)
    assert total == pytest.approx(expected)
    tally = tallies["loss"]["out"]
    assert (float(tally.sum) if reduction == "sum" else tally.mean) == pytest.approx(expected)


@pytest.mark.parametrize("reduction", ["mean", "weighted_mean", "sum"])
@pytest.mark.parametrize("weight", [None, W])
def test_any_split_of_the_rows_folds_to_the_whole(reduction, weight):
    made = objective(Term("out", 0, squares, reduction=reduction), model=Identity(masked=True))
    whole = observe(made, X, Y, weight)[1]["loss"]["out"]
    parts = [
        observe(made, X[a:b], Y[a:b], None if weight is None else weight[a:b])[1]["loss"]["out"]
        for a, b in ((0, 1), (1, 3))
    ]
    np.testing.assert_allclose(fold(parts), np.array([float(f) for f in whole]), rtol=1e-6)


def test_a_batch_that_weighs_nothing_has_no_loss_and_no_gradient():
    made = objective(Term("out", 0, squares, reduction="weighted_mean"), model=Identity(masked=True))
    for x, weight in ((jnp.zeros((2, 2)), None), (X[:2], jnp.zeros(2))):
        assert observe(made, x, Y[:2], weight)[0] == 0.0
        grad = jax.grad(lambda x, w=weight: made.observe({}, {}, (x, Y[:2], w), mode=TRAIN, key=None)[0])(x)
        np.testing.assert_array_equal(grad, np.zeros((2, 2)))


def test_what_is_masked_may_be_anything():
    made = objective(Term("out", 0, squares), model=Identity(masked=True))
    total, _ = observe(made, X, jnp.where(X == 0, jnp.nan, 0.0))
    assert total == pytest.approx(14 / 3)


def test_coefficients_and_penalties_add():
    terms = (Term("a", 0, squares, 2.0), Term("b", 1, squares, 0.5))

    class Two(Identity):
        def call(self, x):
            x = super().call(x)
            return [x, 2 * x]

    made = objective(*terms, model=Two(penalty=True))
    total, tallies = observe(made, X, [Y, Y])
    assert total == pytest.approx(2 * 14 / 6 + 0.5 * 4 * 14 / 6 + 0.5 * 6)
    facts = Facts(rows=Rows("rows", 3))
    loss = readings_of(made, fold([jax.tree.map(np.asarray, tallies)]), facts)
    assert loss["loss"].value == pytest.approx(total)
    assert loss["loss"].penalties == pytest.approx(3.0)
    assert loss["loss"].facts.terms == ("data", "penalties")
    assert (loss["a_loss"].value, loss["b_loss"].value) == pytest.approx((14 / 6, 4 * 14 / 6))
    assert loss["a_loss"].facts.terms == ("data",)


def test_a_metric_sees_the_mask_always_and_weights_when_weighted():
    def tally(y_true, y_pred, weight):
        values = jnp.abs(y_true - y_pred)
        return Tally.of(values, None if weight is None else jnp.broadcast_to(weight.reshape(3, -1), values.shape))

    meters = (Meter("plain", 0, tally, lambda t: t.mean), Meter("heavy", 0, tally, lambda t: t.mean, weighted=True))
    for masked, plain, heavy in ((False, 6 / 6, 51 / 32), (True, 6 / 3, 51 / 21)):
        made = objective(model=Identity(masked), meters=meters)
        sums = fold([jax.tree.map(np.asarray, observe(made, X, Y, W)[1])])
        found = readings_of(made, sums, Facts(weights="sample weights"))
        assert found["plain"].value == pytest.approx(plain)
        assert found["heavy"].value == pytest.approx(heavy)
        assert (found["plain"].facts.weights, found["heavy"].facts.weights) == ("none", "sample weights")
        assert found["plain"].stderr > 0


def test_the_modes_are_recorded_for_each_pass():
    model = verax.Sequential([verax.Input((2,)), verax.layers.Dropout(0.5), verax.layers.BatchNormalization()])
    made = objective(Term("out", 0, squares), model=model)
    params, state = verax.values(model)
    for mode in (TRAIN, INFER):
        made.observe(params, state, (X, Y, None), mode=mode, key=jax.random.key(0))
    modes = {m.effect: m.state for m in layer_modes(made.what_ran(TRAIN))}
    assert modes == {"dropout": "train", "batch_statistics": "train"}
    assert made.what_ran(TRAIN).draws
    assert not made.what_ran(INFER).draws
    assert {m.state for m in layer_modes(made.what_ran(INFER))} == {"infer"}


def test_state_moves_in_training_only():
    model = verax.Sequential([verax.Input((2,)), verax.layers.BatchNormalization()])
    made = objective(Term("out", 0, squares), model=model)
    params, state = verax.values(model)
    after = {
        m: made.observe(params, state, (X, Y, None), mode=m_, key=None)[1][0] for m, m_ in (("t", TRAIN), ("i", INFER))
    }
    path = next(p for p in state if p.endswith("moving_mean"))
    np.testing.assert_allclose(after["t"][path], 0.01 * X.mean(0), rtol=1e-5)
    np.testing.assert_array_equal(after["i"][path], state[path])


def test_a_link_is_used_where_the_output_has_logits():
    from_logits = Term(
        "out",
        0,
        lambda y, p: p[:, 0],
        link="softmax",
        from_link=lambda y, z: z[:, 0] * 100,
        clipped=lambda y, p: p > 0.9,
    )
    logits = jnp.array([[1.0, 2.0], [3.0, 0.0]])
    linked = objective(from_logits, model=verax.layers.Softmax())
    assert observe(linked, logits, Y[:2])[0] == pytest.approx(200.0)
    plain = objective(from_logits, model=Identity())
    total, tallies = observe(plain, logits, Y[:2])
    assert total == pytest.approx(2.0)
    assert float(tallies["clipped"]["out"]) == 3.0


def test_half_precision_is_summed_in_float32():
    made = objective(Term("out", 0, squares))
    x = jnp.ones((4096, 1), jnp.bfloat16)
    total, tallies = observe(made, x, jnp.zeros((4096, 1)))
    assert (total, float(tallies["loss"]["out"].sum)) == (1.0, 4096.0)  # in bfloat16 the sum would stop at 256


def test_a_mask_of_steps_beside_a_loss_of_one_value_a_row():
    """The third row has no step that counts; the others count once, however many of their steps do."""

    def of_rows(y_true, y_pred):
        return jnp.sum((y_true - y_pred) ** 2, axis=-1)

    for weight, expected in ((None, 14 / 2), (W, 131 / 2)):
        made = objective(Term("out", 0, of_rows), model=Identity(masked=True))
        total, tallies = observe(made, X, Y, weight)
        assert total == pytest.approx(expected)
        parts = [observe(made, X[i : i + 1], Y[i : i + 1], None if weight is None else weight[i : i + 1])[1]
                 for i in range(3)]  # fmt: skip
        whole, split = fold([tallies["loss"]])["out"], fold([p["loss"] for p in parts])["out"]
        assert split.mean == pytest.approx(whole.mean)
