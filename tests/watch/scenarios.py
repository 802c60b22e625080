"""Loops with a planted cause, in plain JAX: the one large reason for a gap is known before anything is measured.

Most plant it in a linear model that already knows the truth and hardly learns, so that nothing else is large beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verax.ledger import Cause, Gap
from verax.watch import Loop, Losses

#: The coefficients behind every regression: y = x · TRUTH + noise.
TRUTH = np.linspace(-1.5, 1.5, 8, dtype="float32")
SQUARES = float(np.sum(TRUTH.astype("float64") ** 2))
#: The standard deviation, in units of the mean, of a squared normal number, and of one that is 0 in half of the rows.
CHI, HALF = 2**0.5, 5**0.5


@dataclass(frozen=True)
class Scenario:
    """A planted cause.

    Attributes:
        name: What was planted.
        ask: rng -> the gap.
        cause: What must carry the largest amount; None where there is to be no gap at all.
        sign: Of that amount, validation less training.
        amount: What it is on average, where there is a closed form; None where there is none.
        spread: The standard deviation of a row's amount, in units of the amount.
    """

    name: str
    ask: Callable[[np.random.Generator], Gap]
    cause: Cause | None
    sign: int = 0
    amount: float | None = None
    spread: float = 0.0


def rows(rng: np.random.Generator, n: int = 256, noise: float = 0.3) -> tuple[Any, Any]:
    """x (n, 8) and y (n,) of the linear truth."""
    x = rng.normal(size=(n, 8))
    return x.astype("float32"), (x @ TRUTH + noise * rng.normal(size=n)).astype("float32")


def batches(data: Any, size: int = 16) -> list[Any]:
    return [tuple(a[i : i + size] for a in data) for i in range(0, len(data[0]), size)]


def switched(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A loss compiled for each state of its switches."""
    return partial(jax.jit, static_argnames=names)


def epoch(
    loss: Callable[..., Any],
    params: Any,
    train: list[Any],
    rng: np.random.Generator,
    *,
    rate: float = 1e-4,
    epochs: int = 1,
    penalty: Any = None,
    keyed: bool = True,
    mean: Callable[[Any], Any] = jnp.mean,
    on: Mapping[str, Any],
    key: Any = None,
    each: Callable[[Any], None] = lambda params: None,
    **options: Any,
) -> tuple[Loop, Any]:
    """A training loop as a person writes it: gradient descent, every step reported."""
    loop = Loop(loss, penalty=penalty, **options)
    keys = jax.random.key(int(rng.integers(2**31)))

    def number(params: Any, batch: Any, key: Any) -> Any:
        found = loss(params, batch, **on, **({"key": key} if keyed else {}))
        found = found if isinstance(found, tuple) else (found,)
        if len(found) > 1 and found[1] is not None and "loss" in options.get("weights_in", ("loss",)):
            value = mean(found[0] * found[1]) * found[0].size / jnp.sum(found[1])
        else:
            value = mean(found[0])
        return value + (sum(jax.tree.leaves(penalty(params))) if penalty is not None else 0.0)

    step = jax.jit(jax.value_and_grad(number))
    count = 0
    for _ in range(epochs):
        loop.epoch()
        for batch in train:
            now = jax.random.fold_in(keys, count) if key is None else key
            value, gradient = step(params, batch, now)
            counted = penalty is not None and "loss" in options.get("penalty_in", ("loss",))
            shown = value if counted or penalty is None else value - sum(jax.tree.leaves(penalty(params)))
            loop.step(batch, shown, key=now if keyed else None, params=params)
            params = jax.tree.map(lambda p, g: p - rate * g, params, gradient)
            each(params)
            count += 1
    return loop, params


# ---- losses ----------------------------------------------------------------------------------------------------------


def squares(prediction: Any, y: Any) -> Any:
    return jnp.square(prediction - y)


def plain(w: Any, batch: Any) -> Any:
    x, y = batch
    return squares(x @ w, y)


@switched("dropout")
def dropped(w: Any, batch: Any, *, dropout: bool, key: Any) -> Any:
    x, y = batch
    if dropout:
        x = jnp.where(jax.random.bernoulli(key, 0.5, x.shape), 2 * x, jnp.zeros_like(x))
    return squares(x @ w, y)


@switched("noise")
def noisy(w: Any, batch: Any, *, noise: bool, key: Any) -> Any:
    x, y = batch
    return squares((x + jax.random.normal(key, x.shape) if noise else x) @ w, y)


