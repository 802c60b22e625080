"""What a layer has: a name, variables, layers inside it, a configuration; and what may change of it when."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import numpy as np
from jax.core import Tracer

from verax.errors import FrameError, FrozenError, ShapeError
from verax.frame.current import active_frame
from verax.frame.frame import load_values
from verax.frame.names import automatic_name
from verax.frame.policy import DTypePolicy
from verax.frame.registry import described
from verax.frame.serialized import revived
from verax.frame.tree import Tree, holds
from verax.frame.variable import Variable

__all__ = ["Holder"]


@dataclass
class Core:
    """The state every layer has; in one attribute, so that ``vars(layer)`` holds only the layer's own."""

    arguments: tuple[tuple[Any, ...], dict[str, Any]]
    name: str | None = None
    named: bool = False
    trainable: bool = True
    policy: DTypePolicy = field(default_factory=lambda: DTypePolicy.of(None))
    built: bool = False
    building: int = 0
    learned: int = 0  # how often it adapted to data: programs made before hold what it knew then
    variables: list[Variable] = field(default_factory=list)
    declared_shape: tuple[int | None, ...] | None = None
    activity_regularizer: Callable[[Any], Any] | None = None
    first_call: dict[str, Any] | None = None  # the symbolic tensors of its first place in a graph
    remat: Any = None  # the RematScope by which it is recomputed, if any


#: What only Keras' configurations say, as it stands where it asks for nothing.
_OFF = {
    "quantization_config": None,
    "synchronized": False,
    "rms_scaling": False,
    "renorm": False,
    "renorm_clipping": None,
    "renorm_momentum": 0.99,
    "sparse": False,
    "ragged": False,
    "optional": False,
}


