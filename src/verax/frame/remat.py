"""Rematerialization: what a layer computes is computed again in the backward pass, instead of kept for it.

Source: Chen et al., 2016, https://arxiv.org/abs/1604.06174; ``jax.checkpoint``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, cast

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from verax.errors import InputError, UnknownNameError
from verax.frame.call import call_in_frame
from verax.frame.current import active_frame
from verax.frame.lift import carry, is_built
from verax.frame.speed import fast_kernels

if TYPE_CHECKING:
    from verax.frame.frame import Frame
    from verax.frame.layer import Layer

__all__ = ["ALWAYS", "RematScope", "call_again", "chosen", "remat"]

_MODES = ("full", "activations", "larger_than", "list_of_layers")
_scope: ContextVar[RematScope | None] = ContextVar("verax_remat_scope", default=None)
_inside: ContextVar[bool] = ContextVar("verax_inside_remat", default=False)


class RematScope:
    """Layers made inside of it are computed again in the backward pass, instead of keeping what they computed.

    The layer called first, usually the model, is left alone, and so is a layer inside one that is recomputed already.
    ``remat=`` in a layer's constructor speaks before the scope. Scopes nest; the innermost holds.

    Args:
        mode: ``"full"``: every layer. ``"activations"``: layers that have an activation; their matrix products and
            convolutions are kept, and only the rest is computed again. ``"larger_than"``: layers whose outputs have
            more than ``output_size_threshold`` elements, rows included. ``"list_of_layers"``: those named. None: none.
        output_size_threshold: For ``"larger_than"``.
        layer_names: For ``"list_of_layers"``.

    Raises:
        UnknownNameError: Another mode.

    >>> import verax
    >>> with RematScope(mode="list_of_layers", layer_names=["wide"]):
    ...     model = verax.Sequential([verax.layers.Dense(64, name="wide"), verax.layers.Dense(1)])
    >>> model(jax.numpy.ones((2, 3))).shape
    (2, 1)
    """

    def __init__(
        self, mode: str | None = "full", output_size_threshold: int = 1024, layer_names: Sequence[str] | None = None
    ):
        if mode is not None and mode not in _MODES:
            raise UnknownNameError.among("RematScope mode", mode, _MODES)
        self.mode = mode
        self.output_size_threshold = output_size_threshold
        self.layer_names = tuple(layer_names or ())
        self._tokens: list[Token[RematScope | None]] = []

    def __enter__(self) -> RematScope:
        self._tokens.append(_scope.set(self))
        return self

    def __exit__(self, *_: object) -> None:
        _scope.reset(self._tokens.pop())

    def applies(self, layer: Layer, frame: Frame) -> bool:
        """Whether ``layer``, made in this scope and called where ``frame`` stands, is recomputed."""
        if self is ALWAYS:
            return True
        if self.mode is None or _inside.get() or frame.tree.root is layer:
            return False
        if self.mode == "list_of_layers":
            return layer.name in self.layer_names
        return self.mode != "activations" or getattr(layer, "activation", None) is not None

    def transform(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """``run`` as it is recomputed: the transformation for ``carry``."""
        if self.mode == "activations":
            return jax.checkpoint(run, policy=_is_product)  # pyright: ignore[reportArgumentType]
        again = _again(run)
        if self.mode != "larger_than":
            return again

        def by_size(*args: Any) -> Any:
            output, _ = jax.eval_shape(run, *args)
            size = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(output))
            return (again if size > self.output_size_threshold else run)(*args)

        return by_size


#: The scope of a layer that was made with ``remat=True``.
ALWAYS = RematScope("full")


_PRODUCTS = ("dot_general", "conv_general_dilated", "onednn_matmul", "onednn_convolution")


def _is_product(primitive: Any, *_: Any, **__: Any) -> bool:
    """The policy that keeps matrix products and convolutions."""
    return primitive.name in _PRODUCTS


def _again(run: Callable[..., Any]) -> Callable[..., Any]:
    """``jax.checkpoint(run)``, in a form that saves memory on a CPU too.

    XLA drops the barriers of ``jax.checkpoint`` there before it orders a program, and then computes everything again
    early, while what is to be saved is still alive. Here the arguments of the second computation depend on the incoming
    gradient by a choice whose outcome, which is always the same, the compiler cannot know. It has a reverse-mode
    derivative only.
    """
    if not fast_kernels():
        return jax.checkpoint(run)

    def again(*args: Any) -> Any:
        leaves, structure = jax.tree.flatten(args)
        structures: list[Any] = []

        def flat(*leaves: Any) -> list[Any]:
            ends, end_structure = jax.tree.flatten(run(*jax.tree.unflatten(structure, leaves)))
            structures.append(end_structure)
            return ends

        closed = jax.make_jaxpr(flat)(*leaves)
        return jax.tree.unflatten(structures[-1], _tied(closed.jaxpr)(closed.consts, leaves))

    return again


def _tied(jaxpr: Any) -> Callable[[list[Any], list[Any]], list[Any]]:
    def evaluate(constants: list[Any], leaves: list[Any]) -> list[Any]:
        return jaxpr_as_fun(ClosedJaxpr(jaxpr, constants))(*leaves)

    @jax.custom_vjp
    def function(constants: list[Any], leaves: list[Any]) -> list[Any]:
        return evaluate(constants, leaves)

    def forward(constants: list[Any], leaves: list[Any]) -> tuple[list[Any], Any]:
        return evaluate(constants, leaves), (constants, leaves)

    def backward(kept: Any, gradients: list[Any]) -> Any:
        constants, leaves = kept
        return jax.vjp(evaluate, constants, _after(leaves, gradients))[1](gradients)

    function.defvjp(forward, backward)
    return function


def _after(leaves: list[Any], gradients: list[Any]) -> list[Any]:
    """``leaves`` as they are, in a form that cannot be computed before ``gradients``."""
    firsts = [g.ravel()[0].astype("float32") for g in gradients if jnp.issubdtype(g.dtype, jnp.floating) and g.size]
    mark = functools.reduce(jnp.add, firsts, jnp.zeros((), "float32"))
    never = jnp.isnan(mark) & (mark > 0)  # a number that is not one is not positive either

    def tied(leaf: Any) -> Any:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(tied(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        return jnp.where(never, jnp.zeros_like(leaf), leaf)

    return [tied(leaf) for leaf in leaves]


def chosen(remat: bool | None) -> RematScope | None:
    """What a layer's argument ``remat`` stands for: None is what the scope says, if there is one.

    Raises:
        InputError: Neither True, False nor None.
    """
    if remat is None:
        return _scope.get()
    if not isinstance(remat, bool):
        raise InputError(
            "A layer was made with remat=...",
            received=repr(remat),
            because="it says whether the layer is computed again in the backward pass",
            do="Use remat=True or remat=False; RematScope chooses in other ways.",
        )
    return ALWAYS if remat else None


def call_again(scope: RematScope, layer: Layer, frame: Frame, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call ``layer`` inside ``frame``, to be computed again in the backward pass where the scope says so."""

    def plain(*args: Any, **kwargs: Any) -> Any:
        return call_in_frame(layer, cast("Frame", active_frame()), args, kwargs)

    if _eager() or not scope.applies(layer, frame) or not is_built(layer):
        return plain(*args, **kwargs)
    return _carried(scope, frame, plain, args, kwargs)


