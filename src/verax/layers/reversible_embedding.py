"""An embedding that also maps vectors back to its indices."""

from __future__ import annotations

from typing import Any, Unpack

import jax
import jax.numpy as jnp

from verax.errors import InputError, ShapeError
from verax.frame.policy import is_float, standard_dtype
from verax.layers.base import LayerArguments, layer_registry
from verax.layers.core import Embedding
from verax.ops.contraction import product

__all__ = ["ReversibleEmbedding"]


@layer_registry.add
class ReversibleEmbedding(Embedding):
    """An ``Embedding`` E that also gives a logit for each index: ``layer(x, reverse=True) = x @ Eᵀ``.

    Forward: indices (batch, ...) -> (batch, ..., output_dim), as in ``Embedding``. In reverse: x (batch, ...,
    output_dim) -> logits (batch, ..., input_dim). Weights: ``embeddings`` (input_dim, output_dim), and without tied
    weights ``reverse_embeddings`` (output_dim, input_dim), which the reverse direction takes instead of Eᵀ. Language
    models tie them (Press, Wolf, 2017).

    Differs from Keras: in reverse the input's mask is passed on, so that a loss of the logits leaves padding out.

    Args:
        input_dim: The number of indices.
        output_dim: The size of a vector.
        tie_weights: Whether both directions share one table.
        embeddings_initializer: Where both tables start.
        embeddings_regularizer, embeddings_constraint: Of ``embeddings``.
        mask_zero: Whether index 0 is padding, masked out for the layers that follow.
        reverse_dtype: The dtype of the reverse direction, logits included; the compute dtype when None.
        logit_soft_cap: c: logits are ``c tanh(logits / c)``, which keeps them between -c and c. None for no cap.

    Raises:
        ShapeError: In reverse, vectors of another size.

    >>> layer = ReversibleEmbedding(5, 2, embeddings_initializer="ones")
    >>> layer(np.array([[0, 3]])).shape, layer(jnp.ones((1, 2)), reverse=True).tolist()
    ((1, 2, 2), [[2.0, 2.0, 2.0, 2.0, 2.0]])
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        tie_weights: bool = True,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        reverse_dtype: Any = None,
        logit_soft_cap: float | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(
            input_dim,
            output_dim,
            embeddings_initializer,
            embeddings_regularizer,
            embeddings_constraint,
            mask_zero,
            **kwargs,
        )
        if logit_soft_cap is not None and not logit_soft_cap > 0:
            received = f"logit_soft_cap={logit_soft_cap!r}"
            raise InputError(
                "ReversibleEmbedding was made.", received=received, because="it is positive, or None for no cap"
            )
        self.tie_weights = tie_weights
        self.reverse_dtype = None if reverse_dtype is None else standard_dtype(reverse_dtype)
        self.logit_soft_cap = logit_soft_cap

    def build(self, input_shape: Any) -> None:
        """Make the table, or both."""
        super().build(input_shape)
        if not self.tie_weights:
            shape = (self.output_dim, self.input_dim)
            self.reverse_embeddings = self.add_weight(shape, self.embeddings_initializer, name="reverse_embeddings")

    def call(self, x: jax.Array, reverse: bool = False, mask: Any = None) -> jax.Array:
        """Look indices ``x`` up, or give the logits of vectors ``x``."""
        output = self._logits(x) if reverse else super().call(x)
        # One of two masks, by the direction, which compute_mask does not know.
        found = mask if reverse else super().compute_mask(x)
        if found is not None:
            self._frame("call").masks[id(output)] = (output, found)
        return output

    def compute_mask(self, inputs: jax.Array, mask: Any = None) -> None:
        """None: the call itself says which steps count, by its direction."""

    def _logits(self, x: jax.Array) -> jax.Array:
        if x.ndim < 2 or x.shape[-1] != self.output_dim or not is_float(x.dtype):
            raise ShapeError(
                f"ReversibleEmbedding {self.name!r} was called in reverse.",
                received=f"an input of shape {tuple(x.shape)}, {x.dtype}",
                because=f"it maps float vectors (batch, ..., {self.output_dim}) to logits",
            )
        dtype = self.reverse_dtype or self.compute_dtype
        kernel = self.embeddings.value.T if self.tie_weights else self.reverse_embeddings.value
        logits = product(x.astype(dtype), kernel.astype(dtype))
        cap = self.logit_soft_cap
        return logits if cap is None else cap * jnp.tanh(logits / cap)
