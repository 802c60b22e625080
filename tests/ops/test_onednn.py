"""oneDNN by way of jaxlib: its products and convolutions against NumPy in float64 and lax, and where they are not used.

``tests/ops/test_convolution.py`` and ``test_recurrent.py`` run whole through it, too.
"""

from __future__ import annotations

import functools
import itertools
import platform
import shutil
import sys
import threading
from importlib import metadata

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import verax
from tests.fence import __main__ as fence
from tests.kernels import kernels
from verax.frame import remat
from verax.frame.placement import set_places
from verax.frame.speed import traced_for
from verax.layers import Conv2D
from verax.ops import onednn
from verax.ops.contraction import multiply

needed = pytest.mark.skipif(not onednn._works(), reason="this jaxlib, or this kind of processor, has no oneDNN")
TURNS = list(itertools.product([False, True], repeat=2))


@pytest.fixture(autouse=True)
def small_too(monkeypatch):
    monkeypatch.setattr(onednn, "_LEAST", 0)
    with kernels(True):
        yield


def factors(m, k, n, turn_a, turn_b, seed=0):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(k, m) if turn_a else (m, k)), rng.normal(size=(n, k) if turn_b else (k, n))
    return jnp.asarray(a, "float32"), jnp.asarray(b, "float32")


def plain(a, b, turn_a, turn_b):
    return (a.T if turn_a else a) @ (b.T if turn_b else b)


def test_a_known_jaxlib_has_it():
    if metadata.version("jaxlib") not in onednn._VERSIONS:
        pytest.skip("Whether this jaxlib has oneDNN, and in what form it takes a description, has not been tried.")
    assert onednn._works() == (platform.machine().lower() in ("x86_64", "amd64"))


# ---- products --------------------------------------------------------------------------------------------------------


@needed
@pytest.mark.parametrize(("turn_a", "turn_b"), TURNS)
def test_products(turn_a, turn_b):
    for m, k, n in [(1, 1, 1), (3, 5, 2), (33, 7, 65), (128, 100, 10), (1, 300, 4), (64, 1, 64), (40, 2000, 48)]:
        a, b = factors(m, k, n, turn_a, turn_b)
        found = jax.jit(functools.partial(onednn.matmul, turn_a=turn_a, turn_b=turn_b))(a, b)
        want = plain(np.asarray(a, "float64"), np.asarray(b, "float64"), turn_a, turn_b)
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6 * k, err_msg=f"{(m, k, n)}")


@needed
@pytest.mark.parametrize(("turn_a", "turn_b"), TURNS)
def test_derivatives_of_products_to_the_second_order(turn_a, turn_b):
    a, b = factors(6, 5, 7, turn_a, turn_b)

    def both(multiplied):
        def loss(a, b):
            return jnp.sum(jnp.tanh(multiplied(a, b)))

        def slopes(a, b):
            da, db = jax.grad(loss, (0, 1))(a, b)
            return jnp.sum(jnp.sin(da)) + jnp.sum(db**2)

        return loss(a, b), jax.grad(loss, (0, 1))(a, b), jax.grad(slopes, (0, 1))(a, b)

    found = jax.jit(lambda: both(lambda a, b: onednn.matmul(a, b, turn_a=turn_a, turn_b=turn_b)))()
    want = both(lambda a, b: plain(a, b, turn_a, turn_b))
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


@needed
def test_products_forward_mode_and_mapped():
    a, b = factors(6, 5, 7, False, False)
    tangent = jnp.ones_like(a)
    value, slope = jax.jvp(onednn.matmul, (a, b), (tangent, b))
    np.testing.assert_allclose(value, a @ b, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(slope, tangent @ b + a @ b, rtol=1e-5, atol=1e-5)
    many = jnp.stack([a, 2 * a])
    found = jax.vmap(onednn.matmul, (0, None))(many, b)
    np.testing.assert_allclose(found, many @ b, rtol=1e-5, atol=1e-5)


@needed
def test_not_a_number_and_infinity_in_products():
    a, b = factors(20, 9, 30, False, False)
    a = a.at[3, 2].set(jnp.nan).at[7, 1].set(jnp.inf).at[8, 0].set(-jnp.inf).at[9, 0].set(1e38).at[9, 1].set(1e38)
    b = b.at[0].set(3.0).at[1].set(3.0)
    with np.errstate(all="ignore"):
        found, want = onednn.matmul(a, b), np.asarray(a) @ np.asarray(b)
    for test in (np.isnan, np.isposinf, np.isneginf):
        np.testing.assert_array_equal(test(np.asarray(found)), test(want))


# ---- convolutions ----------------------------------------------------------------------------------------------------


@needed
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_convolutions(rank):
    rng = np.random.default_rng(rank)
    some = [(1, 4), (3, 5), (8, 16), (17, 3)]
    for (channels, filters), stride, dilation, pads in itertools.product(
        some, (1, 2), (1, 2), ((0, 0), (1, 0), (1, 2))
    ):
        sizes, window = (9, 8, 7)[:rank], (3, 2, 3)[:rank]
        around = [tuple(min(p, (k - 1) * dilation) for p in pads) for k in window]
        x = jnp.asarray(rng.normal(size=(2, *sizes, channels)), "float32")
        kernel = jnp.asarray(rng.normal(size=(*window, channels, filters)), "float32")
        bias = jnp.asarray(rng.normal(size=filters), "float32")
        how = ((stride,) * rank, around, (dilation,) * rank)
        assert onednn.suits_convolution(x, kernel, *how)
        want = onednn._plain_convolution(x, kernel, bias, strides=how[0], pads=how[1], dilation=how[2], turned=False)
        found = onednn.convolution(x, kernel, *how, bias=bias)
        np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)
        swapped = jnp.swapaxes(kernel, -1, -2)
        again = onednn.convolution(x, swapped, *how, bias=bias, turned=True)
        np.testing.assert_allclose(again, want, rtol=1e-4, atol=1e-5)


