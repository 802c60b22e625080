"""Layers as pure functions: a frame substitutes values while a call runs, and collects what the call leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import get_opaque_trace_state

from verax.errors import FrameError, InputError, NotBuiltError
from verax.frame.current import current, stateless
from verax.frame.mode import Mode, ModeMap, Observation
from verax.frame.policy import is_float
from verax.frame.seeds import path_hash
from verax.frame.tree import Place, Tree

if TYPE_CHECKING:
    from verax.frame.layer import Layer
    from verax.frame.variable import Variable

__all__ = ["Frame", "Outcome", "call", "load_values", "pure", "put", "values"]


@dataclass
class Frame:
    """What a call of a layer reads and leaves behind; exists only while ``call`` runs.

    Attributes:
        tree: The root's layers and variables.
        values: id of a variable -> its value in this call.
        modes: The mode of every layer.
        key: From which draws are made; None where nothing may be drawn.
        updates: id of a variable -> value assigned in this call.
        penalties: path -> scalar, added with ``add_loss`` or by an activity regularizer.
        observed: path -> what the layer there did about the mode.
        masks: id of an array -> (the array, its mask).
        links: id of an array -> (the array, "softmax" or "sigmoid", its logits).
        unknown: Sizes that stand for unknown axis lengths, while a symbolic call is traced.
    """

    tree: Tree
    values: dict[int, jax.Array]
    modes: ModeMap
    key: jax.Array | None = None
    updates: dict[int, jax.Array] = field(default_factory=dict)
    penalties: dict[str, jax.Array] = field(default_factory=dict)
    observed: dict[str, Observation] = field(default_factory=dict)
    masks: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    links: dict[int, tuple[Any, str, Any]] = field(default_factory=dict)
    unknown: frozenset[int] = frozenset()
    draws: dict[str, int] = field(default_factory=dict)
    shapes: dict[str, Any] = field(default_factory=dict)
    followed: dict[int, tuple[jax.Array, float]] = field(default_factory=dict)
    built: list[tuple[Layer, dict[str, Any]]] = field(default_factory=list)
    stack: list[tuple[Layer, bool | None]] = field(default_factory=list)
    forced: list[Mode] = field(default_factory=list)
    trace: Any = field(default_factory=lambda: get_opaque_trace_state(convention="verax"))

    def place(self, layer: Layer) -> Place:
        """Where ``layer`` stands below the root."""
        found = self.tree.layers.get(id(layer)) or self._look_again().layers.get(id(layer))
        if found is None:
            raise FrameError(
                f"Layer {layer.name!r} was called inside {self.where()}.",
                because="no layer of the model holds it in an attribute, list or dict, so its weights would be lost",
                do="Keep it: self.layer = ... in __init__ or build, and call that.",
            )
        return found[1]

    def read(self, variable: Variable) -> jax.Array:
        """The variable's value in this call, in the compute dtype of the layer that reads it."""
        value = self.held(variable)
        if value is None:
            if variable.name is None and variable.path == "":  # a value on its way through a jax function
                return variable._value
            raise FrameError(
                f"Variable {variable.name!r} was read inside {self.where()}.",
                because="no layer of the model holds it, so its value would be baked into the compiled program",
                do="Make it with self.add_weight(...), or keep it in an attribute of the layer.",
            )
        if isinstance(value, np.ndarray):  # put off: see values_later
            value = jnp.zeros(value.shape, value.dtype)
        if variable.autocast and self.stack and is_float(value.dtype):
            return value.astype(self.stack[-1][0].compute_dtype)
        return value

    @contextmanager
    def reading(self, variable: Variable, function: Callable[[jax.Array], jax.Array]) -> Generator[None]:
        """While it stands, ``variable`` reads as ``function`` of its value in this call."""
        self.read(variable)  # known from here on
        kept = self.values[id(variable)]
        self.values[id(variable)] = function(kept)
        try:
            yield
        finally:
            self.values[id(variable)] = kept

    def held(self, variable: Variable) -> jax.Array | None:
        """The variable's value in this call, as it is kept; None where no layer of the root holds it."""
        value = self.updates.get(id(variable))
        if value is None:
            value = self.values.get(id(variable))
        if value is None and variable.name is not None:
            self._look_again()
            value = self.values.get(id(variable))
        return value

    def assign(self, variable: Variable, value: jax.Array) -> None:
        """Collect an assignment."""
        self.check_trace(f"variable {variable.path!r} was assigned")
        if id(variable) not in self.values:
            self.read(variable)
        if variable.trainable:
            raise FrameError(
                f"Variable {variable.path!r} was assigned during a call.",
                because="it is trainable: the optimizer sets it",
                do="Make it with add_weight(..., trainable=False).",
            )
        self.updates[id(variable)] = value

    def penalize(self, path: str, value: jax.Array) -> None:
        """Add a scalar to the penalties of the layer at ``path``."""
        self.check_trace(f"a loss was added by {path!r}")
        if jnp.shape(value) != ():
            value = jnp.sum(value)
        self.penalties[path] = self.penalties[path] + value if path in self.penalties else value

    def draw_key(self, layer: Layer) -> jax.Array:
        """A key for the next draw of ``layer``: fold_in(fold_in(key, hash of its route), n), n counting its draws."""
        self.check_trace(f"layer {layer.name!r} drew")
        if self.key is None:
            raise FrameError(
                f"Layer {self.place(layer).path or layer.name!r} draws random numbers.",
                received="key=None",
                do="Pass key=jax.random.key(...) to pure(...).",
            )
        route = self.place(layer).route
        n = self.draws.get(route, 0)
        self.draws[route] = n + 1
        return jax.random.fold_in(jax.random.fold_in(self.key, path_hash(route)), n)

    def mode(self, layer: Layer, effect: str | None = None, *, frozen: bool = False) -> Mode | jax.Array:
        """The mode of ``layer`` for its effect, recorded as observed."""
        path = self.place(layer).path
        effect = effect or f"custom:{path}"
        if frozen:
            mode, why = Mode.INFER, "frozen"
        elif self.forced:
            mode, why = self.forced[-1], "forced"
        else:
            mode, why = self.modes.at(path, effect), "asked"
        observation = Observation(effect, mode if isinstance(mode, Mode) else None, why)
        name, n = path or layer.name, 1
        # A shared layer may do one thing in one call and another in the next: both are kept.
        while self.observed.setdefault(name, observation) != observation:
            n += 1
            name = f"{path or layer.name} (call {n})"
        return mode

    def ambient(self) -> Mode:
        """The mode of a call that says nothing, from where the stack stands."""
        for _, training in reversed(self.stack):
            if training is not None:
                return Mode.of(training)
        return self.forced[-1] if self.forced else self.modes.default

    def choose(self, flag: jax.Array, train: Callable[[], Any], infer: Callable[[], Any]) -> Any:
        """Run both branches and select by a traced flag: outputs, assignments, penalties, masks and links alike.

        Both branches begin from the same values and the same draws.
        """
        updates, penalties, draws = self.updates, self.penalties, self.draws
        ends: list[tuple[Any, dict[int, jax.Array], dict[str, jax.Array]]] = []
        taken: dict[str, int] = {}
        for branch in (train, infer):
            self.updates, self.penalties, self.draws = dict(updates), dict(penalties), dict(draws)
            ends.append((branch(), self.updates, self.penalties))
            taken = {route: max(n, taken.get(route, 0)) for route, n in self.draws.items()} | {
                route: n for route, n in taken.items() if route not in self.draws
            }
        (one, one_updates, one_penalties), (two, two_updates, two_penalties) = ends

        def select(a: Any, b: Any) -> Any:
            if a is b or not isinstance(a, jax.Array):
                return a
            chosen = jnp.where(flag, a, b)
            for source in (b, a):
                if id(source) in self.masks:
                    self.masks[id(chosen)] = (chosen, self.masks[id(source)][1])
            if id(a) in self.links and id(b) in self.links and self.links[id(a)][1] == self.links[id(b)][1]:
                kind, logits = self.links[id(a)][1], jnp.where(flag, self.links[id(a)][2], self.links[id(b)][2])
                self.links[id(chosen)] = (chosen, kind, logits)
            return chosen

        self.updates = {
            i: select(one_updates.get(i, self.values[i]), two_updates.get(i, self.values[i]))
            for i in {**one_updates, **two_updates}
        }
        nothing = jnp.zeros((), "float32")
        self.penalties = {
            path: select(one_penalties.get(path, nothing), two_penalties.get(path, nothing))
            for path in {**one_penalties, **two_penalties}
        }
        self.draws = taken
        return jax.tree.map(select, one, two)

    def check_trace(self, what: str) -> None:
        """Refuse a side effect inside a transformation that began after the frame: it would leak a tracer."""
        if get_opaque_trace_state(convention="verax") != self.trace:
            raise FrameError(
                f"Inside a jax transformation around a layer, {what}.",
                received=f"a call within {self.where()}",
                because="a raw jax.checkpoint, vmap, scan or cond hides what the layer leaves behind from its frame",
                do="Use verax.lift(transform, layer), which carries it.",
            )

    def where(self) -> str:
        """The layer that is running, for messages."""
        if not self.stack:
            return f"{self.tree.root.name!r}"
        layer = self.stack[-1][0]
        found = self.tree.layers.get(id(layer))
        return repr((found[1].path if found else "") or layer.name)

    def _look_again(self) -> Tree:
        # Layers and variables made during this call (in ``build``) are found by a second walk.
        self.tree = Tree.of(self.tree.root)
        for variable, _ in self.tree.variables.values():
            self.values.setdefault(id(variable), variable._value)
        return self.tree


