"""Attention in several heads."""

from __future__ import annotations

import math
import string
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Unpack

import jax
import jax.numpy as jnp

from verax import regularizers
from verax.errors import InputError, ShapeError
from verax.frame.settings import is_flash_attention_enabled
from verax.layers.attention import dropped
from verax.layers.base import Layer, LayerArguments, check_rate, given, keep_parts, layer_registry
from verax.layers.einsum_dense import EinsumDense
from verax.ops.attention import AttendedAxes, attend, attention_weights, both, distances, flash_reason

__all__ = ["GroupQueryAttention", "MultiHeadAttention"]

Shape = tuple[int | None, ...]

#: What every projection is made with.
_PARTS = [f"{of}_{kind}" for of in ("kernel", "bias") for kind in ("initializer", "regularizer", "constraint")]


class _Heads(Layer):
    """What layers of several heads share: the projections, the masks, the draws and the core.

    Args:
        heads: Of the query, and of key and value.
        sizes: Of a head's queries and keys, and of its values.
    """

    supports_masking = True

    attention_axes: int | Sequence[int] | None = None
    output_shape: tuple[int, ...] | None = None

    def __init__(
        self,
        heads: tuple[int, int],
        sizes: tuple[int, int],
        *,
        dropout: float,
        use_bias: bool,
        sliding_window: int | None,
        flash_attention: bool | None,
        activity_regularizer: Any,
        use_gate: bool,
        seed: int | None,
        **others: Any,
    ):
        super().__init__(**keep_parts(self, others))
        self._heads, self._sizes = heads, sizes
        self.dropout = check_rate(dropout, "dropout")
        self.use_bias = use_bias
        self.sliding_window = None if sliding_window is None else _positive(self, "sliding_window", sliding_window)
        self.flash_attention = flash_attention
        if flash_attention and self.dropout > 0.0:
            raise InputError(
                f"{type(self).__name__} was made.",
                received=f"flash_attention=True, dropout={dropout}",
                because="flash attention never holds the probabilities that dropout acts on",
                do="Leave one of the two out.",
            )
        self.of_projections = regularizers.get(activity_regularizer)
        self.use_gate = use_gate
        self.seed = seed

    def build(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, query_shape: Shape, value_shape: Shape, key_shape: Shape | None = None
    ) -> None:
        """Make the projections."""
        key_shape = value_shape if key_shape is None else key_shape
        free = len(query_shape) - 1
        if free < 2 or len(value_shape) != len(query_shape) or value_shape[1:-1] != key_shape[1:-1]:
            raise ShapeError(
                f"{type(self).__name__} {self.name!r} was called.",
                received=f"query {query_shape}, value {value_shape}, key {key_shape}",
                because="all are (batch, steps, features), and value and key have the same steps",
                do="Call it as layer(query, value, key).",
            )
        (own, shared), (size, value_size) = self._heads, self._sizes
        self.query_dense = self._project("query", free, 1, (own, size))
        self.key_dense = self._project("key", free, 1, (shared, size))
        self.gate_dense = self._project("gate", free, 1, (own, value_size), "sigmoid") if self.use_gate else None
        self.value_dense = self._project("value", free, 1, (shared, value_size))
        self.output_dense = self._project("attention_output", free, 2, self.output_shape or query_shape[-1:])
        self.query_dense.build(query_shape)
        self.key_dense.build(key_shape)
        if self.gate_dense is not None:
            self.gate_dense.build(query_shape)
        self.value_dense.build(value_shape)
        self.output_dense.build((*query_shape[:-1], own, value_size))

    def call(
        self,
        query: jax.Array,
        value: jax.Array,
        key: jax.Array | None = None,
        query_mask: jax.Array | None = None,
        value_mask: jax.Array | None = None,
        key_mask: jax.Array | None = None,
        attention_mask: jax.Array | None = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        """Attend with ``query`` (batch, T, features) to ``value`` and ``key`` (batch, S, features)."""
        key = value if key is None else key
        axes = AttendedAxes.of(query.ndim, self.attention_axes)
        gate = None if self.gate_dense is None else self.gate_dense(query)
        q, k, v = self.query_dense(query), self.key_dense(key), self.value_dense(value)
        keep = axes.joint_mask(query_mask, (value_mask, key_mask), attention_mask, q.shape, k.shape)
        output, scores = self._mix(
            axes.join(q), axes.join(k), axes.join(v), keep, bool(use_causal_mask), bool(return_attention_scores)
        )
        output = axes.part(output, q.shape)
        output = self.output_dense(output if gate is None else output * gate)
        if scores is None:
            return output
        others, queries, keys = axes.sizes(q.shape, k.shape)
        return output, scores.reshape(*others, scores.shape[1], *queries, *keys)

    def compute_output_shape(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, query_shape: Shape, value_shape: Shape, key_shape: Shape | None = None
    ) -> Shape:
        """The query's shape, its features replaced by ``output_shape`` where that is given."""
        return (*query_shape[:-1], *(self.output_shape or query_shape[-1:]))

    def _project(
        self, name: str, free: int, bound: int, outputs: Sequence[int | None], activation: Any = None
    ) -> EinsumDense:
        """A map of the last ``bound`` axes to ``outputs``, with the ``free`` axes before them kept."""
        kept, summed, made = (
            string.ascii_lowercase[a:b]
            for a, b in ((0, free), (free, free + bound), (free + bound, free + bound + len(outputs)))
        )
        return EinsumDense(
            f"{kept}{summed},{summed}{made}->{kept}{made}",
            (*(None for _ in kept[1:]), *outputs),
            activation,
            made if self.use_bias else None,
            activity_regularizer=self.of_projections,
            **{part: getattr(self, part) for part in _PARTS},
            name=name,
            dtype=self.dtype_policy,
        )

    def _mix(
        self,
        query: jax.Array,
        key: jax.Array,
        value: jax.Array,
        keep: jax.Array | None,
        causal: bool,
        want_scores: bool,
    ) -> tuple[jax.Array, jax.Array | None]:
        """The core on (batch, time, heads, size), and the probabilities (batch, heads, queries, keys) if wanted.

        Args:
            query, key, value: Projected.
            keep: Which query may attend to which key: broadcastable to the probabilities, or None.
            causal: Whether no query may attend to a later key, besides.
            want_scores: Whether the probabilities are returned.
        """
        scale = 1.0 / math.sqrt(query.shape[-1])
        if key.shape[2] != query.shape[2]:
            key, value = (jnp.repeat(x, query.shape[2] // x.shape[2], axis=2) for x in (key, value))
        if self.sliding_window is not None:
            keep = both(keep, jnp.abs(distances(query.shape[1], key.shape[1])) < self.sliding_window)
        if not want_scores and self.dropout == 0.0:
            flash = self._flash(query, value, keep)
            return attend(query, key, value, keep, scale=scale, causal=causal, flash=flash), None
        if self.flash_attention:
            raise InputError(
                f"{type(self).__name__} {self.name!r} was called with return_attention_scores=True.",
                received="flash_attention=True",
                because="flash attention never holds the probabilities",
                do="Make the layer without flash_attention.",
            )
        if causal:
            keep = both(keep, distances(query.shape[1], key.shape[1]) >= 0)
        weights = attention_weights(query, key, keep, scale=scale)
        return jnp.einsum("bnts,bsnh->btnh", dropped(self, weights), value), weights if want_scores else None

    def _flash(self, query: jax.Array, value: jax.Array, keep: jax.Array | None) -> bool:
        if self.flash_attention is False or (self.flash_attention is None and is_flash_attention_enabled() is False):
            return False
        reason = flash_reason(query, value, keep)
        if reason is not None and self.flash_attention:
            raise InputError(
                f"{type(self).__name__} {self.name!r} was called.",
                received="flash_attention=True",
                because=reason,
                do="Use flash_attention=None, which takes it where it is possible.",
            )
        return reason is None


def _positive(layer: Layer, argument: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        received = f"{argument}={value!r}"
        raise InputError(f"{type(layer).__name__} was made.", received=received, because="it is a positive integer")
    return value


@layer_registry.add
class MultiHeadAttention(_Heads):
    """Scaled dot-product attention in several heads (Vaswani et al., 2017, section 3.2).

    Query, key and value are projected for each head; then, with T queries and S keys::

        weights = softmax(q @ kᵀ / sqrt(key_dim)), over the keys that the mask allows
        output  = sum over heads of (weights @ v) @ W_output + b_output

    ``query`` (batch, T, features), ``value`` and ``key`` (batch, S, features) -> (batch, T, features of the query, or
    ``output_shape``); more axes may stand between. Weights, in the parts ``query``, ``key``, (``gate``,) ``value`` and
    ``attention_output``: ``kernel`` (features, heads, size) and ``bias`` (heads, size); of the output (heads, size,
    features) and (features,).

    ``call(query, value, key=None, query_mask=None, value_mask=None, key_mask=None, attention_mask=None,
    return_attention_scores=False, use_causal_mask=False)``: the key is the value where it is None; masks of steps
    (batch, time) are filled in from the inputs; ``attention_mask`` (batch, T, S), or (batch, heads, T, S), is True
    where a query may attend to a key; ``use_causal_mask`` hides later keys. All of them act together. The mask of the
    output is the query's.

    Differs from Keras: a ``query_mask`` that is given counts (there it is replaced by the input's own); a query that
    may attend to no key gets zeros before the output's projection (there the mean of all values, except with dropout
    or when the weights are asked for).

    Args:
        num_heads: The number of heads.
        key_dim: The size of a head's queries and keys.
        value_dim: The size of a head's values; ``key_dim`` when None.
        dropout: The rate at which attention weights are dropped in training.
        use_bias: Whether the projections have a bias.
        output_shape: The sizes of the output's last axes; the query's features when None.
        attention_axes: The axes that are attended over; all between the batch and the features when None.
        sliding_window: Queries attend to keys less than this many steps away only.
        flash_attention: None: the GPU's fused kernel where it can run (half precision, no mask but the causal one);
            True: that one, or an error; False: never.
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
            kernel_constraint, bias_constraint: Of every projection.
        use_gate: Whether a sigmoid of a further projection of the query multiplies each head's output.
        seed: Another seed gives other dropout masks for the same key.

    >>> layer = MultiHeadAttention(num_heads=2, key_dim=3)
    >>> x = jnp.ones((1, 4, 5))
    >>> output, scores = layer(x, x, return_attention_scores=True, use_causal_mask=True)
    >>> output.shape, scores[0, 0, 1].tolist()
    ((1, 4, 5), [0.5, 0.5, 0.0, 0.0])
    """

    _in_files: ClassVar[Mapping[str, str]] = {"gate_dense": "_gate_dense"}

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: int | Sequence[int] | None = None,
        attention_axes: int | Sequence[int] | None = None,
        sliding_window: int | None = None,
        flash_attention: bool | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        use_gate: bool = False,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        arguments = given(locals())
        self.num_heads = _positive(self, "num_heads", arguments.pop("num_heads"))
        self.key_dim = _positive(self, "key_dim", arguments.pop("key_dim"))
        value_dim = arguments.pop("value_dim")
        self.value_dim = self.key_dim if value_dim is None else _positive(self, "value_dim", value_dim)
        del arguments["output_shape"], arguments["attention_axes"]
        super().__init__((self.num_heads, self.num_heads), (self.key_dim, self.value_dim), **arguments)
        if output_shape is not None:
            self.output_shape = (output_shape,) if isinstance(output_shape, int) else tuple(output_shape)
        self.attention_axes = (attention_axes,) if isinstance(attention_axes, int) else attention_axes


@layer_registry.add
class GroupedQueryAttention(_Heads):
    """``MultiHeadAttention`` in which groups of query heads share one head of keys and values (Ainslie et al., 2023).

    ``query`` (batch, T, features), ``value`` and ``key`` (batch, S, features) -> (batch, T, features of the query). The
    weights are those of ``MultiHeadAttention``, with fewer heads in ``key`` and ``value``. Called like it.

    Differs from Keras: as ``MultiHeadAttention`` does.

    Args:
        head_dim: The size of a head.
        num_query_heads: The number of heads of the query.
        num_key_value_heads: The number of heads of key and value, a divisor of ``num_query_heads``.
        dropout, use_bias, sliding_window, flash_attention, kernel_initializer, bias_initializer, kernel_regularizer,
            bias_regularizer, activity_regularizer, kernel_constraint, bias_constraint, use_gate, seed: As in
            ``MultiHeadAttention``.

    >>> x = jnp.ones((1, 4, 5))
    >>> GroupQueryAttention(3, num_query_heads=4, num_key_value_heads=2)(x, x).shape
    (1, 4, 5)
    """

    _described_as = ("keras.layers", "GroupQueryAttention")
    _in_files: ClassVar[Mapping[str, str]] = {
        f"{of}_dense": f"_{of}_dense" for of in ("query", "key", "value", "gate", "output")
    }

    def __init__(
        self,
        head_dim: int,
        num_query_heads: int,
        num_key_value_heads: int,
        dropout: float = 0.0,
        use_bias: bool = True,
        sliding_window: int | None = None,
        flash_attention: bool | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        use_gate: bool = False,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        arguments = given(locals())
        self.head_dim = _positive(self, "head_dim", arguments.pop("head_dim"))
        self.num_query_heads = _positive(self, "num_query_heads", arguments.pop("num_query_heads"))
        self.num_key_value_heads = _positive(self, "num_key_value_heads", arguments.pop("num_key_value_heads"))
        if num_query_heads % num_key_value_heads:
            raise InputError(
                "GroupQueryAttention was made.",
                received=f"num_query_heads={num_query_heads}, num_key_value_heads={num_key_value_heads}",
                because="each head of keys serves the same number of query heads",
                do="Use a divisor of num_query_heads.",
            )
        heads = self.num_query_heads, self.num_key_value_heads
        super().__init__(heads, (self.head_dim, self.head_dim), **arguments)


#: The name people and configurations call it by; automatic names follow the class's.
GroupQueryAttention = GroupedQueryAttention
layer_registry.add(GroupedQueryAttention, "GroupQueryAttention")
