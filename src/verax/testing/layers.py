"""What is relied on in a layer."""

from __future__ import annotations

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from verax.errors import FrameError
from verax.frame.frame import Outcome, call, values
from verax.frame.layer import Layer
from verax.frame.mode import Mode
from verax.frame.policy import global_policy, is_float, set_global_policy
from verax.frame.symbolic import SymbolicTensor, infer_spec, is_symbolic
from verax.testing.faults import Faults, difference

__all__ = ["check_layer"]


def check_layer(layer: Layer, *inputs: Any, mixes_rows: bool = False, tolerance: float = 1e-5) -> None:
    """Check a layer on inputs of at least three rows that differ.

    Tried are: inference that draws nothing, changes no state and treats each row by itself; draws in training that come
    from the pass' key alone; the same under ``jax.jit``; the shape inferred for an unknown number of rows; gradients
    that are finite and reach every trainable weight; the dtype policy; the mask's shape; a configuration that makes an
    equal layer; and that a call as a pure function leaves the layer as it is.

    Args:
        layer: The layer; it is built if it is not.
        inputs: What it is called on: (rows, ...) arrays, or lists or dicts of them.
        mixes_rows: Whether a row's output may depend on other rows in inference.
        tolerance: Relative and absolute, for numbers that should be equal.

    Raises:
        CheckError: With every fault found.

    >>> x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    >>> check_layer(verax.layers.BatchNormalization(), x)
    >>> class Centre(verax.Layer):
    ...     def call(self, x):
    ...         return x - jnp.mean(x, axis=0, keepdims=True)
    >>> check_layer(Centre(), x)
    Traceback (most recent call last):
      ...
    verax.testing.faults.CheckError: Centre 'centre' has 1 fault.
      rows: in inference a row's output depends on the other rows of its batch: 0.556 at most. What depends on the batch belongs into train= of self.by_mode(effect, train=..., infer=...).
    """  # noqa: E501, a message is one line
    args = jax.tree.map(jnp.asarray, inputs)
    faults = Faults(f"{type(layer).__name__} {layer.name!r}")
    infer: Any = None
    with faults.trying("call", "it cannot be called", "Mend build and call."):
        layer(*args)
        infer = _Tried(layer).infer(*args)
    if infer is not None:
        tried = _Tried(layer)
        before = jax.tree.map(np.asarray, tried.values)
        _check_inference(faults, tried, args, infer, mixes_rows, tolerance)
        _check_training(faults, tried, args, tolerance)
        _check_gradients(faults, tried, args)
        _check_forms(faults, layer, args, infer)
        with faults.trying("pure", "its values cannot be read", "Make weights in build alone."):
            found = difference(before, values(layer), 0.0)
            if found:
                faults.add("pure", f"calls left it changed: {found}", "Assign variables, no attributes, in call.")
        faults.check_config(layer, lambda again: _again(again, layer, args, infer.output, tolerance))
    faults.raise_if_any()


class _Tried:
    """A built layer, called as a pure function on its own values."""

    def __init__(self, layer: Layer):
        self.layer = layer
        self.values = values(layer)

    def infer(self, *args: Any) -> Outcome:
        return call(self.layer, *self.values, args, mode=Mode.INFER)

    def train(self, seed: int, *args: Any) -> Outcome:
        return call(self.layer, *self.values, args, mode=Mode.TRAIN, key=jax.random.key(seed))


def _rows(args: Any, keep: slice) -> Any:
    return jax.tree.map(lambda a: a[keep], args)


def _check_inference(
    faults: Faults, tried: _Tried, args: Any, infer: Outcome, mixes_rows: bool, tolerance: float
) -> None:
    by_mode = "self.by_mode(effect, train=..., infer=...)"
    try:
        tried.infer(*args)
    except FrameError as error:
        faults.add("draws", f"it draws in inference: {error.asked}", f"Draw in train= of {by_mode} alone.")
        return
    found = difference(infer.output, tried.infer(*args).output, 0.0)
    if found:
        faults.add(
            "draws",
            f"two calls in inference differ: {found}",
            f"Draw with self.draw_key(), never with numpy.random, and in train= of {by_mode} alone.",
        )
    found = difference(tried.values[1], infer.state, 0.0)
    if found:
        faults.add("state", f"inference changes its state: {found}", f"Assign in train= of {by_mode} alone.")
    if mixes_rows or "draws" in faults.found:
        return
    with faults.trying("rows", "it fails on one row", "Take any number of rows."):
        alone = tried.infer(*_rows(args, slice(0, 1))).output
        found = difference(_rows(infer.output, slice(0, 1)), alone, 10 * tolerance)
        if found:
            faults.add(
                "rows",
                f"in inference a row's output depends on the other rows of its batch: {found}",
                f"What depends on the batch belongs into train= of {by_mode}.",
            )


def _check_training(faults: Faults, tried: _Tried, args: Any, tolerance: float) -> None:
    draw = "Draw with self.draw_key(), never with numpy.random."
    with faults.trying("train", "it fails in training", "Mend call."):
        train = tried.train(0, *args)
        again = tried.train(0, *args)
        found = difference(train.output, again.output, 0.0) or difference(train.state, again.state, 0.0)
        if found:
            faults.add("key", f"two calls in training with the same key differ: {found}", draw)
            return
        with faults.trying("jit", "jax.jit cannot trace it", "Use jax.numpy, and no Python condition on values."):

            def run(params: Any, state: Any, args: Any, key: jax.Array) -> Any:
                outcome = call(tried.layer, params, state, args, mode=Mode.TRAIN, key=key)
                return outcome.output, outcome.state

            output, state = jax.jit(run)(*tried.values, args, jax.random.key(0))
            found = difference((train.output, train.state), (output, state), 10 * tolerance)
            if found:
                faults.add("jit", f"under jax.jit it differs: {found}", "Keep nothing of a call in attributes.")