@dataclass(frozen=True)
class Outcome:
    """All that one call of a layer leaves behind.

    Attributes:
        output: What the layer returned: an array or a structure of arrays.
        state: path -> value of every non-trainable variable after the call.
        penalties: path -> scalar.
        masks: The mask of each output leaf, or None, in the order of ``jax.tree.leaves(output)``.
        links: ("softmax" | "sigmoid", logits) behind each output leaf, or None.
        observed: path -> what the layer there did about the mode.
        built: The layers this call built, with what ``unbuild`` needs to undo it.
        draws: route of a layer -> how many draws it made.
        shapes: path of a layer -> the shapes it returned last.
        followed: path of a moving average -> (the value of this call that it follows, its momentum).
    """

    output: Any
    state: dict[str, jax.Array]
    penalties: dict[str, jax.Array]
    masks: list[Any]
    links: list[tuple[str, Any] | None]
    observed: dict[str, Observation]
    built: list[tuple[Layer, dict[str, Any]]]
    draws: dict[str, int]
    shapes: dict[str, Any]
    followed: dict[str, tuple[jax.Array, float]]


def call(
    layer: Layer,
    params: Mapping[str, jax.Array],
    state: Mapping[str, jax.Array],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    *,
    mode: ModeMap | Mode,
    key: jax.Array | None = None,
    unknown: frozenset[int] = frozenset(),
    masks: Mapping[int, Any] | None = None,
) -> Outcome:
    """Run ``layer`` on given values and return all that the call leaves behind.

    Args:
        layer: The root; paths are relative to it.
        params: path -> value of the trainable variables. Variables that are missing here and in ``state`` (because the
            layer is built by this very call) take their own values.
        state: path -> value of the others.
        args, kwargs: What the layer is called on.
        mode: The mode of every layer.
        key: The key of this call's draws; None where nothing may be drawn.
        unknown: Sizes that stand for unknown axis lengths.
        masks: Position of a leaf of ``args`` -> its mask.
    """
    tree = Tree.of(layer)
    given = {**params, **state}
    own = {i: given.pop(place.path, variable._value) for i, (variable, place) in tree.variables.items()}
    if given:
        raise InputError(
            f"Values were given for the variables of {layer.name!r}.",
            received=f"the path {next(iter(given))!r}",
            because="no variable of the layer has it",
            do=f"Use the paths of verax.values(layer): {[p.path for _, p in tree.variables.values()][:5]} ...",
        )
    frame = Frame(tree, own, ModeMap.of(mode), key, unknown=unknown)
    for position, mask in (masks or {}).items():
        array = jax.tree.leaves(args)[position]
        frame.masks[id(array)] = (array, mask)
    token = current.set(frame)
    try:
        output = layer(*args, **(kwargs or {}))
    except BaseException:
        for made, before in reversed(frame.built):  # a refused input leaves no half-built layer
            made.unbuild(before)
        raise
    finally:
        current.reset(token)
    leaves = jax.tree.leaves(output)
    after = {
        place.path: frame.updates.get(i, frame.values.get(i, variable._value))
        for i, (variable, place) in frame.tree.variables.items()
        if not place.trainable
    }
    return Outcome(
        output,
        after,
        frame.penalties,
        [frame.masks[id(leaf)][1] if id(leaf) in frame.masks else None for leaf in leaves],
        [frame.links[id(leaf)][1:] if id(leaf) in frame.links else None for leaf in leaves],
        frame.observed,
        frame.built,
        frame.draws,
        frame.shapes,
        {frame.tree.variables[i][1].path: found for i, found in frame.followed.items()},
    )


