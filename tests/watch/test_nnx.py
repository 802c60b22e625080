"""Loops of flax.nnx with a planted cause."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.watch.scenarios import SQUARES, TRUTH, batches, rows
from verax.ledger import Cause, Gap
from verax.ledger.verdict import Kind
from verax.testing import check_probe
from verax.watch import Loop, Losses

pytest.importorskip("flax")
optax = pytest.importorskip("optax")
from flax import nnx  # noqa: E402, it is optional


class Net(nnx.Module):
    """A linear unit behind a normalization and dropout; either may be absent."""

    def __init__(self, norm: bool, rate: float):
        self.norm = nnx.BatchNorm(8, momentum=0.99, rngs=nnx.Rngs(0)) if norm else None
        self.drop = nnx.Dropout(rate)
        self.last = nnx.Linear(8, 1, use_bias=False, rngs=nnx.Rngs(1))

    def __call__(self, x: Any, key: Any) -> Any:
        x = self.norm(x) if self.norm is not None else x
        return self.last(self.drop(x, rngs=key))[:, 0]


class Trained:
    """A network, its loop and its loss of a state."""

    def __init__(self, norm: bool = False, rate: float = 0.0, learning: float = 1e-4, knows: bool = True):
        self.net = Net(norm, rate)
        if knows:
            self.net.last.kernel[...] = jnp.asarray(TRUTH)[:, None]
        self.optimizer = nnx.Optimizer(self.net, optax.sgd(learning), wrt=nnx.Param)
        graph, _ = nnx.split(self.net)

        def losses(params: Any, batch: Any, dropout: bool, statistics: Any, key: Any) -> Any:
            net = nnx.merge(graph, params)
            if norm:
                averages = nnx.state(net, nnx.BatchStat)
                if statistics is not None:
                    nnx.replace_by_pure_dict(averages, statistics)
                    nnx.update(net, averages)
                net.set_attributes(nnx.BatchNorm, use_running_average=statistics is not None, momentum=0.0)
            net.set_attributes(nnx.Dropout, deterministic=not dropout)
            found = jnp.square(net(batch[0], key) - batch[1])
            return Losses(found, statistics=nnx.to_pure_dict(nnx.state(net, nnx.BatchStat)))

        @partial(jax.jit, static_argnames="dropout")
        def with_norm(params: Any, batch: Any, *, dropout: bool, statistics: Any, key: Any) -> Any:
            return losses(params, batch, dropout, statistics, key)

        @partial(jax.jit, static_argnames="dropout")
        def without(params: Any, batch: Any, *, dropout: bool, key: Any) -> Any:
            return losses(params, batch, dropout, None, key).losses

        moving = (lambda params: nnx.to_pure_dict(nnx.filter_state(params, nnx.BatchStat))) if norm else None
        self.loop = Loop(with_norm if norm else without, moving=moving, momentum=0.99 if norm else None)

        @nnx.jit
        def step(net: Any, optimizer: Any, batch: Any, key: Any) -> Any:
            value, gradient = nnx.value_and_grad(lambda net: jnp.mean(jnp.square(net(batch[0], key) - batch[1])))(net)
            optimizer.update(net, gradient)
            return value

        self.step = step

    def epoch(self, data: Any, rng: np.random.Generator) -> Trained:
        key = jax.random.key(int(rng.integers(2**31)))
        for i, batch in enumerate(batches(data)):
            now = jax.random.fold_in(key, i)
            before = jax.tree.map(jnp.copy, nnx.state(self.net))
            value = self.step(self.net, self.optimizer, batch, now)
            self.loop.step(batch, value, key=now, params=before)
        return self

    def explain(self, data: Any) -> Gap:
        before = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(self.net)))
        gap = self.loop.explain(nnx.state(self.net), batches(data))
        after = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(self.net)))
        assert jax.tree.all(jax.tree.map(np.array_equal, before, after))
        return gap


def dropout(rng: np.random.Generator) -> Gap:
    return Trained(rate=0.5).epoch(rows(rng), rng).explain(rows(rng))


def lagging(rng: np.random.Generator) -> Gap:
    (x, y), (xv, yv) = rows(rng), rows(rng)
    return Trained(norm=True).epoch((4 * x + 5, y), rng).explain((4 * xv + 5, yv))


def moving(rng: np.random.Generator) -> Gap:
    return Trained(learning=0.02, knows=False).epoch(rows(rng), rng).explain(rows(rng))


def unscaled(rng: np.random.Generator) -> Gap:
    x, y = rows(rng)
    return Trained().epoch(rows(rng), rng).explain((3 * x, y))


@pytest.mark.parametrize(
    ("ask", "cause", "sign"),
    [
        (dropout, Cause.DROPOUT, -1),
        (lagging, Cause.MOVING_AVERAGES, +1),
        (moving, Cause.WEIGHTS_MOVED, -1),
        (unscaled, Cause.ROWS, +1),
    ],
)
def test_the_planted_cause_carries_the_largest_amount(ask: Any, cause: Cause, sign: int):
    for seed in range(3):
        gap = ask(np.random.default_rng(seed))
        amounts = gap.by_cause()
        largest = max(amounts, key=lambda one: abs(amounts[one]))
        assert largest is cause, amounts
        assert amounts[largest] * sign > 0
        assert abs(gap.residual) <= 1e-6 * max(abs(link.after.value) for link in gap.links)
        assert gap.grade == "full"
        if ask is dropout:
            link = next(one for one in gap.links if one.cause is cause)
            assert abs(-link.change - SQUARES) <= 4 * link.stderr
        if ask is lagging:
            assert "Lag most: norm (momentum 0.99, 16 updates seen, 459 needed)" in " ".join(str(gap).split())


def test_no_gap_is_called_none():
    kinds = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        kinds.append(Trained(learning=0.0).epoch(rows(rng), rng).explain(rows(rng)).verdict.kind)
    assert sum(kind is Kind.NONE for kind in kinds) >= 4, kinds


def test_its_probe_keeps_the_contract():
    rng = np.random.default_rng(0)
    made = Trained(norm=True, rate=0.5).epoch(rows(rng), rng)
    state = lambda: nnx.to_pure_dict(nnx.state(made.net))  # noqa: E731
    check_probe(made.loop.probe(nnx.state(made.net), batches(rows(rng))), state=state)
