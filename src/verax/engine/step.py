"""One training step: the gradient of ``observe``'s objective, and the optimizer's update."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from verax.errors import StateError
from verax.frame.mode import Mode, ModeMap

__all__ = ["Carry", "Constrained", "Pass", "Rule", "Scaling", "handed_on", "measure_step", "train_step"]


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
    step: jax.Array | np.ndarray[Any, Any]

    @classmethod
    def begin(cls, params: Mapping[str, jax.Array], state: Mapping[str, jax.Array], opt: Any, step: int = 0) -> Carry:
        """A carry at a given step."""
        return cls(params, state, opt, np.asarray(step, np.int32))


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


@runtime_checkable
class Scaling(Rule, Protocol):
    """A rule that wants the objective scaled before it is differentiated, and may refuse a step that overflowed.

    ``update`` takes the gradients of the scaled objective, and returns the parameters it was given when it refuses.
    """

    def scale_loss(self, loss: Any, opt_state: Any) -> Any:
        """The objective -> what to differentiate."""
        ...

    def skipped(self, opt_state: Any) -> int | jax.Array:
        """How many steps were refused so far; a number where none can be."""
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
        """The rule's update, then the constraints; a step that is refused ends in the parameters it began with."""
        changed, after = self.rule.update(grads, opt_state, params)
        kept = {path: constraint(changed[path]) for path, constraint in self.constraints.items()}
        return {**changed, **_if_taken(self, opt_state, after, kept, params)}, after

    def scale_loss(self, loss: Any, opt_state: Any) -> Any:
        """As the rule scales it."""
        return self.rule.scale_loss(loss, opt_state) if isinstance(self.rule, Scaling) else loss

    def skipped(self, opt_state: Any) -> int | jax.Array:
        """As the rule counts them."""
        return self.rule.skipped(opt_state) if isinstance(self.rule, Scaling) else 0


def _if_taken(
    rule: Rule, before: Any, after: Any, new: Mapping[str, jax.Array], old: Mapping[str, jax.Array]
) -> dict[str, jax.Array]:
    """``new``, or the same paths of ``old`` when the rule refused the step between two of its states."""
    taken = True if not isinstance(rule, Scaling) else rule.skipped(after) == rule.skipped(before)
    if isinstance(taken, bool):  # the rule refuses nothing
        return dict(new)
    return {path: jnp.where(taken, value, old[path]) for path, value in new.items()}


def train_step(observe: Pass, rule: Rule, carry: Carry, batch: Any, *, key: jax.Array) -> tuple[Carry, Any]:
    """Take one step; the tallies were measured before the update, of the objective as it is.

    A rule with ``scale_loss`` is given the gradients of the scaled objective. When it refuses the step, the next carry
    has this one's parameters and state: what layers assigned in a pass that overflowed is not kept.

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
        value, left = observe(params, carry.state, batch, key=key)
        return rule.scale_loss(value, carry.opt) if isinstance(rule, Scaling) else value, left

    gradient = jax.value_and_grad(objective, has_aux=True)
    (_, (state, tallies)), grads = gradient(carry.params)
    params, opt = rule.update(grads, carry.opt, carry.params)
    state = _if_taken(rule, carry.opt, opt, state, carry.state)
    return Carry(params, state, opt, carry.step + 1), tallies


def measure_step(
    observe: Pass, carry: Carry, batch: Any, *, key: jax.Array | None, carried: Collection[str] = ()
) -> tuple[Carry, Any]:
    """The same pass with nothing updated, but what belongs to the rows: the paths ``carried`` from batch to batch."""
    _, (state, tallies) = observe(carry.params, carry.state, batch, key=key)
    return carry._replace(state=handed_on(carry.state, state, carried)), tallies


def handed_on(
    before: Mapping[str, jax.Array], after: Mapping[str, jax.Array], carried: Collection[str]
) -> dict[str, jax.Array]:
    """The state for the next batch of a pass that measures: as before, but for the paths ``carried``."""
    return {**before, **{path: after[path] for path in carried}}