def values(layer: Layer) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """The values of a built layer or model: ``(params, state)``, flat dicts path -> array.

    ``params`` are those that gradients reach (trainable variables of trainable layers), ``state`` all others.
    """
    tree = Tree.of(layer)
    _check_built(layer)
    return (
        {path: v.own() for path, v in tree.params().items()},
        {path: v.own() for path, v in tree.state().items()},
    )


def load_values(layer: Layer, *tables: Mapping[str, Any]) -> None:
    """Write values (of ``values``' form) back into a layer's variables; nothing is written if one does not fit."""
    tree = Tree.of(layer)
    by_path = {place.path: v for v, place in tree.variables.values()}
    pairs: list[tuple[Variable, Any]] = []
    for table in tables:
        for path, value in table.items():
            if path not in by_path or tuple(jnp.shape(value)) != by_path[path].shape:
                have = by_path[path].shape if path in by_path else "no such variable"
                raise InputError(
                    f"A value for {path!r} was to be loaded into {layer.name!r}.",
                    received=f"shape {tuple(jnp.shape(value))}",
                    because=f"the layer has {have}",
                )
            pairs.append((by_path[path], value))
    put(pairs)


def put(pairs: Iterable[tuple[Variable, Any]]) -> None:
    """Set variables to values of their shapes."""
    scope = stateless.get()
    for variable, value in pairs:
        if scope is not None:
            scope.keep(variable)
        variable._value = value if isinstance(value, jax.Array) else jnp.asarray(value, variable.dtype)
        variable._lent = False


