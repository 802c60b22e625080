"""The recorder of a loop: what it needs to be told, what it leaves alone, what it finds out."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.watch.scenarios import SQUARES, TRUTH, batches, dropped, epoch, plain, rows, squares, weighted
from verax.errors import DataError, InputError, StateError
from verax.ledger import Cause
from verax.ledger.verdict import Kind
from verax.watch import Loop, Losses
from verax.watch.values import another_key


def reported(loss: Any, values: Any = None, keys: Any = None, **options: Any) -> Loop:
    """A loop whose weights stand still: each batch's own loss."""
    loop = Loop(loss, **options)
    for i, batch in enumerate(batches(rows(np.random.default_rng(0)))):
        value = 1.0 if values is None else values(batch)
        loop.step(batch, value, key=None if keys is None else keys(i))
    return loop


VALIDATION = batches(rows(np.random.default_rng(1)))


# ---- numpy -----------------------------------------------------------------------------------------------------------


def in_numpy(w: Any, batch: Any, *, dropout: bool, key: Any) -> Any:
    x, y = batch
    if dropout:
        x = np.where(np.random.default_rng(key).random(x.shape) < 0.5, 2 * x, 0)
    return (x @ w - y) ** 2


@pytest.mark.parametrize("kind", [int, np.random.SeedSequence, lambda i: {"masks": (i, [i + 1])}])
def test_a_loop_in_numpy_with_keys_of_its_own(kind: Any):
    def loss(w: Any, batch: Any, *, dropout: bool, key: Any) -> Any:
        return in_numpy(w, batch, dropout=dropout, key=key["masks"][1][0] if isinstance(key, dict) else key)

    loop = Loop(loss)
    for i, batch in enumerate(batches(rows(np.random.default_rng(0)))):
        loop.step(batch, loss(TRUTH, batch, dropout=True, key=kind(i)).mean(), key=kind(i), params=TRUTH)
    gap = loop.explain(TRUTH, VALIDATION)
    link = next(one for one in gap.links if one.cause is Cause.DROPOUT)
    assert abs(-link.change - SQUARES) <= 4 * link.stderr
    assert gap.verdict.kind is Kind.BOOKKEEPING
    assert "model.evaluate" not in str(gap)


def _data(key: Any) -> Any:
    return np.asarray(jax.random.key_data(key)) if isinstance(key, jax.Array) else getattr(key, "spawn_key", key)


def test_another_key_is_another_draw_and_always_the_same():
    for key in (3, np.random.SeedSequence(3), jax.random.key(3), jax.random.PRNGKey(3), {"a": [3, None]}):
        one, again, other = another_key(key, 5), another_key(key, 5), another_key(key, 6)
        draws = [_data(k) for k in (key, one, again, other)]
        assert np.array_equal(draws[1], draws[2])
        assert not np.array_equal(draws[1], draws[3])
        assert not np.array_equal(draws[0], draws[1])
    with pytest.raises(InputError, match="a generator changes as it draws"):
        another_key(np.random.default_rng(0), 1)


# ---- nothing is changed ----------------------------------------------------------------------------------------------


def test_a_watched_loop_is_the_same_bit_for_bit():
    def trained(watch: bool) -> tuple[Any, list[float], Any]:
        w, key, seen = jnp.zeros(8), jax.random.key(0), []
        loop = Loop(dropped)
        step = jax.jit(jax.value_and_grad(lambda w, b, k: jnp.mean(dropped(w, b, dropout=True, key=k))))
        for batch in batches(rows(np.random.default_rng(0))):
            key, now = jax.random.split(key)
            value, gradient = step(w, batch, now)
            if watch:
                loop.step(batch, value, key=now, params=w)
            w, _ = w - 0.05 * gradient, seen.append(float(value))
        if watch:
            before = np.asarray(w).copy()
            loop.explain(w, VALIDATION)
            assert (np.asarray(w) == before).all()
        return np.asarray(w), seen, np.asarray(jax.random.key_data(key))

    for one, two in zip(trained(True), trained(False), strict=True):
        assert np.array_equal(one, two)


