"""Several optimizers for one model: which parameter steps by which."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from verax.errors import FrozenError, InputError
from verax.frame.registry import snake_case
from verax.optimizers.base import Optimizer, OptimizerState, optimizer_registry
from verax.optimizers.loss_scale import LossScaleOptimizer
from verax.optimizers.slots import Group, Slot, within

__all__ = ["MultiOptimizer", "OptimizerMap"]

Arrays = dict[str, jax.Array]


class OptimizerMap(MutableMapping[str, Optimizer]):
    """Regular expression -> the optimizer of the parameters whose whole path matches it.

    Args:
        default_optimizer: The optimizer of every other parameter.
        optimizer_map: Expression -> optimizer; more may be added by ``map[expression] = optimizer``.

    Raises:
        InputError: What is no optimizer, an expression given twice, or a path that two of them match.

    >>> from verax.optimizers import SGD, Adam
    >>> chosen = OptimizerMap(Adam(), {r".*/bias": SGD(0.1)})
    >>> chosen("dense/bias").name, chosen("dense/kernel").name
    ('sgd', 'adam')
    """

    def __init__(self, default_optimizer: Optimizer, optimizer_map: Mapping[str, Optimizer] | None = None):
        self.default_optimizer = _checked(default_optimizer, "default_optimizer")
        self._chosen: dict[str, Optimizer] = {}
        for pattern, optimizer in (optimizer_map or {}).items():
            self[pattern] = optimizer

    def __getitem__(self, key: str) -> Optimizer:
        if key in self._chosen:
            return self._chosen[key]
        found = [pattern for pattern in self._chosen if re.fullmatch(pattern, key)]
        if len(found) > 1:
            raise InputError(
                f"The parameter {key!r} steps by one optimizer.",
                received=f"the expressions {found}, which all match it",
                do="Make the expressions exclude each other.",
            )
        return self._chosen[found[0]] if found else self.default_optimizer

    def __setitem__(self, key: str, optimizer: Optimizer) -> None:
        if key in self._chosen:
            raise InputError(f"OptimizerMap[{key!r}] was to be set.", because="it is set", do="Delete it first.")
        try:
            re.compile(key)
        except (re.error, TypeError):
            raise InputError("OptimizerMap is asked with a regular expression.", received=repr(key)) from None
        self._chosen[key] = _checked(optimizer, f"OptimizerMap[{key!r}]")

    def __delitem__(self, key: str) -> None:
        del self._chosen[key]

    def __len__(self) -> int:
        return len(self._chosen)

    def __iter__(self) -> Iterator[str]:
        return iter(self._chosen)

    def __call__(self, variable: Any) -> Optimizer:
        """The optimizer of a variable, or of its path."""
        return self[variable if isinstance(variable, str) else variable.path]

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments, as configurations."""
        return {
            "default_optimizer": optimizer_registry.serialize(self.default_optimizer),
            "optimizer_map": {key: optimizer_registry.serialize(one) for key, one in self._chosen.items()},
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> OptimizerMap:
        """The map of a configuration."""

        def restored(one: Mapping[str, Any]) -> Any:
            # Keras writes the factor of the whole into each of them.
            own = {**one, "config": {**one["config"], "loss_scale_factor": None}}
            return optimizer_registry.deserialize(own, custom_objects)

        chosen = cast("Mapping[str, Any]", config["optimizer_map"])
        return cls(restored(config["default_optimizer"]), {key: restored(one) for key, one in chosen.items()})


class _Rates(tuple[Any, ...]):
    """The rates of several optimizers, which are no single number."""

    __slots__ = ()

    def __float__(self) -> float:
        raise _no_rate("read as a number")


class MultiOptimizer(Optimizer):
    """Steps each parameter by the optimizer a map chooses for it, with clipping, decay and averages of its own.

    Args:
        optimizer_map: An ``OptimizerMap``, or a function from a parameter's path to its optimizer.
        loss_scale_factor: As in ``Optimizer``, for all of them.
        name: As in ``Optimizer``.

    Raises:
        InputError: An optimizer in the map that scales the loss itself, or is a ``MultiOptimizer``.
        FrozenError: A learning rate of all was asked for or set: each optimizer has its own.

    >>> from verax.optimizers import SGD
    >>> optimizer = MultiOptimizer(OptimizerMap(SGD(0.5), {"b": SGD(0.25)}))
    >>> params = {"w": jnp.ones(()), "b": jnp.ones(())}
    >>> params, state = optimizer.update(params, optimizer.init(params), params)
    >>> float(params["w"]), float(params["b"]), optimizer.iterations(state)
    (0.5, 0.75, 1)

    Differs from Keras: a function takes the path, where Keras' takes the variable.
    """

    def __init__(
        self,
        optimizer_map: OptimizerMap | Callable[[str], Optimizer],
        loss_scale_factor: float | None = None,
        name: str | None = None,
    ):
        super().__init__(learning_rate=0.0, loss_scale_factor=loss_scale_factor, name=name)
        if not callable(optimizer_map):
            raise InputError(
                "MultiOptimizer(optimizer_map=...) chooses an optimizer for each parameter.",
                received=f"{optimizer_map!r} of type {type(optimizer_map).__name__}",
                do="Give an OptimizerMap, or a function from a path to an Optimizer.",
            )
        self.optimizer_map = optimizer_map
        self._known: list[Optimizer] = []
        if isinstance(optimizer_map, OptimizerMap):
            self._known = _distinct([*optimizer_map.values(), optimizer_map.default_optimizer])
        self._mapped = list(self._known)
        self._chosen: dict[str, Optimizer] = {}

    @property
    def optimizers(self) -> list[Optimizer]:
        """The optimizers that are known: those of the map, and what a function has chosen so far."""
        return list(self._known)

    # The step -------------------------------------------------------------------------------------------------------

    def _choose(self, path: str) -> Optimizer:
        if isinstance(self.optimizer_map, OptimizerMap):
            return _checked(self.optimizer_map(path), f"the optimizer of {path!r}")
        if path not in self._chosen:  # a function is asked once: it may make a new optimizer each time
            self._chosen[path] = _checked(self.optimizer_map(path), f"the optimizer of {path!r}")
        return self._chosen[path]

    def _shares(self, params: Mapping[str, Any]) -> list[list[str]]:
        """The paths of each optimizer, in the order of ``optimizers``."""
        chosen = {path: self._choose(path) for path in params}
        self._known = _distinct([*self._known, *chosen.values()])
        return [[path for path in params if chosen[path] is one] for one in self._known]

    def transformation(self) -> optax.GradientTransformation:
        """All of them as one optax transformation; ``OptimizerState.inner`` has the state of each."""

        def init(params: Any) -> OptimizerState:
            shares = self._shares(params)
            states = [
                one.transformation().init({path: params[path] for path in share})
                for one, share in zip(self._known, shares, strict=True)
            ]
            return OptimizerState(jnp.zeros((), jnp.int32), {"learning_rate": jnp.zeros(())}, tuple(states))

        def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, OptimizerState]:
            factor = self.loss_scale_factor
            grads = updates if factor is None else jax.tree.map(lambda g: g / factor, updates)
            changes: Arrays = {}
            after: list[Any] = []
            for one, share, before in zip(self._known, self._shares(params), state.inner, strict=True):
                step: Any = one.transformation().update(_only(grads, share), before, _only(params, share))
                changes.update(step[0])
                after.append(step[1])
            return {path: changes[path] for path in params}, state._replace(step=state.step + 1, inner=tuple(after))

        return optax.GradientTransformation(init, update)

    # The form of Keras' files ---------------------------------------------------------------------------------------

    def _states(
        self, state: OptimizerState, order: list[str]
    ) -> list[tuple[int, Optimizer, OptimizerState, list[str]]]:
        """The optimizers in Keras' order, each with its index in ``optimizers``, its state and its parameters."""
        shares = self._shares(dict.fromkeys(order))
        # Those of a map stand first; a function's in the order of the parameters they were chosen for.
        chosen = _distinct([*self._mapped, *(self._choose(path) for path in order)])
        if len(state.inner) < len(self._known):
            raise InputError(
                f"The state of {self.name!r} was to be listed in an order of parameters.",
                received=f"a state of {len(state.inner)} optimizers, and paths of {len(self._known)}",
                do="Give the paths of the parameters the state was made for.",
            )
        indices = [next(i for i, known in enumerate(self._known) if known is one) for one in chosen]
        return [(i, one, state.inner[i], shares[i]) for i, one in zip(indices, chosen, strict=True)]

    def _slots(self, state: OptimizerState, order: list[str], tracked: bool = True) -> list[Slot]:
        """An iteration, a rate that Keras keeps and does not use, and the slots of each of the optimizers."""
        unused = Slot(jnp.zeros((), jnp.float32), "learning_rate", owner=self.name)
        slots = [Slot(state.step, "iteration", owner=self.name), unused]
        for _, one, own, share in self._states(state, order):
            slots += one._slots(own if share else _not_counted(own), share, tracked)
        return slots

    def _groups(self, state: OptimizerState, order: list[str], tracked: bool) -> Iterator[Group]:
        yield from super()._groups(state, order, tracked)
        counts: dict[str, int] = {}
        for _, one, own, share in self._states(state, order):
            name = snake_case(type(one).__name__)
            count = counts[name] = counts.get(name, -1) + 1
            inside = one._groups(own if share else _not_counted(own), share, tracked)
            yield from within(f"optimizers/{name}" + (f"_{count}" if count else ""), inside)

    def _restored(
        self, values: Iterator[np.ndarray], like: OptimizerState, order: list[str], tracked: bool
    ) -> OptimizerState:
        step, _ = next(values), next(values)
        inner = list(like.inner)
        for i, one, own, share in self._states(like, order):
            inner[i] = one._restored(values, own, share, tracked)
        return OptimizerState(jnp.array(step), {"learning_rate": jnp.zeros(())}, tuple(inner))

    # What the optimizers answer -------------------------------------------------------------------------------------

    @property
    def learning_rate(self) -> Any:
        """The rates of ``optimizers``, as a tuple; each is set at its optimizer."""
        return _Rates(one.learning_rate for one in self._known)

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        raise _no_rate("set")

    def with_learning_rate(self, state: OptimizerState, value: Any) -> OptimizerState:
        """``state`` with other rates, a number for each of ``optimizers``; schedules stay."""
        if not isinstance(value, tuple):
            raise _no_rate("set")
        rates = cast("tuple[Any, ...]", value)
        inner = tuple(
            before if callable(rate) else one.with_learning_rate(before, rate)
            for one, before, rate in zip(self._known, state.inner, rates, strict=True)
        )
        return state._replace(inner=inner)

    def current_learning_rate(self, state: OptimizerState) -> float:
        """There is none of all: see ``optimizers``."""
        raise _no_rate("read as a number")

    def averaged(self, state: OptimizerState) -> dict[str, jax.Array] | None:
        """path -> moving average, of the optimizers that keep them; None where none does."""
        found: Arrays = {}
        for one, inner in zip(self._known, state.inner, strict=True):
            found.update(one.averaged(inner) or {})
        return found or None

    def exclude_from_weight_decay(
        self, var_list: Iterable[Any] | None = None, var_names: Iterable[str] | None = None
    ) -> None:
        """Choose the parameters that do not decay, in each optimizer."""
        variables, names = list(var_list or ()), list(var_names or ())
        for one in getattr(self, "_known", ()):
            one.exclude_from_weight_decay(variables, names)

    # Configuration --------------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments, with the configurations of the optimizers."""
        if not isinstance(self.optimizer_map, OptimizerMap):
            raise InputError(
                f"The configuration of {self.name!r} was asked for.",
                received=f"optimizer_map={self.optimizer_map!r}",
                because="a function cannot be written down",
                do="Use an OptimizerMap.",
            )
        described = {"module": "keras.optimizers", "class_name": "OptimizerMap", "registered_name": None}
        chosen = {**described, "config": self.optimizer_map.get_config()}
        return {"optimizer_map": chosen, "loss_scale_factor": self.loss_scale_factor, "name": self.name}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> MultiOptimizer:
        """The optimizer of a configuration."""
        chosen = OptimizerMap.from_config(config["optimizer_map"]["config"], custom_objects)
        return cls(chosen, **{key: value for key, value in config.items() if key != "optimizer_map"})