@needed
def test_what_is_not_taken():
    x, kernel = jnp.ones((1, 6, 6, 4)), jnp.ones((3, 3, 4, 8))
    once, none = (1, 1), ((0, 0), (0, 0))
    assert onednn.suits_convolution(x, kernel, once, none, once)
    assert not onednn.suits_convolution(x.astype("bfloat16"), kernel.astype("bfloat16"), once, none, once)
    assert not onednn.suits_convolution(x, kernel, once, ((3, 0), (0, 0)), once)  # wider than the window reaches
    assert not onednn.suits_convolution(x, kernel, once, ((-1, 0), (0, 0)), once)
    assert not onednn.suits_convolution(x, jnp.ones((3, 3, 2, 8)), once, none, once)  # in two groups
    assert not onednn.suits_convolution(x, jnp.ones((3, 3, 1, 4)), once, none, once)  # by channel
    assert not onednn.suits_convolution(x[:, :2], kernel, once, none, once)  # no output
    assert not onednn.suits_convolution(x[:, :2], kernel, once, ((2, 2), (0, 0)), once)  # a window wider than the map
    a = jnp.ones((8, 8))
    assert onednn.suits_matmul(a, a)
    assert not onednn.suits_matmul(a.astype("float16"), a)
    assert not onednn.suits_matmul(a[None], a)


@needed
def test_several_at_once_neither_wait_for_each_other_nor_change():
    rng = np.random.default_rng(0)
    xs = [jnp.asarray(rng.normal(size=(2, 12, 12, 16)), "float32") for _ in range(6)]
    kernel = jnp.asarray(rng.normal(size=(3, 3, 16, 16)), "float32")

    def run(xs):
        def body(_, total):
            maps = [onednn.convolution(x + total * 1e-9, kernel, (1, 1), ((1, 1), (1, 1)), (1, 1)) for x in xs]
            return sum(jnp.mean(m) for m in maps)

        return jax.lax.fori_loop(0, 30, body, jnp.zeros(()))

    program = jax.jit(run)
    want, found = float(program(xs)), []
    threads = [threading.Thread(target=lambda: found.extend(float(program(xs)) for _ in range(3))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [want] * 12


# ---- its memory ------------------------------------------------------------------------------------------------------


@needed
@pytest.mark.skipif(not sys.platform.startswith("linux") or not shutil.which("cc"), reason="needs Linux and a compiler")
def test_nothing_beyond_an_array_is_touched():
    assert fence.run("convolution", seed=1, cases=40) == []
    assert fence.run("product", seed=1, cases=40) == []
    assert fence.run("beyond", seed=1, cases=1) != []  # the fence stands


# ---- where it is not used --------------------------------------------------------------------------------------------


def calls(function, *arrays):
    return "onednn" in str(jax.make_jaxpr(function)(*arrays))


@needed
def test_it_is_used_in_this_process_on_one_processor_alone(tmp_path):
    a = jnp.ones((8, 8))
    fresh = lambda: calls(lambda a, b: multiply(a, b), a, a)  # noqa: E731 - a new function each time, nothing is kept
    assert fresh()
    with kernels(False):
        assert not fresh()
    with traced_for("cpu"):
        assert not fresh()
    verax.config.compilation_cache(tmp_path)
    try:
        assert not fresh()
    finally:
        verax.config.compilation_cache(None)
    set_places(object())  # type: ignore[arg-type]
    try:
        assert not fresh()
    finally:
        set_places(None)
    assert fresh()


@needed
def test_on_another_platform_it_is_lax():
    x, kernel = jnp.ones((1, 6, 6, 4)), jnp.ones((3, 3, 4, 8))
    run = jax.jit(lambda x, k: onednn.convolution(x, k, (1, 1), ((0, 0), (0, 0)), (1, 1)))
    assert "custom_call" in run.trace(x, kernel).lower(lowering_platforms=("cpu",)).as_text()
    there = run.trace(x, kernel).lower(lowering_platforms=("tpu",)).as_text()
    assert "custom_call" not in there
    assert "stablehlo.convolution" in there


@needed
def test_a_layer_uses_it_and_gives_what_it_gives_without():
    layer = Conv2D(8, 3, padding="same", activation="relu")
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 6, 4)), "float32")
    with_it = layer(x)
    with kernels(False):
        without = layer(x)
    np.testing.assert_allclose(with_it, without, rtol=1e-5, atol=1e-5)


@needed
def test_remat_keeps_its_results_as_those_of_lax():
    assert {onednn._matmul.name, onednn._convolution.name} <= set(remat._PRODUCTS)
