"""Attention of one head, without projections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import jax
import jax.numpy as jnp

from verax.errors import InputError, UnknownNameError
from verax.frame.variable import Variable
from verax.layers.base import Layer, LayerArguments, check_rate, layer_registry
from verax.layers.regularization import dropout as drop
from verax.ops.attention import as_bool, distances
from verax.ops.stretching import stretch

__all__ = ["AdditiveAttention", "Attention", "dropped"]


@layer_registry.add
class Attention(Layer):
    """Attention by dot products (Luong et al., 2015): ``softmax(score(query, key)) @ value``.

    ``layer([query, value])`` or ``layer([query, value, key])``: ``query`` (batch, T, size), ``value`` and ``key``
    (batch, S, size) -> (batch, T, size of the value); the key is the value where it is left out. The scores (batch, T,
    S) are, with weights ``scale`` () and ``concat_score_weight`` ()::

        q · k * scale                                       score_mode="dot"
        concat_score_weight * sum(tanh(scale * (q + k)))    score_mode="concat"

    ``call(inputs, mask=None, return_attention_scores=False, use_causal_mask=False)``: ``mask`` is the list [query's,
    value's], filled in from the inputs: a masked value is not attended to, and the output of a masked query is 0. The
    mask of the output is the query's.

    Args:
        use_scale: Whether the scores have the weight ``scale``, 1 at first.
        score_mode: "dot" or "concat".
        dropout: The rate at which attention weights are dropped in training.
        seed: Another seed gives other dropout masks for the same key.

    >>> q, v = jnp.zeros((1, 1, 2)), jnp.array([[[0.0, 2.0], [2.0, 4.0]]])
    >>> Attention()([q, v]).tolist()
    [[[1.0, 3.0]]]
    """

    supports_masking = True

    def __init__(
        self,
        use_scale: bool = False,
        score_mode: str = "dot",
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(**kwargs)
        if score_mode not in ("dot", "concat"):
            raise UnknownNameError.among("score_mode", score_mode, ["dot", "concat"])
        self.use_scale = use_scale
        self.score_mode = score_mode
        self.dropout = check_rate(dropout, "dropout")
        self.seed = seed

    def build(self, input_shape: Any) -> None:
        """Make the weights of the scores."""
        _inputs(self, input_shape)
        self.scale = self.add_weight((), "ones", name="scale") if self.use_scale else None
        self.concat_score_weight = None
        if self.score_mode == "concat":
            self.concat_score_weight = self.add_weight((), "ones", name="concat_score_weight")

    def call(
        self,
        inputs: Sequence[jax.Array],
        mask: Any = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        """Attend with ``inputs[0]`` to ``inputs[1]``."""
        query, value, key = _inputs(self, inputs)
        query_mask, value_mask = (None, None) if mask is None else _inputs(self, mask)[:2]
        scores = self.scores(query, key)
        keep = None if value_mask is None else as_bool(value_mask)[..., None, :]
        if use_causal_mask:
            causal = (distances(*scores.shape[-2:]) >= 0).reshape((1,) * (scores.ndim - 2) + scores.shape[-2:])
            keep = causal if keep is None else keep & causal
        if keep is not None:
            scores = jnp.where(keep, scores, scores - (65504.0 if scores.dtype == jnp.float16 else 1e9))
        weights = jax.nn.softmax(scores, axis=-1)
        output = jnp.matmul(dropped(self, weights), value)
        if query_mask is not None:
            output = jnp.where(as_bool(query_mask)[..., None], output, jnp.zeros_like(output))
        return (output, weights) if return_attention_scores else output

    def scores(self, query: jax.Array, key: jax.Array) -> jax.Array:
        """How well each query (batch, T, size) fits each key (batch, S, size): (batch, T, S)."""
        if self.concat_score_weight is None:
            return _times(jnp.matmul(query, jnp.swapaxes(key, -2, -1)), self.scale)
        pairs = _times(query[..., :, None, :] + key[..., None, :, :], self.scale)
        return _times(jnp.sum(jnp.tanh(pairs), axis=-1), self.concat_score_weight)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The query's mask."""
        return None if mask is None else mask[0]


def dropped(layer: Any, weights: jax.Array) -> jax.Array:
    """Attention weights as the layer's rate, seed and mode want them."""
    if layer.dropout == 0.0:
        return weights
    return layer.by_mode(
        "dropout", train=lambda: drop(weights, layer.dropout, layer.draw_key(layer.seed)), infer=lambda: weights
    )


def _inputs(layer: Layer, inputs: Any) -> tuple[Any, Any, Any]:
    """Query, value and key, or what stands in their places."""
    if not isinstance(inputs, (list, tuple)) or len(inputs) not in (2, 3):
        shape = getattr(inputs, "shape", None)
        raise InputError(
            f"{type(layer).__name__} {layer.name!r} was called.",
            received=f"{type(inputs).__name__}" + ("" if shape is None else f" of shape {tuple(shape)}"),
            because="it takes a list of two or three arrays, and masks likewise",
            do="Call it as layer([query, value]) or layer([query, value, key]).",
        )
    return inputs[0], inputs[1], inputs[-1]


@layer_registry.add
class AdditiveAttention(Attention):
    """Attention by sums (Bahdanau et al., 2015): the scores are ``sum(scale * tanh(query + key))``.

    Called as ``Attention`` is. Weight: ``scale`` (size,), with ``use_scale``.

    Args:
        use_scale: Whether the features of the score are weighted.
        dropout: The rate at which attention weights are dropped in training.
        seed: Another seed gives other dropout masks for the same key.

    >>> AdditiveAttention()([jnp.ones((2, 3, 4)), jnp.ones((2, 5, 4))]).shape
    (2, 3, 4)
    """

    def __init__(
        self, use_scale: bool = True, dropout: float = 0.0, seed: int | None = None, **kwargs: Unpack[LayerArguments]
    ):
        super().__init__(use_scale, "dot", dropout, seed, **kwargs)

    def build(self, input_shape: Any) -> None:
        """Make the weights of the scores."""
        size = _inputs(self, input_shape)[0][-1]
        self.scale = self.add_weight((size,), "glorot_uniform", name="scale") if self.use_scale else None

    def scores(self, query: jax.Array, key: jax.Array) -> jax.Array:
        """How well each query (batch, T, size) fits each key (batch, S, size): (batch, T, S)."""
        return jnp.sum(_times(jnp.tanh(query[..., :, None, :] + key[..., None, :, :]), self.scale), axis=-1)


def _times(x: jax.Array, scale: Variable | None) -> jax.Array:
    """``x`` times a scale for all of it, or for each of its last axis; None for none."""
    return x if scale is None else x * stretch(scale.value.reshape((1,) * (x.ndim - 1) + (-1,)), x)
