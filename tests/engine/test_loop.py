"""The loop is the step, repeated: same carry, same tallies, however many steps one run takes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from verax.engine.loop import CAPACITY, Pace, make_loop, run_chunk

DATA = (jnp.arange(12.0).reshape(6, 2), {"y": jnp.arange(6.0)})
INDEX = np.array([[0, 1], [5, 2], [3, 3], [4, 0]])


def step(carry, batch, key):
    x, y = batch[0], batch[1]["y"]
    carry = carry * 0.5 + jnp.sum(x) + jax.random.normal(key, ())
    return carry, {"x": jnp.sum(x, axis=0), "y": jnp.sum(y), "none": {}}


def by_hand(key, first):
    carry, left = jnp.float32(1.0), []
    for i, rows in enumerate(INDEX):
        batch = (DATA[0][rows], {"y": DATA[1]["y"][rows]})
        carry, out = step(carry, batch, jax.random.fold_in(key, first + i))
        left.append(out)
    return carry, left


@pytest.mark.parametrize("capacity", [4, 5, 16])
@pytest.mark.parametrize("cut", [[4], [1, 3], [1, 1, 1, 1], [2, 2]])
def test_the_loop_is_the_step_repeated(capacity, cut):
    key = jax.random.key(3)
    loop, carry, parts, at = make_loop(step), jnp.float32(1.0), [], 0
    for steps in cut:
        carry, out = run_chunk(loop, carry, DATA, INDEX[at : at + steps], key=key, first=7 + at, capacity=capacity)
        assert len(out["y"]) == steps
        parts.append(out)
        at += steps
    expected, left = by_hand(key, 7)
    np.testing.assert_allclose(carry, expected, rtol=1e-6)
    np.testing.assert_allclose(np.concatenate([p["x"] for p in parts]), [s["x"] for s in left])
    np.testing.assert_allclose(np.concatenate([p["y"] for p in parts]), [s["y"] for s in left])


@pytest.mark.parametrize("capacity", [3, 8])
@pytest.mark.parametrize("cut", [[3], [1, 2]])
def test_batches_that_stand_side_by_side_are_those_that_an_index_names(capacity, cut):
    key, begins = jax.random.key(3), np.array([4, 0, 2], np.int32)
    index = begins[:, None] + np.arange(2, dtype=np.int32)
    found = {}
    for sliced in (False, True):
        loop, carry, parts, at = make_loop(step), jnp.float32(1.0), [], 0
        for steps in cut:
            some = slice(at, at + steps)
            where = begins[some] if sliced else None
            carry, out = run_chunk(
                loop, carry, DATA, index[some], key=key, first=7 + at, capacity=capacity, begins=where
            )
            parts.append(out)
            at += steps
        found[sliced] = [carry, *(np.concatenate([p[name] for p in parts]) for name in ("x", "y"))]
    for gathered, sliced in zip(found[False], found[True], strict=True):
        np.testing.assert_array_equal(gathered, sliced)
    np.testing.assert_array_equal(found[True][2], [9.0, 1.0, 5.0])


def test_steps_may_be_numbered_one_by_one():
    key = jax.random.key(3)
    loop = make_loop(lambda carry, batch, key: (carry, jax.random.normal(key, ())))
    _, drawn = run_chunk(loop, 0.0, DATA, INDEX[:3], key=key, first=[9, 2, 9], capacity=4)
    assert drawn[0] == drawn[2] != drawn[1]


def test_one_program_serves_every_number_of_steps():
    traces = []

    def traced(carry, batch, key):
        traces.append(1)
        return step(carry, batch, key)

    loop = make_loop(traced)
    for steps in (1, 2, 3, 4):
        run_chunk(loop, jnp.float32(0.0), DATA, INDEX[:steps], key=jax.random.key(0), first=0, capacity=8)
    assert len(traces) == 1  # what a step leaves behind is known from the same trace


def test_pace_grows_to_the_time_wanted_and_no_further():
    pace = Pace(CAPACITY, seconds=0.1)
    assert pace.steps == 1
    pace.took(1, 0.02)
    assert pace.steps == 5
    pace.took(5, 0.005)  # a millisecond a step
    assert pace.steps == 80  # no more than 16 times as many
    pace.took(80, 0.08)
    assert pace.steps == 100
    pace.took(100, 0.2)  # the machine became slower
    assert pace.steps == 50
    pace.took(50, 100.0)
    assert pace.steps == 1
    assert pace.each == 2.0


def test_pace_keeps_its_limit():
    small = Pace(5)
    small.took(1, 1e-9)
    assert small.steps == 5


def test_what_compiling_takes_does_not_slow_the_pace():
    pace = Pace(8)
    loop = make_loop(step)
    run_chunk(loop, jnp.float32(0.0), DATA, INDEX[:1], key=jax.random.key(0), first=0, capacity=8, pace=pace)
    assert 0 < pace.each < loop.seconds