class Holder:
    """The half of a layer that is not its maths."""

    _core: Core
    _is_verax_layer: ClassVar[bool] = True
    #: Attributes of subclasses of this base that hold no layers, or whose layers ``children`` lists itself.
    _apart: ClassVar[frozenset[str]] = frozenset({"_core"})
    #: Attributes that have other names in Keras' files.
    _in_files: ClassVar[Mapping[str, str]] = {}

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        layer = super().__new__(cls)
        object.__setattr__(layer, "_core", Core((args, kwargs)))
        return layer

    # ---- what a layer has ----------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name given, or an automatic one."""
        if self._core.name is None:  # a subclass did not call super().__init__()
            self._core.name = automatic_name(type(self).__name__)
        return self._core.name

    @property
    def built(self) -> bool:
        """Whether ``build`` has run."""
        return self._core.built

    @built.setter
    def built(self, value: bool) -> None:
        self._core.built = value

    @property
    def trainable(self) -> bool:
        """Whether weights here and below are updated; setting it sets it below too."""
        return self._core.trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer, _ in Tree.of(cast("Any", self)).layers.values():
            layer._core.trainable = bool(value)

    @property
    def dtype_policy(self) -> DTypePolicy:
        """The dtype policy."""
        return self._core.policy

    @property
    def compute_dtype(self) -> str:
        """The dtype the layer computes in."""
        return self._core.policy.compute_dtype

    @property
    def dtype(self) -> str:
        """The dtype of the layer's weights, as Keras has it."""
        return self._core.policy.variable_dtype

    variable_dtype = dtype

    @property
    def variables(self) -> list[Variable]:
        """All variables here and below, in Keras' order."""
        return [variable for variable, _ in Tree.of(cast("Any", self)).variables.values()]

    @property
    def weights(self) -> list[Variable]:
        """All variables but the states of stateful layers, in Keras' order."""
        return [variable for variable in self.variables if not variable.carried]

    @property
    def trainable_variables(self) -> list[Variable]:
        """Those that gradients reach."""
        return list(Tree.of(cast("Any", self)).params().values())

    trainable_weights = trainable_variables

    @property
    def non_trainable_variables(self) -> list[Variable]:
        """Those that gradients do not reach: moving averages, and weights of frozen layers."""
        return list(Tree.of(cast("Any", self)).state().values())

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """Those that gradients do not reach, without the states of stateful layers."""
        return [variable for variable in self.non_trainable_variables if not variable.carried]

    def count_params(self) -> int:
        """The number of elements of all weights."""
        return sum(v.size for v in self.weights)

    def get_weights(self) -> list[np.ndarray[Any, Any]]:
        """The values of all weights, in Keras' order."""
        return [np.asarray(v._value) for v in self.weights]

    def set_weights(self, weights: Any) -> None:
        """Set the values of all weights, in Keras' order; nothing is set if one does not fit."""
        variables, weights = self.weights, list(weights)
        shapes = [tuple(np.shape(w)) for w in weights]
        if shapes != [v.shape for v in variables]:
            wrong = [(v.path, v.shape, s) for v, s in zip(variables, shapes, strict=False) if v.shape != s]
            raise ShapeError(
                f"set_weights was called on {self.name!r}.",
                received=f"{len(weights)} arrays"
                + (f", the one for {wrong[0][0]!r} of {wrong[0][2]}" if wrong else ""),
                because=f"it has {len(variables)} weights" + (f", that one of {wrong[0][1]}" if wrong else ""),
                do="Give the arrays that get_weights of an equal layer returns.",
            )
        load_values(cast("Any", self), {v.path: w for v, w in zip(variables, weights, strict=True)})

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, captured when the layer was made; parts among them as configurations."""
        args, kwargs = self._core.arguments
        bound = inspect.signature(type(self).__init__).bind_partial(self, *args, **kwargs)
        config: dict[str, Any] = {}
        for key, value in list(bound.arguments.items())[1:]:
            kind = inspect.signature(type(self).__init__).parameters[key].kind
            config.update(cast("dict[str, Any]", value) if kind is inspect.Parameter.VAR_KEYWORD else {key: value})
        takes = inspect.signature(type(self).__init__).parameters
        every = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in takes.values())
        # What a setting of the program, or an assignment, has made of the layer since.
        if self._core.policy.name != "float32" and "dtype" not in config and (every or "dtype" in takes):
            config["dtype"] = self._core.policy
        if self._core.trainable is not config.get("trainable", True) and (every or "trainable" in takes):
            config["trainable"] = self._core.trainable
        config.pop("name", None)  # an automatic name, too, where name=None was passed
        return {"name": self.name, **described(config)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Any:
        """A new layer with the arguments that ``get_config`` gave, Keras' or ours."""
        known = inspect.signature(cls.__init__).parameters
        given = {k: v for k, v in config.items() if k in known or k not in _OFF or v != _OFF[k]}
        if cls.__module__.split(".")[0] != "verax":  # parts of Verax know what their names and descriptions mean
            given = {k: revived(v) for k, v in given.items()}
        return cls(**given)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}{'' if self.built else ', not built'}>"

    # ---- for the frame -------------------------------------------------------------------------------------------

    def own_variables(self) -> list[Variable]:
        """Variables made with ``add_weight``."""
        return self._core.variables

    def children(self) -> Iterator[tuple[str, str, Any]]:
        """(label for the path, label for the route, layer or variable) of what this layer holds in its attributes."""
        mine = {id(v) for v in self._core.variables}
        for attribute, value in vars(self).items():
            if attribute in self._apart:
                continue
            for key, held in holds(value, attribute):
                if isinstance(held, Variable):
                    if id(held) not in mine:
                        yield key, key, held
                else:
                    yield (held.name if held._core.named else key), key, held

    def stored_parts(self) -> Iterator[tuple[str, Any]]:
        """(name, layer or list, tuple or dict) of what attributes and a person's properties hold, as Keras' files
        have it: in alphabetical order, private ones last."""
        names = self._in_files
        held = {names.get(k, k): v for k, v in vars(self).items() if k in names or k not in self._apart}
        held.update(self._listed_parts())
        for name in _properties(type(self)):
            with contextlib.suppress(Exception):  # a property may need what is not there yet
                held.setdefault(name, getattr(self, name))
        for name in sorted(held, key=lambda name: f"~{name}" if name.startswith("_") else name):
            value = held[name]
            if isinstance(value, (Holder, list, tuple, Mapping)):
                yield name, value

    def _listed_parts(self) -> dict[str, Any]:
        """Further parts that Keras' files know by a name."""
        return {}

    def rebuildable(self) -> dict[str, Any]:
        """What ``unbuild`` needs to undo a build that failed."""
        return {"attributes": dict(vars(self)), "variables": list(self._core.variables)}

    def unbuild(self, before: Mapping[str, Any]) -> None:
        """Undo a build."""
        vars(self).clear()
        vars(self).update(before["attributes"])
        self._core.variables[:] = before["variables"]
        self._core.built = False

    def __setattr__(self, name: str, value: Any) -> None:
        core = self.__dict__.get("_core")
        if core is not None and core.built and name in _configuration(type(self)) and name in self.__dict__:
            if value is self.__dict__[name]:
                return
            raise FrozenError(
                f"{self.name}.{name} was to be changed.",
                received=f"{value!r} for {self.__dict__[name]!r}",
                because="the layer is built: programs compiled with the old value would silently keep it",
                do="Make a new layer with the new value and set_weights(old.get_weights()).",
            )
        if isinstance(value, Tracer) and active_frame() is not None:
            raise FrameError(
                f"{self.name}.{name} was set to a traced value during a call.",
                because="it would outlive the pass that traced it",
                do="Keep values in a variable: add_weight(trainable=False), then variable.assign(value).",
            )
        object.__setattr__(self, name, value)


@functools.cache
def _properties(cls: type[Any]) -> tuple[str, ...]:
    """Properties, and objects among class attributes, of classes that are not of Verax."""
    own = [base for base in cls.__mro__ if base.__module__.split(".")[0] not in ("verax", "builtins")]
    found = {name: value for base in reversed(own) for name, value in vars(base).items() if not name.startswith("__")}
    return tuple(k for k, v in found.items() if isinstance(v, (property, Holder)))


@functools.cache
def _configuration(cls: type[Any]) -> frozenset[str]:
    return frozenset(inspect.signature(cls.__init__).parameters) - {"self", "name", "trainable"}