def test_explaining_twice_gives_the_same_and_an_interruption_changes_nothing():
    rng = np.random.default_rng(0)
    loop, w = epoch(dropped, jnp.asarray(TRUTH), batches(rows(rng)), rng, on={"dropout": True})
    before = loop.explain(w, VALIDATION).to_dict()

    def interrupted() -> Any:
        yield VALIDATION[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.explain(w, interrupted())
    assert loop.explain(w, VALIDATION).to_dict() == before


def test_arrays_that_a_loader_fills_again_are_kept_as_they_were():
    x, y = np.empty((16, 8), "float32"), np.empty(16, "float32")
    loop = Loop(plain)
    data = batches(rows(np.random.default_rng(0)))
    for batch in data:
        x[:], y[:] = batch
        loop.step((x, y), plain(TRUTH, (x, y)).mean())
    x[:] = 0
    gap = loop.explain(TRUTH, VALIDATION)
    assert gap.by_cause()[Cause.WEIGHTS_MOVED] == pytest.approx(0.0, abs=1e-6)


def test_the_last_epoch_is_explained():
    rng = np.random.default_rng(0)
    loop, w = epoch(plain, jnp.zeros(8), batches(rows(rng)), rng, rate=0.01, epochs=3, on={}, keyed=False)
    gap = loop.explain(w, VALIDATION)
    assert gap.validation.facts.params == "the end of epoch 3"
    assert gap.train.facts.rows.count == 256
    loop.epoch()
    loop.epoch()  # nothing between
    with pytest.raises(StateError, match="no step was reported"):
        loop.explain(w, VALIDATION)
    assert loop.epochs == 3


def test_what_is_kept_is_bounded():
    loop = Loop(plain, batches=4)
    for i in range(100):
        loop.step((np.full((2, 8), i, "float32"), np.zeros(2, "float32")), jnp.asarray(1.0))
    assert len(loop._record.kept) == 4
    assert all(step.size == 2 * 9 * 4 for step in loop._record.kept)
    gap = loop.explain(TRUTH, VALIDATION)
    assert gap.sample == "4 of 100 batches"


# ---- what a loss may return ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reduction", "number"),
    [
        ("mean", lambda v, w: (v * w).sum() / w.sum()),
        ("mean over rows", lambda v, w: (v * w).sum() / len(v)),
        ("sum", lambda v, w: (v * w).sum()),
    ],
)
def test_a_batchs_number_is_as_it_is_reduced(reduction: str, number: Any):
    def value(batch: Any) -> float:
        losses, weights = (np.asarray(a, np.float64) for a in weighted(TRUTH, batch))
        return float(number(losses, weights))

    loop = reported(weighted, value, reduction=reduction)
    gap = loop.explain(TRUTH, VALIDATION)
    assert gap.by_cause()[Cause.WEIGHTS_MOVED] == pytest.approx(0.0, abs=1e-6)
    assert gap.validation.value == pytest.approx(np.mean([value(batch) for batch in VALIDATION]))


def test_losses_of_tokens_with_a_mask():
    def loss(w: Any, batch: Any) -> Any:
        return jnp.square(batch["x"] * w), batch["mask"]

    rng = np.random.default_rng(0)
    data = [{"x": rng.normal(size=(8, 5)), "mask": rng.random((8, 5)) < 0.5} for _ in range(6)]
    loop = Loop(loss)
    for batch in data:
        losses, mask = loss(2.0, batch)
        loop.step(batch, float(losses[mask].mean()))
    gap = loop.explain(2.0, data)
    kept = np.concatenate([batch["x"][batch["mask"]] for batch in data])
    link = next(one for one in gap.links if one.cause is Cause.AVERAGE)
    assert link.after.value == pytest.approx(np.mean((2 * kept) ** 2), rel=1e-5)
    assert gap.verdict.kind is Kind.NONE  # the very same rows


def test_a_mean_alone_is_measured_by_batches():
    loop = reported(lambda w, batch: jnp.mean(plain(w, batch)), lambda batch: plain(TRUTH, batch).mean())
    gap = loop.explain(TRUTH, VALIDATION)
    assert gap.grade == "full"
    assert gap.links[-1].before.facts.rows == gap.validation.facts.rows
    assert gap.verdict.kind is Kind.NONE


def test_validation_batches_that_can_be_read_once():
    rng = np.random.default_rng(0)
    once = iter(batches(rows(rng)))
    loop, w = epoch(plain, jnp.asarray(TRUTH), batches(rows(rng)), rng, on={}, keyed=False)
    assert loop.explain(w, once, val_loss="last batch").grade == "full"
    loop = reported(weighted, lambda batch: float(plain(TRUTH, batch).mean()), weights_in=("val_loss",))
    gap = loop.explain(TRUTH, iter(VALIDATION))
    assert "validation rows can be read only once" in gap.grade
    assert abs(gap.residual) < 1e-9


def test_numbers_as_they_were_printed():
    loop = reported(plain, lambda batch: plain(TRUTH, batch).mean())
    last = float(plain(TRUTH, batches(rows(np.random.default_rng(0)))[-1]).mean())
    gap = loop.explain(TRUTH, VALIDATION, loss=f"{last:.5f}")
    assert gap.train.facts.average == "last batch"
    gap = loop.explain(TRUTH, VALIDATION, val_loss=123.0)
    assert "The val_loss 123 that was given is no usual average" in str(gap)


# ---- draws -----------------------------------------------------------------------------------------------------------


