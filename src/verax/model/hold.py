"""Between a model and the loop that trains it: its values go into a carry, and come back after every chunk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from verax.engine.step import Carry
from verax.frame.placement import kept, put
from verax.frame.tree import Tree
from verax.frame.variable import Variable
from verax.model.compile import Compiled

if TYPE_CHECKING:
    from verax.model.learner import Learner

__all__ = ["Hold", "kept_in_place"]

#: A model of so many bytes is trained in the memory it is in.
_LARGE = 16 << 20


def kept_in_place(after: tuple[Carry, Any], carry: Carry) -> tuple[Carry, Any]:
    """Inside a step: what it leaves stays on the devices where a distribution has put the carry it began with."""
    return kept(after[0], _shapes(carry.params, carry.state)), after[1]


def _shapes(params: Mapping[str, jax.Array], state: Mapping[str, jax.Array]) -> dict[str, tuple[int, ...]]:
    return {path: value.shape for path, value in (*params.items(), *state.items())}


class Hold:
    """One epoch's hold on a model.

    A large carry is used up: each chunk writes into the memory of the one before, so that no second copy of parameters
    and optimizer state is needed. At the begin of an epoch the model goes over to a copy, array by array, and what
    nobody else holds is freed; until its end the variables lend out copies, so that nobody is left with an array whose
    memory was used. The last arrays are the model's, and stay.

    Args:
        model, compiled: What is trained.
        uses_up: Whether chunks may use up their carry; a small one they leave.
    """

    def __init__(self, model: Learner, compiled: Compiled, *, uses_up: bool):
        self.model = model
        self.compiled = compiled
        self.tree = Tree.of(model)
        size = sum(variable._value.nbytes for variable, _ in self.tree.variables.values())
        self.uses_up = uses_up and size >= _LARGE and not compiled.run_eagerly
        self._variables: dict[str, Variable] = {}

    def look(self) -> None:
        """Walk the model again: a callback may have set weights or frozen layers."""
        self.tree = Tree.of(self.model)

    def begin(self) -> Carry:
        """The carry to go on from."""
        tree = self.tree
        self._variables = {place.path: variable for variable, place in tree.variables.values()}
        params = {path: variable._value for path, variable in tree.params().items()}
        state = {path: variable._value for path, variable in tree.state().items()}
        compiled, optimizer = self.compiled, self.compiled.optimizer
        rate = optimizer.learning_rate
        if compiled.opt_state is None or compiled.trained != frozenset(params):
            compiled.opt_state = jax.jit(optimizer.init)(params)  # one program, not one for each shape
            compiled.trained = frozenset(params)
        elif not callable(rate) and rate != compiled.rate:
            compiled.opt_state = optimizer.with_learning_rate(compiled.opt_state, rate)
        compiled.rate = rate
        params, state, opt = put((params, state, compiled.opt_state), _shapes(params, state))
        if self.uses_up:
            arrays, form = jax.tree.flatten(opt)
            compiled.opt_state = opt = None
            try:
                for i in range(len(arrays)):
                    arrays[i] = jnp.copy(arrays[i])
            finally:
                compiled.opt_state = opt = jax.tree.unflatten(form, arrays)
            for values in (params, state):
                for path in values:
                    variable = self._variables[path]
                    values[path] = variable._value = jnp.copy(values[path])
                    variable._lent = True
        return Carry.begin(params, state, opt, compiled.steps)

    def keep(self, carry: Carry) -> None:
        """Give the model the values of a carry."""
        for path, value in (*carry.params.items(), *carry.state.items()):
            variable = self._variables[path]
            variable._value, variable._lent = value, self.uses_up
        self.compiled.opt_state = carry.opt

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *error: Any) -> None:
        for variable in self._variables.values():
            variable._lent = False
