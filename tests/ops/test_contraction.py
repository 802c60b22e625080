"""Products flattened to matrices against einsum: values, gradients, and the equations that are no products."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from verax.frame.speed import fast_kernels
from verax.ops.contraction import contract

EQUATIONS = {
    "ab,bc->ac": ((2, 3), (3, 4)),
    "abc,cde->abde": ((2, 3, 4), (4, 5, 6)),
    "abcd,cde->abe": ((2, 3, 4, 5), (4, 5, 6)),
    "a b, b -> a": ((2, 3), (3,)),
    "abc,cd->adb": ((2, 3, 4), (4, 5)),
    "abc,bcd->ad": ((0, 3, 4), (3, 4, 5)),
    "...ab,bc->...ac": ((2, 3, 4), (4, 5)),
    "abc,cb->ab": ((2, 3, 4), (4, 3)),
}


def test_every_equation_as_einsum_has_it():
    rng = np.random.default_rng(0)
    pairs = {e: [jnp.asarray(rng.normal(size=s).astype("float32")) for s in shapes] for e, shapes in EQUATIONS.items()}

    def run(function):
        def one(equation, x, kernel):
            y, back = jax.vjp(lambda *a: function(equation, *a), x, kernel)
            return y, back(jnp.cos(y))

        return jax.jit(lambda pairs: {e: one(e, *pair) for e, pair in pairs.items()})(pairs)

    for a, b in zip(jax.tree.leaves(run(contract)), jax.tree.leaves(run(jnp.einsum)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_a_product_is_one_matrix_product():
    x, kernel = jnp.ones((2, 3, 4)), jnp.ones((4, 5, 6))
    text = str(jax.make_jaxpr(lambda *a: contract("abc,cde->abde", *a))(x, kernel))
    assert ("f32[6,30] = dot_general" in text) == fast_kernels()