def _eager() -> bool:
    """Whether jit is disabled: a person wants to see values then, and what is recomputed runs on none."""
    return jax.config.jax_disable_jit  # pyright: ignore[reportAttributeAccessIssue]


def remat(target: Any) -> Any:
    """Compute a layer, or a function, again in the backward pass, instead of keeping what it computed.

    Values and gradients stay the same; the backward pass keeps only what goes in, and takes a forward pass longer.

    Args:
        target: A layer, which is returned, and recomputed from now on (a model that holds it is to be compiled after
            that); or a function of arrays, which may call layers when it runs in a layer's ``call``.

    Raises:
        InputError: Anything else.

    >>> import jax.numpy as jnp
    >>> again = remat(lambda x: jnp.sin(jnp.sin(x)))
    >>> float(again(0.0)), float(jax.grad(again)(0.0))
    (0.0, 1.0)
    """
    if getattr(type(target), "_is_verax_layer", False):
        target._core.remat = ALWAYS
        return target
    if not callable(target):
        raise InputError("remat(...) takes a layer or a function.", received=repr(target))

    @functools.wraps(target)
    def again(*args: Any, **kwargs: Any) -> Any:
        frame = active_frame()
        if _eager() or (frame is not None and not is_built(frame.tree.root)):
            return target(*args, **kwargs)
        return _carried(ALWAYS, frame, target, args, kwargs)

    return again


def _carried(
    scope: RematScope,
    frame: Frame | None,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    # Only arrays go through: a flag or an axis stays the Python value it is.
    leaves, structure = jax.tree.flatten((args, kwargs))
    moving = [i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)]

    def of_arrays(*arrays: Any) -> Any:
        filled = list(leaves)
        for i, array in zip(moving, arrays, strict=True):
            filled[i] = array
        some_args, some_kwargs = jax.tree.unflatten(structure, filled)
        token = _inside.set(True)
        try:
            return function(*some_args, **some_kwargs)
        finally:
            _inside.reset(token)

    arrays = [leaves[i] for i in moving]
    if frame is None:
        return _again(of_arrays)(*arrays)
    output, same = carry(frame, scope.transform, of_arrays, arrays)
    # An array that is returned as it came stays itself, with the mask and the logits noted for it.
    ends, structure = jax.tree.flatten(output)
    return jax.tree.unflatten(structure, [arrays[same[i]] if i in same else end for i, end in enumerate(ends)])
