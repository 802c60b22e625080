"""A named array that a layer owns: its value in a frame is the frame's, outside of one its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from verax.errors import FrameError, ShapeError
from verax.frame.current import active_frame, stateless
from verax.frame.policy import floatx, is_float, standard_dtype

__all__ = ["Unset", "Variable", "values_later"]


class Unset(NamedTuple):
    """A variable whose first value was put off, and what makes it."""

    variable: Variable
    place: Any
    make: Callable[[], jax.Array]

    def settle(self) -> None:
        """Make the first value, unless it has got another one meanwhile."""
        if self.variable._value is self.place:
            self.variable._value = self.make()


_later: ContextVar[list[Unset] | None] = ContextVar("values later", default=None)


@contextlib.contextmanager
def values_later() -> Generator[list[Unset]]:
    """Put off the first values of variables made in the block: they are to be read from a file.

    Until then a variable has a place holder of zeros that takes no memory, whatever its shape. ``settle`` each in the
    end.
    """
    unset: list[Unset] = []
    token = _later.set(unset)
    try:
        yield unset
    finally:
        _later.reset(token)


class Variable:
    """A value that outlives a call: a weight, a moving average, a counter.

    Inside ``pure`` the value is the one passed in ``params`` or ``state``, and ``assign`` is collected and returned;
    outside, both act on the variable itself. Values are immutable arrays, so whoever holds one keeps it unchanged.

    Args:
        initial: An array, or an initializer called as ``initial(shape, dtype)``.
        shape: The shape, when ``initial`` is an initializer.
        dtype: float32 unless said, or unless ``initial`` is an integer array.
        trainable: Whether gradients reach it. A variable that layers assign in a call is not trainable.
        name: Its last path component; the attribute that holds it when None.
        regularizer: A function value -> scalar penalty, added to the training objective while it is trainable.
        constraint: A function value -> value, applied after each update.
        autocast: Whether a layer that computes in another float dtype reads it in that one.

    >>> v = Variable(jnp.zeros(2), name="v")
    >>> v.assign(v + 1.0)
    >>> v
    <Variable 'v', shape (2,), float32>
    """

    _lent = False  # a running loop owns the array and will use up its memory
    #: Whether it belongs to the rows rather than to the layer, as the state of a stateful recurrence does: a pass hands
    #: it on from batch to batch in every mode, and it is none of the layer's weights.
    carried = False

    def __init__(
        self,
        initial: Any,
        shape: tuple[int, ...] | None = None,
        dtype: Any = None,
        trainable: bool = True,
        name: str | None = None,
        *,
        regularizer: Callable[[jax.Array], jax.Array] | None = None,
        constraint: Callable[[jax.Array], jax.Array] | None = None,
        autocast: bool = True,
    ):
        # A build may happen while shapes are being traced; a variable's own value is always a concrete array.
        with jax.ensure_compile_time_eval():
            later = _later.get()
            if callable(initial):
                make = partial(_first, initial, tuple(shape or ()), standard_dtype(dtype or floatx()), name)
                if later is None:
                    value = make()
                else:
                    value = cast("Any", np.broadcast_to)(np.zeros((), jnp.dtype(make.args[2])), make.args[1])
                    later.append(Unset(self, value, make))
            else:
                array = np.asarray(initial) if not isinstance(initial, jax.Array) else initial
                if dtype is None and is_float(array.dtype):
                    dtype = floatx()
                value = jnp.asarray(array, dtype)
        self._value: jax.Array = value
        self.name = name
        self.trainable = trainable
        self.regularizer = regularizer
        self.constraint = constraint
        self.autocast = autocast
        self.path = name or ""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape."""
        return tuple(self._value.shape)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._value.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self._value.size

    @property
    def dtype(self) -> str:
        """The dtype it is kept in."""
        return self._value.dtype.name

    @property
    def value(self) -> jax.Array:
        """The value here and now: the frame's inside ``pure``, the variable's own outside."""
        frame = active_frame()
        return self.own() if frame is None else frame.read(self)

    def own(self) -> jax.Array:
        """The variable's own value: an array that stays, also where a running loop will use up the memory it is in."""
        if isinstance(self._value, np.ndarray):  # put off: zeros, which a trace never makes
            return jnp.zeros(self._value.shape, self._value.dtype)
        return jnp.copy(self._value) if self._lent else self._value

    def assign(self, value: Any) -> None:
        """Set the value: collected by the frame inside ``pure``, kept by the variable outside."""
        if isinstance(value, Variable):
            value = value.value
        array = jnp.asarray(self.check_shape(value), self.dtype)
        frame, scope = active_frame(), stateless.get()
        if frame is not None:
            frame.assign(self, array)
        elif scope is not None:
            scope.keep(self)
            self._value = array
        elif isinstance(array, Tracer):
            raise FrameError(
                f"Variable {self.path!r} was assigned outside of a frame.",
                received="a traced value",
                because="it would outlive the transformation that traced it",
                do="Call the layer through verax.pure inside jax transformations.",
            )
        else:
            self._value = array

    def check_shape(self, value: Any) -> Any:
        """``value`` as an array; refused unless it has the variable's shape."""
        array = value if isinstance(value, jax.Array) else np.asarray(value)
        if tuple(array.shape) != self.shape:
            raise ShapeError(
                f"Variable {self.path!r} was assigned a value.",
                received=f"shape {tuple(array.shape)}",
                because=f"the variable has shape {self.shape}",
                do="Assign a value of the variable's own shape.",
            )
        return array

    def restore(self, value: jax.Array) -> None:
        """Take back a value that ``own`` gave."""
        self._value = value

    def assign_add(self, value: Any) -> None:
        """``assign(self + value)``."""
        self.assign(self.value + value)

    def assign_sub(self, value: Any) -> None:
        """``assign(self - value)``."""
        self.assign(self.value - value)

    def numpy(self) -> np.ndarray[Any, Any]:
        """The value as a NumPy array."""
        return np.asarray(self.value)

    def __repr__(self) -> str:
        return f"<Variable {self.path!r}, shape {self.shape}, {self.dtype}>"

    def __jax_array__(self) -> jax.Array:
        return self.value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.asarray(self.value, dtype=dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __float__(self) -> float:
        return float(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __iter__(self) -> Iterator[jax.Array]:
        return iter(self.value)

    def __getitem__(self, index: Any) -> jax.Array:
        return self.value[index]

    def __getattr__(self, name: str) -> Any:
        # Array methods (sum, reshape, astype, at, T, ...) act on the value; private names must fail fast.
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.value, name)


def _operator(name: str) -> Callable[..., Any]:
    def method(self: Variable, *others: Any) -> Any:
        return getattr(self.value, name)(*(o.value if isinstance(o, Variable) else o for o in others))

    method.__name__ = name
    return method


_BINARY = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"]
_NAMES = [*_BINARY, *("r" + n for n in _BINARY), "lt", "le", "gt", "ge", "neg", "pos", "abs"]
for _name in _NAMES:
    setattr(Variable, f"__{_name}__", _operator(f"__{_name}__"))


def _rewrap(_: None, children: tuple[Any]) -> Variable:
    bound = object.__new__(Variable)
    bound.__dict__.update(
        _value=children[0], name=None, trainable=False, path="", regularizer=None, constraint=None, autocast=False
    )
    return bound


# As a pytree, a variable may be passed to jax.numpy functions as it is: they see its value.
jax.tree_util.register_pytree_node(Variable, lambda v: ((v.value,), None), _rewrap)


def _first(initial: Callable[..., Any], shape: tuple[int, ...], dtype: str, name: str | None) -> jax.Array:
    """What an initializer makes, checked."""
    with jax.ensure_compile_time_eval():
        value = jnp.asarray(initial(shape, dtype), dtype)
    if value.shape != shape:
        raise ShapeError(
            f"The initializer of variable {name!r} makes its first value.",
            received=f"shape {value.shape} from {initial!r}",
            because=f"the variable has shape {shape}",
        )
    return value
