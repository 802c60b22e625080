"""One training step: the gradient of ``observe``'s objective, and the optimizer's update."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from verax.errors import StateError
from verax.frame.mode import Mode, ModeMap

__all__ = ["Carry", "Constrained", "Pass", "Rule", "measure_step", "train_step"]


class Carry(NamedTuple):
    """What a step passes to the next.

    Attributes:
        params: path -> value, trainable.
        state: path -> value, not trainable.
        opt: The optimizer's state, learning rate included: changing it recompiles nothing.
        step: int32, how many steps were taken.
    """

    params: Mapping[str, jax.Array]
    state: Mapping[str, jax.Array]
    opt: Any
    step: jax.Array

    @classmethod
    def begin(cls, params: Mapping[str, jax.Array], state: Mapping[str, jax.Array], opt: Any, step: int = 0) -> Carry:
        """A carry at a given step."""
        return cls(params, state, opt, jnp.asarray(step, jnp.int32))


@dataclass(frozen=True)
class Pass:
    """``observe`` in one mode: what a training step differentiates, and what a measurement runs.

    Attributes:
        observe: (params, state, batch, mode=, key=) -> (objective, (new state, tallies)).
        mode: The mode of every layer.
    """

    observe: Callable[..., tuple[jax.Array, tuple[dict[str, jax.Array], Any]]]
    mode: ModeMap

    def __call__(
        self, params: Mapping[str, jax.Array], state: Mapping[str, jax.Array], batch: Any, *, key: jax.Array | None
    ) -> tuple[jax.Array, tuple[dict[str, jax.Array], Any]]:
        """The pass over one batch."""
        return self.observe(params, state, batch, mode=self.mode, key=key)


class Rule(Protocol):
    """An update rule: any optimizer of Verax."""

    def update(self, grads: Any, opt_state: Any, params: Any) -> tuple[Any, Any]:
        """(gradients, optimizer state, parameters) -> (new parameters, new optimizer state)."""
        ...


@dataclass(frozen=True)
class Constrained:
    """A rule after which some parameters are brought back to where they may be.

    Attributes:
        rule: The update rule.
        constraints: path -> function value -> value.
    """

    rule: Rule
    constraints: Mapping[str, Callable[[jax.Array], jax.Array]]

    def update(self, grads: Any, opt_state: Any, params: Any) -> tuple[Any, Any]:
        """The rule's update, then the constraints."""
        params, opt_state = self.rule.update(grads, opt_state, params)
        kept = {path: self.constraints[path](v) if path in self.constraints else v for path, v in params.items()}
        return kept, opt_state


def train_step(observe: Pass, rule: Rule, carry: Carry, batch: Any, *, key: jax.Array) -> tuple[Carry, Any]:
    """Take one step; the tallies were measured before the update.

    Raises:
        StateError: When the pass is an inference pass: parameters cannot be updated from INFER. (Layers may still run
            in inference mode in a training pass, by a mode map: ``fit(mode="infer")``.)
    """
    if observe.mode.default is not Mode.TRAIN:
        raise StateError(
            "Parameters were to be updated.",
            received=f"mode {observe.mode.default!r}",
            because="a pass in inference mode measures; it does not train",
            do="Use Mode.TRAIN, or a ModeMap with default TRAIN and layers in INFER.",
        )

    def objective(params: Mapping[str, jax.Array]) -> tuple[jax.Array, tuple[dict[str, jax.Array], Any]]:
        return observe(params, carry.state, batch, key=key)

    gradient = jax.value_and_grad(objective, has_aux=True)
    (_, (state, tallies)), grads = gradient(carry.params)
    params, opt = rule.update(grads, carry.opt, carry.params)
    return Carry(params, state, opt, carry.step + 1), tallies


def measure_step(observe: Pass, carry: Carry, batch: Any, *, key: jax.Array | None) -> tuple[Carry, Any]:
    """The same pass with nothing updated."""
    _, (_, tallies) = observe(carry.params, carry.state, batch, key=key)
    return carry, tallies