def _not_counted(state: OptimizerState) -> OptimizerState:
    """Without steps: Keras does not count those of an optimizer that no parameter steps by."""
    return state._replace(step=jnp.zeros((), jnp.int32))


def _only(tree: Mapping[str, Any], paths: list[str]) -> dict[str, Any]:
    return {path: tree[path] for path in paths}


def _distinct(optimizers: list[Optimizer]) -> list[Optimizer]:
    """Each of ``optimizers`` once, in their order."""
    return list({id(one): one for one in optimizers}.values())


def _checked(optimizer: Any, where: str) -> Optimizer:
    if not isinstance(optimizer, Optimizer):
        raise InputError(f"{where} is an Optimizer.", received=f"{optimizer!r} of type {type(optimizer).__name__}")
    if isinstance(optimizer, (LossScaleOptimizer, MultiOptimizer)) or optimizer.loss_scale_factor is not None:
        raise InputError(
            f"{where} was given.",
            received=f"{type(optimizer).__name__} with loss_scale_factor={optimizer.loss_scale_factor}",
            because="one optimizer of several can neither scale the loss nor be several itself",
            do="Give MultiOptimizer a loss_scale_factor, or wrap it: LossScaleOptimizer(MultiOptimizer(...)).",
        )
    return optimizer


def _no_rate(verb: str) -> FrozenError:
    return FrozenError(
        f"The learning rate of a MultiOptimizer was to be {verb}.",
        because="each of its optimizers has a rate of its own",
        do="Use the learning_rate of one of optimizer.optimizers.",
    )
