"""Connectionist temporal classification: the loss of unaligned labels, and reading labels off predictions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from verax.errors import InputError, UnknownNameError

__all__ = ["ctc_decode", "ctc_loss"]


def _float32(x: Any) -> jax.Array:
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def ctc_loss(target: Any, output: Any, target_length: Any, output_length: Any, mask_index: int = 0) -> jax.Array:
    """−ln of the probability that a row of predictions spells its labels, blanks and repetitions taken out.

    Args:
        target: (batch, labels) integers.
        output: (batch, steps, classes) logits.
        target_length: (batch,) how many labels count.
        output_length: (batch,) how many steps count.
        mask_index: Which class is the blank.

    Returns:
        (batch,)

    Source: Graves et al., 2006; computed by optax.
    """
    target, output = jnp.asarray(target).astype("int32"), _float32(output)

    def after(lengths: Any, n: int) -> jax.Array:
        inside = jnp.arange(n)[None, :] < jnp.asarray(lengths).astype("int32")[:, None]
        return jnp.where(inside, 0.0, 1.0).astype(output.dtype)

    outside = after(output_length, output.shape[1])
    return optax.ctc_loss(output, outside, target, after(target_length, target.shape[1]), blank_id=mask_index)


def ctc_decode(
    inputs: Any,
    sequence_lengths: Any,
    strategy: str = "greedy",
    beam_width: int = 100,
    top_paths: int = 1,
    merge_repeated: bool = True,
    mask_index: int = 0,
) -> tuple[jax.Array, jax.Array]:
    """The likeliest labels of each row of predictions.

    Args:
        inputs: (batch, steps, classes) logits.
        sequence_lengths: (batch,) how many steps count.
        strategy: ``"greedy"``: the likeliest class of each step. ``"beam_search"``: the likeliest labels, among as many
            beginnings as the beam is wide at each step.
        beam_width, top_paths: Of the beam search: its width, and how many results to return.
        merge_repeated: Whether the greedy way takes a repeated class as one; a beam search does by definition.
        mask_index: Which class is the blank.

    Returns:
        The labels (paths, batch, steps), filled up with -1, and scores: for the greedy way minus the sum of the chosen
        logits, (batch, 1); for the beam search logarithms of probabilities, (batch, paths).

    Source: Graves et al., 2006; Hannun et al., 2014, https://arxiv.org/abs/1408.2873 (prefix beam search).
    """
    inputs, lengths = _float32(inputs), jnp.asarray(sequence_lengths).astype("int32")
    if mask_index is None:
        mask_index = inputs.shape[-1] - 1
    if strategy == "greedy":
        return _greedy(inputs, lengths, merge_repeated, mask_index)
    if strategy != "beam_search":
        raise UnknownNameError.among("strategy", strategy, ("greedy", "beam_search"))
    if not 1 <= top_paths <= beam_width:
        raise InputError(
            "ops.ctc_decode was called.",
            received=f"top_paths={top_paths}, beam_width={beam_width}",
            because="there are as many results as the beam is wide",
        )
    search = jax.vmap(lambda x, n: _beam_search(x, n, beam_width, top_paths, mask_index))
    paths, scores = search(jax.nn.log_softmax(inputs), lengths)
    return jnp.swapaxes(paths, 0, 1), scores


def _greedy(inputs: jax.Array, lengths: jax.Array, merge: bool, blank: int) -> tuple[jax.Array, jax.Array]:
    steps = jnp.arange(inputs.shape[1])[None, :]
    inside = steps < lengths[:, None]
    best = jnp.where(inside, jnp.argmax(inputs, axis=-1).astype("int32"), blank)
    scores = -jnp.sum(jnp.where(inside, jnp.max(inputs, axis=-1), 0.0), axis=1, keepdims=True)
    kept = best != blank
    if merge:
        kept = kept & jnp.pad(best[:, 1:] != best[:, :-1], ((0, 0), (1, 0)), constant_values=True)
    # What is kept moves to the front, in its order.
    order = jnp.argsort(jnp.where(kept, steps, inputs.shape[1]), axis=-1)
    labels = jnp.take_along_axis(jnp.where(kept, best, -1), order, axis=-1)
    return labels[None], scores


def _beam_search(log_p: jax.Array, length: jax.Array, width: int, top: int, blank: int) -> tuple[jax.Array, jax.Array]:
    """One row: log_p (steps, classes). A beginning is kept once, with the probabilities of ending in a blank or not.

    A beginning grows by a class; where the grown one is in the beam already, its probability joins that one's.
    """
    steps, classes = log_p.shape
    nothing = jnp.asarray(-jnp.inf, log_p.dtype)
    paths = jnp.full((width, steps), -1, "int32")
    sizes = jnp.zeros(width, "int32")
    ends_blank = jnp.full(width, nothing).at[0].set(0.0)
    ends_label = jnp.full(width, nothing)
    places = jnp.arange(steps)

    def step(carry: Any, now: Any) -> tuple[Any, None]:
        t, p = now
        paths, sizes, ends_blank, ends_label = carry
        alive = jnp.logaddexp(ends_blank, ends_label)
        last = jnp.where(sizes > 0, paths[jnp.arange(width), jnp.maximum(sizes - 1, 0)], -1)
        # Stay: by a blank, or by the last label again.
        stay_blank = alive + p[blank]
        again = jnp.where(last >= 0, p[jnp.maximum(last, 0)], nothing)
        stay_label = ends_label + again
        # Grow: a label equal to the last one needs a blank before it.
        repeats = jnp.arange(classes)[None, :] == last[:, None]
        grown = jnp.where(repeats, ends_blank[:, None], alive[:, None]) + p[None, :]
        grown = grown.at[:, blank].set(nothing)
        # parent[i, j]: beginning j is beginning i and one label.
        shorter = jnp.where(places[None, :] == sizes[:, None] - 1, -1, paths)
        parent = jnp.all(paths[:, None, :] == shorter[None, :, :], axis=-1)
        parent = (
            parent & (sizes[None, :] == sizes[:, None] + 1) & (alive > nothing)[:, None] & (alive > nothing)[None, :]
        )
        joins = jnp.where(parent, grown[:, jnp.maximum(last, 0)], nothing)
        stay_label = jnp.logaddexp(stay_label, jax.nn.logsumexp(joins, axis=0))
        taken = jnp.any(parent[:, :, None] & (last[:, None] == jnp.arange(classes)[None, :])[None], axis=1)
        grown = jnp.where(taken, nothing, grown)

        scores = jnp.concatenate([jnp.logaddexp(stay_blank, stay_label), grown.reshape(-1)])
        _, best = lax.top_k(scores, width)
        stays = best < width
        source = jnp.where(stays, best, (best - width) // classes)
        label = ((best - width) % classes).astype("int32")
        size = sizes[source]
        grows = ~stays[:, None] & (places[None, :] == size[:, None])
        after = (
            jnp.where(grows, label[:, None], paths[source]),
            jnp.where(stays, size, size + 1),
            jnp.where(stays, stay_blank[source], nothing),
            jnp.where(stays, stay_label[source], scores[best]),
        )
        inside = t < length
        return tuple(jnp.where(inside, a, b) for a, b in zip(after, carry, strict=True)), None

    carry, _ = lax.scan(step, (paths, sizes, ends_blank, ends_label), (places, log_p))
    paths, _, ends_blank, ends_label = carry
    scores, best = lax.top_k(jnp.logaddexp(ends_blank, ends_label), top)
    return jnp.where((scores > nothing)[:, None], paths[best], -1), scores
