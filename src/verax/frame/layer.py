"""The base of every layer: what a layer says, and what it gets for nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from verax.errors import FrameError, FrozenError, InputError, ShapeError
from verax.frame.call import call_in_frame
from verax.frame.current import active_frame, stateless
from verax.frame.first_call import OfFirstCall, note_call
from verax.frame.frame import call, load_values
from verax.frame.holder import Holder
from verax.frame.mode import Mode
from verax.frame.names import automatic_name
from verax.frame.policy import DTypePolicy
from verax.frame.remat import ALWAYS, call_again, chosen, remat
from verax.frame.seeds import next_key, seeded
from verax.frame.symbolic import SymbolicTensor, infer_spec, is_symbolic, symbolic_call
from verax.frame.variable import Variable

__all__ = ["InputSpec", "Layer"]


@dataclass(frozen=True)
class InputSpec:
    """What a layer needs of an input, checked before it computes; and what ``export`` is told of one.

    Attributes:
        dtype: The dtype's name.
        shape: The whole shape, None for sizes that are left open.
        ndim: The rank, batch axis included.
        max_ndim, min_ndim: The greatest and the least rank.
        axes: axis -> size.
        name: What the input is called.
    """

    dtype: Any = None
    shape: tuple[int | None, ...] | None = None
    ndim: int | None = None
    max_ndim: int | None = None
    min_ndim: int | None = None
    axes: Mapping[int, int | None] = field(default_factory=dict[int, int | None])
    name: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.shape is not None:
            object.__setattr__(self, "shape", tuple(self.shape))
            object.__setattr__(self, "ndim", len(self.shape))


class Layer(Holder):
    """A function with named values of its own.

    A layer says its maths in ``call`` and makes its values in ``build``; mode, draws, paths, masks, dtypes, shapes and
    configuration come from this base. A layer that never mentions training is right in both modes: layers inside it
    read the mode of the pass themselves.

    Args:
        name: Automatic (``dense_1``) when None.
        trainable: Whether its weights are updated; may be changed at any time.
        dtype: A dtype or policy name; the global policy when None.
        activity_regularizer: A function output -> scalar; its value over the number of rows is a penalty.
        input_shape: The shape of one row, for a first layer of ``Sequential`` without an ``Input``.
        remat: Whether what it computes is computed again in the backward pass instead of kept for it: the same numbers,
            less memory, the time of one more forward pass. What ``RematScope`` says when None.

    To write a layer::

        class Scale(verax.Layer):
            def build(self, input_shape):
                self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="scale")

            def call(self, x):
                return x * self.scale

    In ``call``: ``self.by_mode(effect, train=..., infer=...)`` depends on the mode, ``self.draw_key()`` gives a key for
    a draw, ``self.add_loss(value)`` adds a penalty, and ``variable.assign(value)`` sets a non-trainable variable. A
    parameter named ``training`` or ``mask`` is filled in.
    """

    supports_masking: bool = False
    #: Whether float inputs are cast to the dtype the layer computes in.
    autocast: bool = True
    input_spec: InputSpec | None = None
    #: What depends on the mode in a layer whose ``call`` takes ``training``; ``custom:<path>`` when None.
    effect: ClassVar[str | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "build" in cls.__dict__ and not getattr(cls.build, "traces", False):
            cls.build = _building(cls.build)

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
        activity_regularizer: Callable[[Any], Any] | None = None,
        input_shape: tuple[int | None, ...] | None = None,
        remat: bool | None = None,
    ):
        core = self._core
        if name is not None and (not isinstance(name, str) or "/" in name or not name):
            raise InputError(
                f"A {type(self).__name__} was named.", received=repr(name), do="Use a string without '/', or None."
            )
        core.name, core.named = name or automatic_name(type(self).__name__), name is not None
        core.trainable = trainable
        core.policy = DTypePolicy.of(dtype)
        core.activity_regularizer = activity_regularizer
        core.remat = chosen(remat)
        if input_shape is not None:
            core.declared_shape = (None, *input_shape)

    # ---- what a layer says ---------------------------------------------------------------------------------------

    def build(self, input_shape: Any) -> None:
        """Make the layer's values for inputs of ``input_shape`` (None for the batch axis)."""

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The layer's maths."""
        raise FrameError(
            f"{type(self).__name__} was called.", because="it has no call method", do="Define call(self, x)."
        )

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask of the output: the input's, where the layer supports masking."""
        return mask if self.supports_masking else None

    # ---- what a layer may use ------------------------------------------------------------------------------------

    def add_weight(
        self,
        shape: tuple[int | None, ...] | None = None,
        initializer: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        autocast: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
        name: str | None = None,
    ) -> Variable:
        """A new variable of this layer; to be called in ``build`` (or ``__init__``).

        Args:
            shape: Its shape; ``()`` when None.
            initializer: A name, a function ``(shape, dtype) -> array``, or None: glorot_uniform for floats, else zeros.
            dtype: The policy's variable dtype when None.
            trainable, autocast, regularizer, constraint, name: As in ``Variable``.
        """
        if self.built:
            raise FrozenError(
                f"A weight {name!r} was to be added to {self.name!r}.",
                because="the layer is built",
                do="Add weights in build.",
            )
        if shape is not None and None in shape:
            raise ShapeError(
                f"{type(self).__name__} {self.name!r} makes its weight {name!r}.",
                received=f"a weight of shape {tuple(shape)}",
                because="the shape of a weight would depend on an unknown size",
                do="Give the Input that size, or pool over the axis first.",
            )
        dtype = dtype or self._core.policy.variable_dtype
        if initializer is None:
            initializer = "glorot_uniform" if jnp.issubdtype(jnp.dtype(dtype), jnp.floating) else "zeros"
        variable = Variable(
            parts["initializer"](initializer),
            cast("tuple[int, ...]", tuple(shape or ())),
            dtype,
            trainable,
            name or f"variable_{len(self._core.variables)}".removesuffix("_0"),
            regularizer=parts["regularizer"](regularizer),
            constraint=parts["constraint"](constraint),
            autocast=autocast,
        )
        self._core.variables.append(variable)
        return variable

    def add_loss(self, value: Any) -> None:
        """Add a scalar penalty to the objective of the pass; only inside ``call``."""
        self._frame("add_loss").penalize(self.path or self.name, jnp.asarray(value))

    def draw_key(self, seed: int | None = None) -> jax.Array:
        """A key for the next draw: the same for the same pass, place and seed, whatever the feeding."""
        return seeded(self._frame("draw_key").draw_key(self), seed)

    def by_mode(self, effect: str, *, train: Callable[[], Any], infer: Callable[[], Any], frozen: bool = False) -> Any:
        """``train()`` or ``infer()``, by the mode of the pass for ``effect``; a traced flag selects between both."""
        frame = self._frame("by_mode")
        mode = frame.mode(self, effect, frozen=frozen)
        if isinstance(mode, Mode):
            return train() if mode is Mode.TRAIN else infer()
        return frame.choose(mode, train, infer)

    def follow(self, average: Variable, value: jax.Array, momentum: float) -> None:
        """Let a moving average follow a value of the running call: ``average * momentum + value * (1 - momentum)``.

        What is followed this way is known to the pass: ``model.recalibrate`` sets it to its mean over the rows, and an
        explained gap names the averages that lag.
        """
        frame = self._frame("follow")
        kept = average.value
        frame.followed[id(average)] = (value, momentum)
        average.assign(kept * momentum + value.astype(kept.dtype) * (1.0 - momentum))

    def reading(self, variable: Variable, function: Callable[[jax.Array], jax.Array]) -> AbstractContextManager[None]:
        """In a ``with`` block of the running call, let ``variable`` read as ``function`` of its value.

        For layers around others that compute with a function of a weight: its norm divided out, a part masked. The
        function gets the value in the dtype it is kept in; gradients go through it.
        """
        return self._frame("reading").reading(variable, function)

    @property
    def path(self) -> str:
        """The path below the root of the running pass; the name outside of one."""
        frame = active_frame()
        return frame.place(self).path if frame is not None else self.name

    #: The symbolic tensors it was first called on, and what it made of them.
    input = OfFirstCall()
    output = OfFirstCall()

    # ---- calling -------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        frame = active_frame()
        if frame is not None:
            if self._core.remat is not None:
                return call_again(self._core.remat, self, frame, args, kwargs)
            return call_in_frame(self, frame, args, kwargs)
        if any(is_symbolic(leaf) for leaf in jax.tree.leaves((args, kwargs), is_leaf=is_symbolic)):
            output = symbolic_call(self, args, kwargs)
            note_call(self, args, kwargs, output)
            return output
        return self._call_eagerly(args, kwargs)

    def _call_eagerly(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        mode = Mode.of(bool(kwargs.pop("training", None) or False))
        args = jax.tree.map(_as_array, args)
        if mode is Mode.TRAIN:
            key = next_key()
        else:  # inside a raw transformation a draw would be the same in each run: there it is refused
            traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((args, kwargs)))
            key = None if traced else next_key("calls")
        outcome = call(self, {}, {}, args, kwargs, mode=mode, key=key)
        if stateless.get() is None and any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(outcome.state)):
            raise FrameError(
                f"{self.name!r} was called inside a jax transformation.",
                because="what it assigns would be lost",
                do="Transform verax.pure(layer), which returns the new state.",
            )
        load_values(self, outcome.state)
        return outcome.output

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The output's shape for an input's, None for unknown sizes: the layer's own call, traced without computing."""
        dtype = self.compute_dtype

        def is_shape(value: Any) -> bool:
            return isinstance(value, tuple) and all(n is None or isinstance(n, int) for n in cast("tuple[Any]", value))

        spec = jax.tree.map(lambda s: SymbolicTensor(tuple(s), dtype), input_shape, is_leaf=is_shape)
        return jax.tree.map(lambda t: t.shape, infer_spec(self, (spec,), {}), is_leaf=is_symbolic)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, captured when the layer was made; ``remat`` where it is recomputed."""
        again = {"remat": True} if self._core.remat is ALWAYS else {}
        return {**super().get_config(), **again}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Any:
        """A new layer with the arguments ``get_config`` gave."""
        again = config.get("remat") is True  # a layer may be recomputed whose constructor has no such argument
        layer = super().from_config({k: v for k, v in config.items() if k != "remat" or not again})
        return remat(layer) if again else layer

    @property
    def activity_regularizer(self) -> Callable[[Any], Any] | None:
        """The penalty on the output, if any."""
        return parts["regularizer"](self._core.activity_regularizer)

    def _frame(self, what: str) -> Any:
        frame = active_frame()
        if frame is None:
            raise FrameError(
                f"{type(self).__name__}.{what} was used.",
                because="no call is running",
                do="Use it inside call, and call the layer: layer(x).",
            )
        return frame


def _building(build: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(build)
    def wrapped(self: Layer, *args: Any, **kwargs: Any) -> None:
        # A build may run while shapes are traced, and calls of super().build() nest: what it makes is concrete, and
        # the layer is built when the outermost one returns.
        core = self._core
        core.building += 1
        try:
            with jax.ensure_compile_time_eval():
                build(self, *args, **kwargs)
        finally:
            core.building -= 1
        if core.building == 0:
            core.built = True

    return wrapped


def _as_array(leaf: Any) -> Any:
    if isinstance(leaf, (jax.Array, Variable)):
        return leaf
    if isinstance(leaf, (np.ndarray, np.generic, float, int, bool)):
        array = np.asarray(leaf)
        return jnp.asarray(array, {"float64": "float32", "int64": "int32"}.get(array.dtype.name))
    return leaf


#: How names become objects. The rooms of initializers, regularizers and constraints, which stand above this one, put
#: their ``get`` here when they are imported.
parts: dict[str, Callable[[Any], Any]] = {}