def test_keys_that_were_not_given_lower_the_grade():
    value = lambda batch: dropped(TRUTH, batch, dropout=True, key=jax.random.key(len(batch))).mean()  # noqa: E731
    with pytest.raises(InputError, match=r"neither the steps' keys nor fresh="):
        reported(dropped, value).explain(TRUTH, VALIDATION)
    loop = reported(dropped, value, fresh=jax.random.key)
    gap = loop.explain(TRUTH, VALIDATION)
    assert "the steps' keys were not given" in gap.grade
    assert Cause.FITTED_DRAWS not in gap.by_cause()
    assert abs(gap.residual) < 1e-6


def test_a_loss_that_always_draws():
    def sampled(w: Any, batch: Any, *, key: Any) -> Any:
        x, y = batch
        return squares(x @ w + jax.random.normal(key, y.shape), y)

    keys = [jax.random.fold_in(jax.random.key(0), i) for i in range(16)]
    loop = Loop(sampled)
    for key, batch in zip(keys, batches(rows(np.random.default_rng(0))), strict=True):
        loop.step(batch, sampled(TRUTH, batch, key=key).mean(), key=key)
    gap = loop.explain(TRUTH, VALIDATION)
    assert gap.validation.facts.draws == "fresh"
    assert gap.verdict.kind is Kind.NONE
    assert set(gap.by_cause()) == {Cause.WEIGHTS_MOVED, Cause.FITTED_DRAWS, Cause.AVERAGE, Cause.ROWS}


def test_a_last_batchs_draws_have_no_error_that_is_known():
    rng = np.random.default_rng(0)
    loop, w = epoch(dropped, jnp.asarray(TRUTH), batches(rows(rng)), rng, on={"dropout": True})
    gap = loop.explain(w, VALIDATION, loss="last batch")
    errors = {link.cause: link.stderr for link in gap.links}
    assert math.isnan(errors[Cause.DROPOUT])
    assert errors[Cause.WEIGHTS_MOVED] == 0.0


# ---- what is told to a person ----------------------------------------------------------------------------------------


def test_a_function_that_draws_from_elsewhere_is_found():
    rng = np.random.default_rng(0)
    loop = reported(lambda w, batch: np.square(batch[0] @ w * rng.normal(size=16)))
    with pytest.raises(DataError, match="it draws from elsewhere than its key"):
        loop.explain(TRUTH, VALIDATION)


def test_another_function_than_the_loops_is_found_in_the_first_step():
    loop = Loop(plain)
    batch = VALIDATION[0]
    loop.step(batch, plain(TRUTH, batch).mean(), params=TRUTH)
    loop.epoch()
    with pytest.raises(DataError, match="of the same params, batch and key"):
        loop.step(batch, 0.5 * plain(TRUTH, batch).mean(), params=TRUTH)


def _moving(loss: Any, **options: Any) -> Any:
    return lambda: Loop(loss, **options)


@pytest.mark.parametrize(
    ("ask", "error", "match"),
    [
        (_moving(lambda w, b, *, rate: b), InputError, "a function that needs 'rate'"),
        (_moving(plain, effects={"drop": "dropout"}), InputError, "no argument of that name"),
        (_moving(lambda w, b, *, statistics: b), InputError, "moving=None"),
        (_moving(plain, reduction="max"), InputError, "reduction='max'"),
        (_moving(plain, penalty=sum, penalty_in=("train",)), InputError, "'train'"),
        (lambda: Loop(plain).step(VALIDATION[0], np.ones(2)), InputError, r"shape \(2,\)"),
        (lambda: Loop(plain).step("words", 1.0), InputError, "rows=how many"),
        (lambda: Loop(plain, penalty=sum).step(VALIDATION[0], 1.0), InputError, "neither params= nor penalty="),
        (lambda: Loop(plain).explain(TRUTH, VALIDATION), StateError, "no step was reported"),
        (lambda: reported(plain).explain(TRUTH, []), InputError, "Give at least one batch"),
        (lambda: reported(plain).explain(TRUTH, VALIDATION, loss="median"), InputError, "no average has this name"),
        (lambda: reported(plain).explain(TRUTH, VALIDATION, on=("dropout",)), InputError, "no such argument"),
        (
            lambda: reported(lambda w, b: (plain(w, b), np.ones(3))).explain(TRUTH, VALIDATION),
            DataError,
            "a pair that the loss function returns",
        ),
        (
            lambda: reported(lambda w, b: plain(w, b)[:5]).explain(TRUTH, VALIDATION),
            DataError,
            "5 losses of a batch that was counted as 16 rows",
        ),
        (
            lambda: reported(
                lambda w, b, *, statistics: Losses(plain(w, b)), moving=lambda w: {"mean": np.zeros(8)}
            ).explain(TRUTH, VALIDATION),
            DataError,
            "statistics=None",
        ),
    ],
)
def test_a_wrong_argument_is_told(ask: Any, error: type[Exception], match: str):
    with pytest.raises(error, match=match):
        ask()