@switched("augmentation")
def flipped(w: Any, batch: Any, *, augmentation: bool, key: Any) -> Any:
    """Half of the columns change their sign in half of the rows."""
    x, y = batch
    sign = jnp.where(jax.random.bernoulli(key, 0.5, (len(x), 1)), 1.0, -1.0)
    return squares((jnp.concatenate([x[:, :4] * sign, x[:, 4:]], axis=1) if augmentation else x) @ w, y)


@switched("stochastic_depth")
def skipped(w: Any, batch: Any, *, stochastic_depth: bool, key: Any) -> Any:
    x, y = batch
    kept = jax.random.bernoulli(key, 0.5, (len(x), 1))
    return squares((jnp.where(kept, x, jnp.zeros_like(x)) if stochastic_depth else x) @ w, y)


@switched("training")
def doubled(w: Any, batch: Any, *, training: bool) -> Any:
    x, y = batch
    return squares((2.0 * x if training else x) @ w, y)


def normalized(params: Any, batch: Any, *, statistics: Any) -> Any:
    """Inputs go by the batch's mean and variance, or by those given."""
    x, y = batch
    own = {"mean": jnp.mean(x, axis=0), "var": jnp.var(x, axis=0)}
    use = own if statistics is None else statistics
    w = params["w"] if isinstance(params, dict) else params
    prediction = ((x - use["mean"][None]) / jnp.sqrt(use["var"] + 1e-3)[None]) @ w
    return Losses(squares(prediction, y), statistics=own)


def random_features(w: Any, batch: Any, *, noise: bool, key: Any) -> Any:
    """The noise is all that the weights can go by."""
    x, y = batch
    drawn = jax.random.normal(key, (len(x), len(w)))
    return squares(drawn @ w if noise else jnp.zeros_like(y), y)


def weighted(w: Any, batch: Any) -> Any:
    x, y = batch
    return squares(x @ w, y), jnp.where(x[:, 0] > 1, 9.0, 0.1)


# ---- what is asked ---------------------------------------------------------------------------------------------------


def knows(loss: Callable[..., Any], on: Mapping[str, Any] | None = None, **arguments: Any) -> Callable[..., Gap]:
    """The model that knows the truth, training and validation rows drawn alike."""

    def ask(rng: np.random.Generator) -> Gap:
        on_ = on or {}
        keyed = loss not in (plain, doubled, weighted)
        loop, w = epoch(loss, jnp.asarray(TRUTH), batches(rows(rng)), rng, on=on_, keyed=keyed, **arguments)
        return loop.explain(w, batches(rows(rng)))

    return ask


def moving(rng: np.random.Generator) -> Gap:
    loop, w = epoch(plain, jnp.zeros(8), batches(rows(rng)), rng, rate=0.02, on={}, keyed=False)
    return loop.explain(w, batches(rows(rng)))


def diverging(rng: np.random.Generator) -> Gap:
    start = jnp.asarray(1.05 * TRUTH)
    loop, w = epoch(plain, start, batches(rows(rng), 64), rng, rate=1.2, on={}, keyed=False)
    return loop.explain(w, batches(rows(rng)))


def same_masks(rng: np.random.Generator) -> Gap:
    """A key that is never split: the weights learn the one set of draws by heart."""
    train = batches(rows(rng, 16))
    key = jax.random.key(int(rng.integers(2**31)))
    loop, w = epoch(random_features, jnp.zeros(64), train, rng, rate=0.05, epochs=200, on={"noise": True}, key=key)
    return loop.explain(w, batches(rows(rng, 256)))


def averages_of(params: Any) -> Any:
    return params["averages"]


def small_batches(rng: np.random.Generator) -> Gap:
    """Two rows a batch, moving averages that are right."""
    train = batches(rows(rng), 2)
    on = {"statistics": None}
    right = {"mean": jnp.zeros(8), "var": jnp.full(8, 0.5)}  # the variance of two rows is half of it on average
    loop, w = epoch(normalized, {"w": jnp.asarray(TRUTH)}, train, rng, rate=0.0, on=on, keyed=False, moving=averages_of)
    return loop.explain({**w, "averages": right}, batches(rows(rng)))


def lagging(rng: np.random.Generator) -> Gap:
    """Inputs far from 0, averages that begin at 0 and 1, and 16 updates at momentum 0.99."""
    (x, y), (xv, yv) = rows(rng), rows(rng)
    train, validation = batches((4 * x + 5, y)), batches((4 * xv + 5, yv))
    averages = {"mean": jnp.zeros(8), "var": jnp.ones(8)}
    on = {"statistics": None}
    loop, w = epoch(
        normalized, {"w": jnp.asarray(TRUTH)}, train, rng, rate=0.0, on=on, keyed=False,
        moving=averages_of, momentum=0.99,
    )  # fmt: skip
    for batch in train:
        own = normalized(TRUTH, batch, statistics=None).statistics
        averages = {name: 0.99 * averages[name] + 0.01 * own[name] for name in own}
    return loop.explain({**w, "averages": averages}, validation)


