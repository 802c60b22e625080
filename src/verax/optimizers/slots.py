"""The state of an optimizer, and the list of arrays as which Keras keeps it, in both directions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from verax.errors import DataError, InputError, ShapeError

__all__ = ["Group", "Kept", "OptimizerState", "Slot", "Stored", "Where", "within"]

#: Where an array stands in ``OptimizerState.inner``: its place, and the path of its parameter ("" for none).
Where = tuple[str, str]


class OptimizerState(NamedTuple):
    """All that changes while training: arrays only, so that it can be carried, stored and restored.

    Attributes:
        step: int32, the number of updates asked for.
        hyperparams: ``{"learning_rate": float32}``, the rate of the last update (of the next one, unless scheduled).
        inner: The states of the transformations.
    """

    step: jax.Array
    hyperparams: dict[str, jax.Array]
    inner: Any


@partial(jax.tree_util.register_dataclass, data_fields=["value"], meta_fields=["name", "parameter", "where", "owner"])
@dataclass(frozen=True)
class Slot:
    """One array of a Keras optimizer.

    Attributes:
        value: The array (or its shape and dtype).
        name: Its name: ``"velocity"``.
        parameter: The path of the parameter it belongs to; "" for none.
        where: Where it stands in ``OptimizerState.inner``; None for what is made of other arrays.
        owner: The name of the optimizer.
    """

    value: Any
    name: str
    parameter: str = ""
    where: Where | None = None
    owner: str = ""

    def __str__(self) -> str:
        return f"{self.name!r} of the parameter {self.parameter!r}" if self.parameter else repr(self.name)

    @property
    def path(self) -> str:
        """The path Keras gives it: ``"adam/dense_kernel_velocity"``."""
        return f"{self.owner}/{self.parameter.replace('/', '_')}{'_' if self.parameter else ''}{self.name}"


class Stored(NamedTuple):
    """What Keras' files hold of an optimizer, or of one inside of it: the group, the optimizer's name, its arrays."""

    group: str
    name: str
    arrays: list[np.ndarray]


#: Of an optimizer, or of one inside of it: its group in Keras' files, itself, its state, its parameters, ``tracked``.
Group = tuple[str, "Kept", OptimizerState, list[str], bool]


def within(group: str, groups: Iterable[Group]) -> Iterator[Group]:
    """``groups``, each under ``group``."""
    for inner, one, state, order, tracked in groups:
        yield f"{group}/{inner}" if inner else group, one, state, order, tracked


class Kept:
    """The part of ``Optimizer`` that turns its state into Keras' list of arrays, and back.

    Keras keeps ``iteration``, ``learning_rate`` (where it is a number), the moving averages and the summed gradients
    (where there are any), and the slots of the rule. A rule names its slots in ``keras_slots``: groups in Keras' order,
    each field of the rule's state -> Keras' name. Within a group the slots of one parameter stand together. A rule
    that names none keeps every array of its state, counters too.
    """

    keras_slots: ClassVar[Sequence[Mapping[str, str]] | None] = None

    name: str
    use_ema: bool
    gradient_accumulation_steps: int | None
    _learning_rate: Any

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "rule" in vars(cls) and "keras_slots" not in vars(cls):
            cls.keras_slots = None  # another rule has another state than the one it inherits names for

    if TYPE_CHECKING:  # what it needs of the optimizer that it is a part of

        def init(self, params: Mapping[str, Any]) -> OptimizerState: ...
        def _rate_at(self, step: Any, fixed: Any) -> jax.Array: ...

    # Out ------------------------------------------------------------------------------------------------------------

    def to_variables(self, state: OptimizerState, order: Iterable[str]) -> list[np.ndarray]:
        """The arrays of ``state`` as Keras has them in ``optimizer.variables``, and in its order.

        Args:
            state: What ``init`` or ``update`` gave.
            order: The paths of the parameters in Keras' order, of ``model.trainable_variables``. (Not the order of a
                dict that came out of a compiled function: there it is alphabetical.)

        Raises:
            InputError: ``order`` are not the paths of the state, or names one twice.

        >>> from verax.optimizers import Adam
        >>> params = {"dense/kernel": jnp.ones((2, 3)), "dense/bias": jnp.ones(3)}
        >>> optimizer = Adam(0.5)
        >>> [a.shape for a in optimizer.to_variables(optimizer.init(params), list(params))]
        [(), (), (2, 3), (2, 3), (3,), (3,)]
        >>> optimizer.variable_names(optimizer.init(params), list(params))[:3]
        ['adam/iteration', 'adam/learning_rate', 'adam/dense_kernel_momentum']
        """
        # Copies: the memory of a state may be taken over by the next step.
        return [np.array(slot.value) for slot in self._slots(state, _checked_order(order))]

    def variable_names(self, state: OptimizerState, order: Iterable[str]) -> list[str]:
        """The names of ``to_variables``, in the form of Keras' paths."""
        return [slot.path for slot in self._slots(state, _checked_order(order))]

    def stored(self, state: OptimizerState, order: Iterable[str]) -> list[Stored]:
        """What Keras' files hold in the group of the optimizer: its own arrays, and those of optimizers inside of it.

        The own arrays are ``to_variables`` and hold all of it; what is inside, Keras writes a second time.
        """
        return [
            Stored(group, one.name, [np.array(slot.value) for slot in one._slots(inside, paths, tracked)])
            for group, one, inside, paths, tracked in self._groups(state, _checked_order(order), True)
        ]

    def _groups(self, state: OptimizerState, order: list[str], tracked: bool) -> Iterator[Group]:
        """This optimizer and those inside of it, each with its group, its state and its parameters."""
        yield "", self, state, order, tracked

    def _slots(self, state: OptimizerState, order: list[str], tracked: bool = True) -> list[Slot]:
        """The arrays of ``state``, with names, in Keras' order.

        Args:
            state: As in ``to_variables``.
            order: The paths of the parameters, in Keras' order.
            tracked: Whether Keras keeps what a rule made past ``add_variable``: not inside of LossScaleOptimizer.
        """
        found = _arrays(state.inner, order)
        kept, counts = self._around(state.inner)
        around = [replace(found[at, p], name=name) for at, name in kept.items() for p in order if (at, p) in found]
        rule = {where: slot for where, slot in found.items() if where[0] not in {*kept, *counts}}
        own = [Slot(state.step, "iteration")]
        if not callable(self._learning_rate):
            own.append(Slot(state.hyperparams["learning_rate"], "learning_rate"))
        if self.keras_slots is None:
            places = dict.fromkeys(at for at, _ in rule)
            of_rule = [rule[at, p] for at in places for p in ("", *order) if (at, p) in rule]
        else:
            _check_parameters(self.name, rule.values(), order)
            of_rule = self._rule_slots({(slot.name, p): slot for (_, p), slot in rule.items()}, order, tracked)
        return [replace(slot, owner=self.name) for slot in own + around + of_rule]

    def _rule_slots(self, fields: Mapping[Where, Slot], order: list[str], tracked: bool) -> list[Slot]:
        """The slots of the rule; ``fields`` are the arrays of its state, by (field, path of the parameter)."""
        del tracked
        return [
            replace(fields[field, path], name=name)
            for group in self.keras_slots or ()
            for path in order
            for field, name in group.items()
            if (field, path) in fields
        ]

    def _around(self, inner: Any) -> tuple[dict[str, str], dict[str, int | None]]:
        """The places of the state around the rule's: of what Keras keeps -> its name, of counts -> their period."""
        kept: dict[str, str] = {}
        counts: dict[str, int | None] = {}
        if self.use_ema:
            kept[f"[{len(inner) - 1}].average"], counts[f"[{len(inner) - 1}].asked"] = "average", None
        if self.gradient_accumulation_steps is not None:
            kept["[0].total"], counts["[0].waited"] = "gradient_accumulator", self.gradient_accumulation_steps
        return kept, counts

    # Back -----------------------------------------------------------------------------------------------------------

    def from_variables(self, arrays: Iterable[Any], params: Mapping[str, Any], order: Iterable[str]) -> OptimizerState:
        """The state whose ``to_variables`` these arrays are: training goes on as it would have.

        What Keras does not keep (counts inside of the rule, the rate of a schedule) follows from the iteration.

        Args:
            arrays: As in ``optimizer.variables`` of a Keras optimizer of the same configuration.
            params: path -> the parameter, or its shape and dtype.
            order: The paths of the parameters in Keras' order, as in ``to_variables``.

        Raises:
            InputError: ``order`` are not the paths of ``params``.
            DataError: More or fewer arrays, or values that no training gives.
            ShapeError: An array that does not have the shape of its slot.

        >>> from verax.optimizers import SGD
        >>> optimizer, params = SGD(0.5, momentum=0.5), {"w": jnp.ones(2)}
        >>> state = optimizer.from_variables([np.int32(7), np.float32(0.25), np.float32([1.0, 2.0])], params, ["w"])
        >>> optimizer.iterations(state), optimizer.current_learning_rate(state)
        (7, 0.25)
        >>> optimizer.update({"w": jnp.zeros(2)}, state, params)[0]["w"].tolist()
        [1.5, 2.0]
        """
        order = _checked_order(order)
        if params.keys() != set(order):
            unmatched = sorted(params.keys() ^ set(order))
            raise InputError(
                "The order of parameters names all of them.", received=f"without a partner: {unmatched[:3]}"
            )
        like = jax.eval_shape(self.init, dict(params))
        given = [np.asarray(array) for array in arrays]
        forms = {tracked: self._form(like, order, tracked) for tracked in (True, False)}
        fitting = [tracked for tracked, form in forms.items() if len(form) == len(given)]
        if not fitting:
            raise _wrong_count(self.name, forms[True], len(given))
        slots = forms[fitting[0]]
        values = [_checked_value(self.name, i, a, slot) for i, (a, slot) in enumerate(zip(given, slots, strict=True))]
        return self._restored(iter(values), like, order, fitting[0])

    def _form(self, like: OptimizerState, order: list[str], tracked: bool) -> list[Slot]:
        """The slots with shapes in place of arrays."""
        return jax.eval_shape(partial(self._slots, order=order, tracked=tracked), like)

    def _restored(
        self, values: Iterator[np.ndarray], like: OptimizerState, order: list[str], tracked: bool
    ) -> OptimizerState:
        """The state from the next of ``values``, of the form that ``like`` has; they have the right shapes."""
        slots, paths = self._form(like, order, tracked), set(order)
        given = dict(zip(((slot.where or (slot.name, "")) for slot in slots), values, strict=False))
        step = int(given["iteration", ""])
        if step < 0:
            raise DataError(f"The state of {self.name!r} was to be restored.", received=f"{step} iterations")
        every = self.gradient_accumulation_steps or 1
        counts = self._around(like.inner)[1]

        def restored(keys: Any, shape: Any) -> jax.Array:
            place, path = _where(keys, paths)
            value: Any = given.get((place, path))
            if value is None and place in counts:
                value = step % (counts[place] or step + 1)
            elif value is None:
                value = self._follows(_last_name(place), step // every)
            return jnp.array(value, shape.dtype)  # a copy, each of its own

        rate = given.get(("learning_rate", ""))
        scheduled = self._rate_at(jnp.array(max(step - 1, 0), jnp.int32), 0.0) if rate is None else rate
        return OptimizerState(
            jnp.array(step, jnp.int32),
            {"learning_rate": jnp.array(scheduled, jnp.float32)},
            jax.tree_util.tree_map_with_path(restored, like.inner),
        )

    def _follows(self, field: str, steps: int) -> Any:
        """The value of a field of the rule's state that Keras does not keep, after ``steps`` changes."""
        if field not in ("step", "count"):
            raise InputError(
                f"The state of the optimizer {self.name!r} was to be restored.",
                because=f"its field {field!r} does not follow from the number of steps",
                do="Name it in keras_slots, or set keras_slots = None to keep every array.",
            )
        return steps


def _last_name(place: str) -> str:
    return place.rsplit(".", 1)[-1]


def _where(keys: Any, paths: set[str]) -> Where:
    last = keys[-1]
    of_parameter = isinstance(last, jax.tree_util.DictKey) and last.key in paths
    path = cast("str", last.key) if of_parameter else ""
    return jax.tree_util.keystr(keys[:-1] if of_parameter else keys), path


def _arrays(inner: Any, order: list[str]) -> dict[Where, Slot]:
    """The arrays of a state, each under the name of its field."""
    paths = set(order)
    found: dict[Where, Slot] = {}
    for keys, value in jax.tree_util.tree_flatten_with_path(inner)[0]:
        where = _where(keys, paths)
        found[where] = Slot(value, _last_name(where[0]), where[1], where)
    return found


def _checked_order(order: Iterable[str]) -> list[str]:
    paths = list(order)
    if len(set(paths)) != len(paths):
        twice = sorted({path for path in paths if paths.count(path) > 1})
        raise InputError("The order of parameters names each once.", received=f"more than once: {twice[:3]}")
    return paths


def _check_parameters(name: str, slots: Iterable[Slot], order: list[str]) -> None:
    """Refuse an order whose parameters are not those of the state."""
    strange = [slot.name for slot in slots if "['" in slot.name]
    known = {slot.parameter for slot in slots if slot.parameter}
    missing = [path for path in order if path not in known] if known or strange else []
    if strange or missing:
        raise InputError(
            f"The state of {name!r} was to be listed in an order of parameters.",
            received=f"without a state: {missing[:3]}; not in the order: {strange[:3]}",
            do="Give the paths of the parameters the state was made for.",
        )


def _wrong_count(name: str, slots: list[Slot], count: int) -> DataError:
    listed = ", ".join(dict.fromkeys(repr(slot.name) for slot in slots))
    parameters = len({slot.parameter for slot in slots if slot.parameter})
    return DataError(
        f"The state of the optimizer {name!r} was to be restored.",
        received=f"{count} arrays",
        because=f"it keeps {len(slots)}: {listed}, of {parameters} parameters",
        do="Compile with an optimizer of the same class and arguments (momentum, amsgrad, centered, use_ema, "
        "gradient_accumulation_steps, a schedule as learning_rate), with the same layers trainable.",
    )


def _checked_value(name: str, index: int, array: np.ndarray, slot: Slot) -> np.ndarray:
    """``array`` in the dtype of its slot."""
    asked = f"The state of the optimizer {name!r} was to be restored."
    do = "Give the arrays of the same model with an optimizer of the same class and arguments, in Keras' order."
    shape, dtype = slot.value.shape, slot.value.dtype
    if array.shape != shape:
        raise ShapeError(asked, received=f"array {index} of shape {array.shape}", because=f"{slot} has {shape}", do=do)
    kinds = (jnp.integer,) if jnp.issubdtype(dtype, jnp.integer) else (jnp.integer, jnp.floating)
    fits = array.dtype == dtype or any(jnp.issubdtype(array.dtype, kind) for kind in kinds)
    value = array.astype(dtype) if fits else array
    if not fits or (jnp.issubdtype(dtype, jnp.integer) and not np.array_equal(value, array)):
        received = f"array {index} of {array.dtype}" + (f", {array}" if array.ndim == 0 else "")
        raise DataError(asked, received=received, because=f"{slot} is of {dtype}", do=do)
    return value