def _check_gradients(faults: Faults, tried: _Tried, args: Any) -> None:
    params, state = tried.values
    if not params:
        return

    def objective(params: Any) -> jax.Array:
        outcome = call(tried.layer, params, state, args, mode=Mode.TRAIN, key=jax.random.key(0))
        leaves = [leaf for leaf in jax.tree.leaves(outcome.output) if is_float(leaf.dtype)]
        total = jnp.zeros(())
        for leaf in leaves:  # another slope at every element, so that sums which are constant have a gradient too
            slope = jnp.linspace(0.5, 1.5, leaf.size).reshape(leaf.shape)
            total = total + jnp.sum(slope * jnp.sin(leaf.astype("float32")))
        return total + sum((p.astype("float32") for p in outcome.penalties.values()), jnp.zeros(()))

    with faults.trying("gradient", "it has no gradient", "Use differentiable operations of jax.numpy."):
        gradients = jax.grad(objective)(params)
        bad = [path for path, g in gradients.items() if not bool(jnp.all(jnp.isfinite(g)))]
        if bad:
            faults.add("gradient", f"the gradient of {bad[0]!r} is NaN or infinite", "Make the unused branch safe too.")
        unused = [path for path, g in gradients.items() if not bool(jnp.any(g != 0))]
        if unused:
            faults.add(
                "gradient",
                f"no gradient reaches {unused[0]!r}",
                "Use it in call, or make it with trainable=False.",
            )


def _check_forms(faults: Faults, layer: Layer, args: Any, infer: Outcome) -> None:
    """Shapes for unknown rows, dtypes of a mixed policy, masks."""

    def unknown(a: jax.Array) -> SymbolicTensor:
        return SymbolicTensor((None, *a.shape[1:]), a.dtype.name)

    rows = {a.shape[0] for a in jax.tree.leaves(args)}
    with faults.trying("shape", "its output's shape cannot be inferred", "Use sizes of x.shape only as jax does."):
        specs = infer_spec(layer, jax.tree.map(unknown, args), {})
        for spec, leaf in zip(jax.tree.leaves(specs, is_leaf=is_symbolic), jax.tree.leaves(infer.output), strict=True):
            fits = len(spec.shape) == leaf.ndim and all(
                m is None or m == n for m, n in zip(spec.shape, leaf.shape, strict=True)
            )
            if not fits:
                faults.add(
                    "shape", f"the shape inferred is {spec.shape}, the output's {leaf.shape}", "Use x.shape in call."
                )
    for leaf, mask in zip(jax.tree.leaves(infer.output), infer.masks, strict=True):
        if mask is not None and mask.shape != leaf.shape[: mask.ndim]:
            faults.add(
                "mask", f"a mask of shape {mask.shape} for an output of shape {leaf.shape}", "Mend compute_mask."
            )
    if layer.supports_masking and len(rows) == 1 and len(args) == 1 and getattr(args[0], "ndim", 0) > 2:
        keep = jnp.arange(args[0].shape[1])[None, :] < jnp.arange(1, 1 + args[0].shape[0])[:, None]
        with faults.trying("mask", "it fails with a mask", "Mend compute_mask, or leave supports_masking False."):
            outcome = call(layer, *values(layer), args, mode=Mode.INFER, masks={0: keep})
            for leaf, mask in zip(jax.tree.leaves(outcome.output), outcome.masks, strict=True):
                if mask is not None and mask.shape != leaf.shape[: mask.ndim]:
                    faults.add(
                        "mask",
                        f"its mask has shape {mask.shape}, its output {leaf.shape}",
                        "Give the output's mask in compute_mask.",
                    )
    with faults.trying("dtype", "it cannot be made under the policy 'mixed_bfloat16'", "Compute in the input's dtype."):
        kept = global_policy()
        set_global_policy("mixed_bfloat16")
        try:
            output = type(layer).from_config(_without_dtypes(layer.get_config()))(*args)
        finally:
            set_global_policy(kept)
        wrong = [leaf.dtype for leaf in jax.tree.leaves(output) if is_float(leaf.dtype) and leaf.dtype != "bfloat16"]
        floats = [a for a in jax.tree.leaves(args) if is_float(a.dtype)]
        if wrong and floats and layer.autocast:
            faults.add(
                "dtype",
                f"under the policy 'mixed_bfloat16' its output is {wrong[0]}",
                "Read weights in call, and make constants in x.dtype.",
            )


def _without_dtypes(config: Any) -> Any:
    """A configuration, and those of the layers in it, that leaves the dtype to the global policy."""
    if isinstance(config, dict):
        pairs = cast("dict[str, Any]", config).items()
        return {key: _without_dtypes(value) for key, value in pairs if key != "dtype"}
    return [_without_dtypes(value) for value in cast("list[Any]", config)] if isinstance(config, list) else config


def _again(again: Layer, layer: Layer, args: Any, output: Any, tolerance: float) -> str:
    again(*args)
    if [v.shape for v in again.weights] != [v.shape for v in layer.weights]:
        return f"weights of shapes {[v.shape for v in again.weights]} against {[v.shape for v in layer.weights]}"
    again.set_weights(layer.get_weights())
    return difference(output, _Tried(again).infer(*args).output, tolerance)
