"""Linear algebra over the last two axes, in Keras' forms."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsp
from jax.core import Tracer

from verax.errors import DataError, ShapeError, UnknownNameError
from verax.frame.settings import floatx

__all__ = [
    "cholesky",
    "cholesky_inverse",
    "det",
    "eig",
    "eigh",
    "inv",
    "logdet",
    "lstsq",
    "lu_factor",
    "matrix_rank",
    "norm",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
]


def _float(x: Any) -> jax.Array:
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(floatx())


def _matrices(x: Any, name: str) -> jax.Array:
    x = jnp.asarray(x)
    if x.ndim < 2:
        raise ShapeError(
            f"ops.{name} was called.", received=f"shape {x.shape}", because="it takes (..., rows, columns)"
        )
    return x


def cholesky(x: Any, upper: bool = False) -> jax.Array:
    """L with L Lᴴ = x, lower triangular; U with Uᴴ U = x where ``upper``.

    Raises:
        DataError: Outside of jit, where ``x`` is not positive definite (under jit the result is NaN).
    """
    factor = jnp.linalg.cholesky(_matrices(x, "cholesky"), upper=upper)
    if not isinstance(factor, Tracer) and bool(jnp.any(jnp.isnan(factor))):
        raise DataError("ops.cholesky was called.", because="the matrix is not positive definite")
    return factor


def cholesky_inverse(x: Any, upper: bool = False) -> jax.Array:
    """The inverse of the matrix whose Cholesky factor is ``x``."""
    x = _matrices(x, "cholesky_inverse")
    one = jnp.broadcast_to(jnp.eye(x.shape[-1], dtype=x.dtype), x.shape)
    factor = jsp.solve_triangular(x, one, lower=not upper)
    turned = jnp.swapaxes(factor, -1, -2)
    return factor @ turned if upper else turned @ factor


def det(x: Any) -> jax.Array:
    """The determinant."""
    return jnp.linalg.det(jnp.asarray(x))


def slogdet(x: Any) -> tuple[jax.Array, jax.Array]:
    """The sign of the determinant, and the logarithm of its absolute value."""
    return jnp.linalg.slogdet(jnp.asarray(x))


def logdet(x: Any) -> jax.Array:
    """The logarithm of the determinant's absolute value."""
    return slogdet(x)[1]


def eig(x: Any) -> tuple[jax.Array, jax.Array]:
    """Eigenvalues and eigenvectors of square matrices, complex; on CPUs only."""
    return jnp.linalg.eig(_matrices(x, "eig"))


def eigh(x: Any) -> tuple[jax.Array, jax.Array]:
    """Eigenvalues, ascending, and eigenvectors of Hermitian matrices."""
    return jnp.linalg.eigh(_matrices(x, "eigh"))


def inv(x: Any) -> jax.Array:
    """The inverse."""
    return jnp.linalg.inv(_matrices(x, "inv"))


def lstsq(a: Any, b: Any, rcond: float | None = None) -> jax.Array:
    """The x of least ‖a x − b‖, and of least ‖x‖ among those."""
    return jnp.linalg.lstsq(jnp.asarray(a), jnp.asarray(b), rcond=rcond)[0]


def lu_factor(x: Any) -> tuple[jax.Array, jax.Array]:
    """The factors of P x = L U in one matrix, and the rows exchanged at each step."""
    return jsp.lu_factor(_matrices(x, "lu_factor"))


def matrix_rank(x: Any, tol: float | None = None) -> jax.Array:
    """How many singular values exceed ``tol``, int32."""
    return jnp.linalg.matrix_rank(_matrices(x, "matrix_rank"), tol).astype("int32")


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> jax.Array:
    """The norm of vectors or matrices, as ``jnp.linalg.norm`` defines it."""
    return jnp.linalg.norm(_float(x), ord, axis, keepdims)


def pinv(x: Any, rcond: float | None = None) -> jax.Array:
    """The Moore-Penrose inverse."""
    return jnp.linalg.pinv(_matrices(x, "pinv"), rcond)


def qr(x: Any, mode: str = "reduced") -> Any:
    """Q with orthonormal columns and R upper triangular, Q R = x; ``mode`` is ``"reduced"`` or ``"complete"``."""
    if mode not in ("reduced", "complete"):
        raise UnknownNameError.among("mode of qr", mode, ("reduced", "complete"))
    return jnp.linalg.qr(_matrices(x, "qr"), mode)


def solve(a: Any, b: Any) -> jax.Array:
    """The x of a x = b."""
    return jnp.linalg.solve(jnp.asarray(a), jnp.asarray(b))


def solve_triangular(a: Any, b: Any, lower: bool = False) -> jax.Array:
    """The x of a x = b, a triangular."""
    return jsp.solve_triangular(jnp.asarray(a), jnp.asarray(b), lower=lower)


def svd(x: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """U, the singular values and Vᴴ; the singular values alone where not ``compute_uv``."""
    return jnp.linalg.svd(_matrices(x, "svd"), full_matrices, compute_uv)
