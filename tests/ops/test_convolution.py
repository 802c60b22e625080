"""Convolutions: every form gives the values and gradients of the plain one, to any order and with extreme values."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.kernels import kernels
from verax.ops import onednn
from verax.ops.convolution import convolve, convolve_plain, convolve_transposed, convolve_transposed_plain

#: what: sizes, window, strides, padding, dilation, groups, channels, filters
GRID = {
    "pointwise": ((5, 4), (1, 1), (1, 1), "SAME", (1, 1), 1, 4, 3),
    "pointwise, strides that leave a rest": ((7, 6), (1, 1), (2, 3), "VALID", (2, 2), 1, 4, 3),
    "pointwise, padded": ((5, 4), (1, 1), (1, 2), ((1, 0), (0, 2)), (1, 1), 1, 2, 3),
    "one channel": ((6, 5), (3, 2), (1, 2), "SAME", (1, 1), 1, 1, 4),
    "three channels": ((7, 6), (3, 3), (2, 2), "SAME", (1, 1), 1, 3, 4),
    "steps": ((9,), (3,), (2,), "SAME", (1,), 1, 5, 4),
    "causal": ((7,), (3,), (1,), ((4, 0),), (2,), 1, 5, 4),
    "image": ((6, 5), (3, 3), (1, 1), "SAME", (1, 1), 1, 5, 4),
    "image, strides that leave a rest": ((8, 7), (3, 2), (2, 2), "VALID", (1, 1), 1, 5, 4),
    "stride above the window": ((8, 7), (2, 1), (3, 2), "VALID", (1, 1), 1, 5, 4),
    "uneven padding": ((6, 7), (2, 3), (2, 1), ((0, 2), (3, 1)), (1, 1), 1, 5, 4),
    "dilated": ((8, 7), (3, 2), (1, 2), "SAME", (2, 3), 1, 5, 4),
    "volume": ((4, 5, 3), (2, 3, 2), (1, 2, 1), "SAME", (1, 1, 1), 1, 5, 2),
    "groups": ((6, 5), (3, 3), (2, 1), "SAME", (1, 1), 2, 4, 6),
    "each channel": ((6, 5), (3, 3), (1, 1), "SAME", (1, 1), 4, 4, 4),
    "each channel, strides": ((7, 8), (3, 3), (2, 2), "SAME", (1, 1), 4, 4, 4),
    "each channel, two filters": ((7, 6), (2, 3), (2, 1), "VALID", (1, 1), 3, 3, 6),
    "each channel, stride above the window": ((8, 7), (2, 1), (3, 2), ((1, 0), (0, 1)), (1, 1), 3, 3, 3),
    "each channel, dilated": ((8, 7), (3, 2), (2, 1), "SAME", (2, 3), 3, 3, 3),
    "each channel, steps": ((9,), (3,), (2,), ((2, 0),), (1,), 3, 3, 3),
    "each channel, volume": ((4, 3, 3), (2, 2, 2), (2, 1, 1), "SAME", (1, 1, 1), 3, 3, 3),
}
#: One case for each form.
FORMS = ("pointwise, strides that leave a rest", "one channel", "three channels", "image", "each channel, strides")


@pytest.fixture(autouse=True, params=["own", "onednn"])
def made_by(request, monkeypatch):
    """Everything through the forms of Verax, and through oneDNN wherever that takes a shape."""
    if request.param == "onednn" and not onednn._works():
        pytest.skip("this jaxlib has no oneDNN")
    monkeypatch.setattr(onednn, "_LEAST", 0 if request.param == "onednn" else 1 << 62)
    with kernels(True):
        yield


#: What is tested is the graph; compiling it well takes most of the time.
jit = functools.partial(
    jax.jit, compiler_options={"xla_llvm_disable_expensive_passes": True, "xla_backend_optimization_level": 0}
)


def arrays(case, dtype="float32"):
    sizes, window, *_, groups, channels, filters = case
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, *sizes, channels))
    return jnp.asarray(x, dtype), jnp.asarray(rng.normal(size=(*window, channels // groups, filters)), dtype)


def gradients(form, case, x, kernel, *, channels_last=True):
    """The output, and the gradients of its product with cosines."""
    strides, padding, dilation, groups = case[2:6]

    def y(x, kernel):
        x = x if channels_last else jnp.moveaxis(x, -1, 1)
        y = form(x, kernel, strides, padding, dilation, channels_last=channels_last, groups=groups)
        return y if channels_last else jnp.moveaxis(y, 1, -1)

    out, back = jax.vjp(y, x, kernel)
    return out, *back(jnp.cos(jnp.arange(out.size, dtype="float32")).astype(x.dtype).reshape(out.shape))


def close(found, expected, what, rtol=1e-5):
    for a, b, part in zip(found, expected, ("y", "dx", "dkernel"), strict=True):
        a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol, err_msg=f"{what}: {part}")


def test_values_and_gradients_are_those_of_the_plain_form():
    given = {what: arrays(case) for what, case in GRID.items()}

    def run(given):
        return {what: [gradients(f, GRID[what], *a) for f in (convolve, convolve_plain)] for what, a in given.items()}

    for what, (found, expected) in jit(run)(given).items():
        close(found, expected, what)


def test_channels_first():
    for what in ("image, strides that leave a rest", "each channel"):
        x, kernel = arrays(GRID[what])
        found = jit(lambda x, k, c=GRID[what]: gradients(convolve, c, x, k, channels_last=False))(x, kernel)
        close(found, gradients(convolve_plain, GRID[what], x, kernel), what)


def test_a_bias_is_added_and_has_its_gradient():
    for what in (*FORMS, "groups", "each channel, two filters"):
        x, kernel = arrays(GRID[what])
        strides, padding, dilation, groups = GRID[what][2:6]
        bias = jnp.arange(kernel.shape[-1], dtype="float32")

        def run(form, bias, x=x, kernel=kernel, how=(strides, padding, dilation), groups=groups):
            return form(x, kernel, *how, bias=bias, groups=groups)

        for form in (convolve, convolve_plain):
            y, back = jax.vjp(lambda b, form=form: run(form, b), bias)
            np.testing.assert_allclose(y, run(form, None) + bias.reshape(*(1,) * (y.ndim - 1), -1), 1e-5, 1e-5)
            assert back(jnp.ones_like(y))[0].tolist() == [y.size / len(bias)] * len(bias)
    y = convolve(
        jnp.ones((1, 2, 4, 4)), jnp.zeros((3, 3, 2, 3)), (1, 1), "SAME", bias=jnp.arange(3.0), channels_last=False
    )
    assert y[0, :, 0, 0].tolist() == [0, 1, 2]


def test_padding_wider_than_the_window():
    # XLA's own gradient reads beyond the array here; a convolution of an input padded beforehand is sound.
    case = ((8,), (2,), (1,), ((2, 3),), (1,), 1, 3, 4)
    x, kernel = arrays(case)

    def padded(x, kernel, strides, padding, dilation, **kwargs):
        return convolve_plain(jnp.pad(x, ((0, 0), *padding, (0, 0))), kernel, strides, "VALID", dilation, **kwargs)

    close(gradients(convolve, case, x, kernel), gradients(padded, case, x, kernel), "wide")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_adds_up_in_single(dtype):
    for what in FORMS[::2] if dtype == "float16" else FORMS:
        x, kernel = arrays(GRID[what], dtype)
        found = jit(lambda x, k, c=GRID[what]: gradients(convolve, c, x, k))(x, kernel)
        assert all(a.dtype == dtype for a in found)
        expected = gradients(convolve_plain, GRID[what], x.astype("float32"), kernel.astype("float32"))
        close(found, expected, what, rtol=3e-2)
    # Terms each below half a unit in the last place of the sum: added in the type itself they would all be lost.
    ones = jnp.full((1, 1, 1, 4096), 2**-8, dtype).at[..., 0].set(8)
    assert convolve(ones, jnp.ones((1, 1, 4096, 1), dtype), (1, 1), "VALID").item() == 24


def test_extreme_values_reach_the_outputs_they_reach_in_the_plain_form():
    for what in FORMS:
        x, kernel = arrays(GRID[what])
        rng = np.random.default_rng(1)
        some = jnp.asarray(rng.choice([np.nan, np.inf, -np.inf, 1e30, 1e-40], size=x.shape), "float32")
        x = jnp.where(jnp.asarray(rng.random(x.shape) < 0.03), some, x).at[(0,) * x.ndim].set(jnp.nan)
        pair = jit(lambda x, k, c=GRID[what]: [gradients(f, c, x, k) for f in (convolve, convolve_plain)])
        fast, plain = pair(x, kernel)
        assert bool(jnp.any(jnp.isnan(fast[0])))
        for found, expected, part in zip(fast, plain, ("y", "dx", "dkernel"), strict=True):
            for test in (jnp.isnan, jnp.isposinf, jnp.isneginf):
                np.testing.assert_array_equal(test(found), test(expected), f"{what}: {part}")


def test_gradients_of_gradients():
    todo = {what: (GRID[what], arrays(GRID[what])) for what in FORMS}

    def curvature(form, case, x, kernel):
        def slope(x, kernel):
            strides, padding, dilation, groups = case[2:6]
            loss = lambda x, k: jnp.sum(form(x, k, strides, padding, dilation, groups=groups) ** 3) / 100  # noqa: E731
            dx, dk = jax.grad(loss, (0, 1))(x, kernel)
            return jnp.sum(dx**2) / 100 + jnp.sum(dk**2) / 1000

        value, both = jax.value_and_grad(slope, (0, 1))(x, kernel)
        return value, *both

    def run():
        return {w: [curvature(f, c, *a) for f in (convolve, convolve_plain)] for w, (c, a) in todo.items()}

    for what, (found, expected) in jit(run)().items():
        size = max(float(jnp.max(jnp.abs(a))) for a in expected)
        close([a / size for a in found], [a / size for a in expected], what)


def test_transposed():
    cases = [
        ((4, 5), (3, 2), (2, 2), ((1, 2), (1, 1)), (1, 1), True),
        ((5,), (2,), (3,), ((1, 4),), (2,), True),
        ((4, 5), (3, 2), (1, 2), ((2, 2), (3, 3)), (1, 2), False),
    ]
    rng = np.random.default_rng(2)
    for sizes, window, strides, padding, dilation, last in cases:
        x = jnp.asarray(rng.normal(size=(2, *sizes, 3) if last else (2, 3, *sizes)), "float32")
        kernel = jnp.asarray(rng.normal(size=(*window, 4, 3)), "float32")

        def run(x, kernel, strides=strides, padding=padding, dilation=dilation, last=last):
            def both(form):
                y, back = jax.vjp(lambda x, k: form(x, k, strides, padding, dilation, channels_last=last), x, kernel)
                return y, *back(jnp.cos(y))

            return both(convolve_transposed), both(convolve_transposed_plain)

        found, expected = jit(run)(x, kernel)
        close(found, expected, (sizes, last))


def test_without_fast_kernels_forward_mode_works():
    case = GRID["image"]
    x, kernel = arrays(case)
    expected = gradients(convolve, case, x, kernel)[0]
    with kernels(False):
        y, slope = jax.jvp(lambda x: convolve(x, kernel, *case[2:5]), (x,), (x,))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(slope, expected, rtol=1e-5, atol=1e-5)


def test_shapes_that_take_the_plain_form():
    whole = convolve(jnp.ones((1, 4, 1), "int32"), jnp.ones((2, 1, 1), "int32"), (1,), "VALID")
    assert whole.dtype == jnp.int32
    assert whole.ravel().tolist() == [2, 2, 2]
    assert convolve(jnp.ones((0, 4, 2)), jnp.ones((3, 2, 5)), (1,), "SAME").shape == (0, 4, 5)
    assert convolve(jnp.ones((1, 2, 2)), jnp.ones((3, 2, 5)), (1,), "VALID").shape == (1, 0, 5)
    with pytest.raises((TypeError, ValueError), match="feature"):
        convolve(jnp.ones((1, 4, 3)), jnp.ones((1, 2, 5)), (1,), "VALID")