def ridge(w: Any) -> Any:
    return 0.5 * jnp.sum(jnp.square(w["unused"]))


def with_unused(params: Any, batch: Any) -> Any:
    return plain(params["w"], batch)


def penalized(rate: float, **options: Any) -> Callable[[np.random.Generator], Gap]:
    """A penalty on weights that nothing else holds: it decays by (1 - rate)² a step."""

    def ask(rng: np.random.Generator) -> Gap:
        params = {"w": jnp.asarray(TRUTH), "unused": jnp.full(8, 2.0)}
        loop, w = epoch(
            with_unused, params, batches(rows(rng)), rng, rate=rate, penalty=ridge, on={}, keyed=False, **options
        )
        return loop.explain(w, batches(rows(rng)))

    return ask


def weights(where: str) -> Callable[[np.random.Generator], Gap]:
    """Rows of large x count ninety times; their noise is ten times as large."""

    def data(rng: np.random.Generator) -> Any:
        x, y = rows(rng, noise=0.0)
        return x, (y + (0.3 + 2.7 * (x[:, 0] > 1)) * rng.normal(size=len(y))).astype("float32")

    def ask(rng: np.random.Generator) -> Gap:
        loop, w = epoch(
            weighted, jnp.asarray(TRUTH), batches(data(rng)), rng, rate=0.0, on={}, keyed=False, weights_in=(where,)
        )
        return loop.explain(w, batches(data(rng)))

    return ask


def one_row_at_the_end(rng: np.random.Generator) -> Gap:
    """An outlier alone in the last batch: the mean of batch means counts it sixteen times."""
    x, y = rows(rng, 65)
    y[64] += 40.0
    validation = rows(rng, 65)
    validation[1][64] += 40.0
    loop, w = epoch(plain, jnp.asarray(TRUTH), batches((x, y)), rng, rate=0.0, on={}, keyed=False)
    return loop.explain(w, batches(validation, 65))


def growing(rng: np.random.Generator) -> Any:
    """Rows whose noise grows along the epoch."""
    x, y = rows(rng, noise=0.0)
    return x, (y + np.linspace(0.1, 3.0, 256) * rng.normal(size=256)).astype("float32")


def reported(loss: Any = None, val_loss: Any = None) -> Callable[[np.random.Generator], Gap]:
    """Rows that become harder along the epoch, in the same order in both."""

    def ask(rng: np.random.Generator) -> Gap:
        loop, w = epoch(plain, jnp.asarray(TRUTH), batches(growing(rng)), rng, rate=0.0, on={}, keyed=False)
        return loop.explain(w, batches(growing(rng)), loss=loss, val_loss=val_loss)

    return ask


def other_rows(scale: float) -> Callable[[np.random.Generator], Gap]:
    """Validation rows prepared in another way."""

    def ask(rng: np.random.Generator) -> Gap:
        loop, w = epoch(plain, jnp.asarray(TRUTH), batches(rows(rng)), rng, on={}, keyed=False)
        x, y = rows(rng)
        return loop.explain(w, batches((scale * x, y)))

    return ask


def network(params: Any, batch: Any) -> Any:
    x, y = batch
    return squares(jax.nn.relu(x @ params["a"]) @ params["b"], y)


def overfitted(rng: np.random.Generator) -> Gap:
    """32 rows of pure noise learnt by heart."""
    x, y = rng.normal(size=(288, 8)).astype("float32"), rng.normal(size=288).astype("float32")
    params = {"a": rng.normal(size=(8, 128)) / 3, "b": rng.normal(size=128) / 20}
    params = jax.tree.map(lambda p: jnp.asarray(p, "float32"), params)
    loop, w = epoch(network, params, batches((x[:32], y[:32])), rng, rate=0.02, epochs=150, on={}, keyed=False)
    return loop.explain(w, batches((x[32:], y[32:])))


def left_out(rng: np.random.Generator) -> Gap:
    """Four batches of sixteen; the rows that are left out are the noisy ones, as are most of the others."""
    (x, y), (xv, yv) = rows(rng), rows(rng)
    hard = np.arange(256) >= 64
    y, yv = ((t + 3 * rng.normal(size=256) * hard).astype("float32") for t in (y, yv))
    every = batches((x, y))
    loop, w = epoch(plain, jnp.asarray(TRUTH), every[:4], rng, on={}, keyed=False)
    return loop.explain(w, batches((xv, yv)), every=every)