def pure(layer: Layer) -> Callable[..., tuple[Any, dict[str, jax.Array]]]:
    """A layer or model as a pure function: ``(params, state, *inputs, mode=, key=) -> (output, new_state)``.

    The function may be passed to jit, grad, vmap and scan. It has no default mode; ``key`` is needed where layers draw.
    Get ``params, state`` from ``verax.values(layer)`` and write them back with ``verax.load_values(layer, params,
    new_state)``. Penalties (``add_loss``, regularizers) are not in the output: see ``verax.frame.frame.call``.

    >>> import jax, jax.numpy as jnp, verax
    >>> layer = verax.layers.Dense(1, kernel_initializer="ones")
    >>> _ = layer(jnp.ones((1, 2)))
    >>> params, state = verax.values(layer)
    >>> loss = lambda p: verax.pure(layer)(p, state, jnp.ones((3, 2)), mode=verax.Mode.TRAIN)[0].sum()
    >>> jax.grad(loss)(params)["kernel"].tolist()
    [[3.0], [3.0]]
    """
    _check_built(layer)

    def apply(
        params: Mapping[str, jax.Array],
        state: Mapping[str, jax.Array],
        *args: Any,
        mode: ModeMap | Mode | str,
        key: jax.Array | None = None,
        **kwargs: Any,
    ) -> tuple[Any, dict[str, jax.Array]]:
        outcome = call(layer, params, state, args, kwargs, mode=ModeMap.of(mode), key=key)
        return outcome.output, outcome.state

    apply.__name__ = f"pure_{layer.name}"
    return apply


def _check_built(layer: Layer) -> None:
    for one, place in Tree.of(layer).layers.values():
        if not one.built:
            raise NotBuiltError(
                f"The weights of {layer.name!r} were asked for.",
                received=f"layer {place.path or one.name!r}, which is not built",
                because="its weights' shapes depend on an input it has not seen",
                do="Call it once on data or an Input, or call build(input_shape).",
            )