def averaged(rng: np.random.Generator) -> Gap:
    """An average over hundreds of steps, after sixteen."""
    seen: list[Any] = []
    loop, w = epoch(
        plain, jnp.zeros(8), batches(rows(rng)), rng, rate=0.05, epochs=3, on={}, keyed=False, each=seen.append
    )
    average = jnp.zeros(8)
    for now in seen:
        average = 0.99 * average + 0.01 * now
    return loop.explain(w, batches(rows(rng)), averaged=average)


def quiet(rng: np.random.Generator) -> Gap:
    loop, w = epoch(plain, jnp.asarray(TRUTH), batches(rows(rng)), rng, rate=0.0, on={}, keyed=False)
    return loop.explain(w, batches(rows(rng)))


def dropout_in_both(rng: np.random.Generator) -> Gap:
    """Dropout that is never switched off is no cause."""
    loop, w = epoch(dropped, jnp.asarray(TRUTH), batches(rows(rng)), rng, rate=0.0, on={"dropout": True})
    return loop.explain(w, batches(rows(rng)), on=("dropout",))


SCENARIOS = [
    Scenario("dropout", knows(dropped, {"dropout": True}), Cause.DROPOUT, -1, -SQUARES, CHI),  # Σ w² p / (1 - p)
    Scenario("noise", knows(noisy, {"noise": True}), Cause.DROPOUT, -1, -SQUARES, CHI),  # Σ w² σ², σ = 1
    Scenario("augmentation", knows(flipped, {"augmentation": True}), Cause.AUGMENTATION, -1, -SQUARES, HALF),
    Scenario(
        "stochastic depth", knows(skipped, {"stochastic_depth": True}), Cause.STOCHASTIC_DEPTH, -1, -SQUARES / 2, HALF
    ),
    Scenario(
        "training in one piece", knows(doubled, {"training": True}, rate=0.0), Cause.CUSTOM_MODE, -1, -SQUARES, CHI
    ),
    Scenario("weights move", moving, Cause.WEIGHTS_MOVED, -1),
    Scenario("weights move away", diverging, Cause.WEIGHTS_MOVED, +1),
    Scenario("a key that is never split", same_masks, Cause.FITTED_DRAWS, +1),
    Scenario("batches of two", small_batches, Cause.BATCH_STATISTICS, -1),
    Scenario("lagging averages", lagging, Cause.MOVING_AVERAGES, +1),
    Scenario("a penalty that decays, in both", penalized(0.1), Cause.PENALTIES, -1),
    Scenario("a penalty in training alone", penalized(0.0, penalty_in=("loss",)), Cause.PENALTIES, -1, -16.0),
    Scenario("a penalty in validation alone", penalized(0.0, penalty_in=("val_loss",)), Cause.PENALTIES, +1, 16.0),
    Scenario("weights in training alone", weights("loss"), Cause.ROW_WEIGHTS, -1),
    Scenario("weights in validation alone", weights("val_loss"), Cause.ROW_WEIGHTS, +1),
    Scenario("a short last batch", one_row_at_the_end, Cause.AVERAGE, -1),
    Scenario("the last batch reported", reported("last batch"), Cause.AVERAGE, -1),
    Scenario("the last batches reported", reported("last 4 batches"), Cause.AVERAGE, -1),
    Scenario("smoothed", reported("smoothed by 0.6"), Cause.AVERAGE, -1),
    Scenario("the last validation batch reported", reported(val_loss="last batch"), Cause.AVERAGE, +1),
    Scenario("a sum reported", reported("sum of batches"), Cause.AVERAGE, -1),
    Scenario("a sum divided by rows", reported("sum of batches over their rows"), Cause.AVERAGE, +1),
    Scenario("validation rows not scaled", other_rows(3.0), Cause.ROWS, +1, 4 * SQUARES, CHI),  # E((3 - 1) x · w)²
    Scenario("overfitting", overfitted, Cause.ROWS, +1),
    Scenario("rows left out", left_out, Cause.SKIPPED_ROWS, +1),
    Scenario("averaged weights", averaged, Cause.AVERAGED_WEIGHTS, +1),
]  # fmt: skip
CONTROLS = [
    Scenario("no gap", quiet, None),
    Scenario("dropout in both", dropout_in_both, None),
]
