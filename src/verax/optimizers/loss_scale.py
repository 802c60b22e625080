"""Loss scaling: training in float16 without losing small gradients or taking a step that overflowed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from verax.errors import DataError, InputError
from verax.optimizers.base import Optimizer, OptimizerState, Rate, optimizer_registry
from verax.optimizers.slots import Group, Slot, within

__all__ = ["LossScaleOptimizer", "LossScaleState"]


class LossScaleState(NamedTuple):
    """What loss scaling keeps; it stands in ``OptimizerState.inner``, around the inner optimizer's own.

    Attributes:
        scale: float32, what the next loss is multiplied by.
        finite_steps: int32, steps taken since the scale last changed.
        skipped: int32, steps not taken so far.
        inner: ``OptimizerState.inner`` of the inner optimizer.
    """

    scale: jax.Array
    finite_steps: jax.Array
    skipped: jax.Array
    inner: Any


class LossScaleOptimizer(Optimizer):
    """Trains by the inner optimizer on a scaled loss, at the largest scale whose gradients stay finite.

    With S the scale, g the gradient of S · loss and n the steps taken since S last changed:

        all of g finite:  the inner optimizer steps by g / S;  n ← n + 1
        otherwise:        nothing steps;  S ← S / 2;  n ← 0
        at n = ``dynamic_growth_steps``:  S ← 2 S;  n ← 0

    float16 holds no positive number under 6e-8, so that small gradients of an unscaled loss become 0 on their way back.
    A step that is not taken leaves parameters, the inner optimizer's state and its iterations, and what layers would
    have assigned (moving averages) exactly as they were. Gradients are unscaled before they are clipped or accumulated.
    S is a power of two times ``initial_scale``, so that scaling itself rounds nothing. Losses are reported unscaled.

    ``compile`` wraps the optimizer of a ``mixed_float16`` model by itself.

    >>> from verax.optimizers import SGD
    >>> optimizer = LossScaleOptimizer(SGD(0.5), initial_scale=4.0)
    >>> params = {"w": jnp.ones(2)}
    >>> state = optimizer.init(params)
    >>> params, state = optimizer.update({"w": jnp.array([4.0, jnp.inf])}, state, params)
    >>> params["w"].tolist(), optimizer.loss_scale(state), optimizer.iterations(state)
    ([1.0, 1.0], 2.0, 0)
    >>> params, state = optimizer.update({"w": jnp.array([4.0, 2.0])}, state, params)  # of twice the loss
    >>> params["w"].tolist(), optimizer.iterations(state), int(optimizer.skipped(state))
    ([0.0, 0.5], 1, 1)

    Args:
        inner_optimizer: The optimizer that takes the steps; its rate, clipping and averages are set there.
        initial_scale: S at the start. Too high costs a few steps that are not taken; too low costs many to grow.
        dynamic_growth_steps: After how many steps in a row S doubles.
        name: As in ``Optimizer``.

    Raises:
        InputError: An argument outside of these, or an inner optimizer that scales already.

    Source: Micikevicius et al., 2018, https://arxiv.org/abs/1710.03740, section 3.2; the rule is Keras 3's.

    Differs from Keras: what layers assign in a step that is not taken is dropped, where Keras lets an overflow enter
    the moving averages; S stays a positive finite float32, where Keras' can reach 0 or infinity and stay there; an
    inner Nadam carries its product of momenta from step to step, where Keras' begins it anew at each.
    """

    def __init__(
        self,
        inner_optimizer: Optimizer,
        initial_scale: float = 2.0**15,
        dynamic_growth_steps: int = 2000,
        name: str | None = None,
        **options: Any,
    ):
        for argument in options:
            raise InputError(
                f"LossScaleOptimizer({argument}=...) was given.",
                received=repr(options[argument]),
                because="it belongs to the optimizer that takes the steps",
                do=f"Set it there: LossScaleOptimizer(Adam({argument}=...)).",
            )
        if not isinstance(inner_optimizer, Optimizer):
            raise InputError(
                "LossScaleOptimizer(inner_optimizer=...) is the optimizer that takes the steps.",
                received=f"{inner_optimizer!r} of type {type(inner_optimizer).__name__}",
                do="Give an Optimizer: LossScaleOptimizer(Adam(1e-3)).",
            )
        if isinstance(inner_optimizer, LossScaleOptimizer) or inner_optimizer.loss_scale_factor is not None:
            raise InputError(
                "LossScaleOptimizer(inner_optimizer=...) was given.",
                received=f"{type(inner_optimizer).__name__} with loss_scale_factor={inner_optimizer.loss_scale_factor}",
                because="it scales the loss already, which would be scaled twice",
                do="Use one of the two.",
            )
        super().__init__(learning_rate=0.0, name=name or "loss_scale_optimizer")
        self.inner_optimizer = inner_optimizer
        self.initial_scale = initial_scale
        self.dynamic_growth_steps = dynamic_growth_steps
        self._demand("initial_scale", 0 < initial_scale < math.inf, "positive and finite")
        self._demand("dynamic_growth_steps", dynamic_growth_steps >= 1, "1 or more")

    # The step -------------------------------------------------------------------------------------------------------

    def transformation(self) -> optax.GradientTransformation:
        """The whole optimizer as an optax transformation: from gradients of the scaled loss to changes."""
        within = self.inner_optimizer.transformation()

        def init(params: Any) -> OptimizerState:
            state: Any = within.init(params)
            scale = jnp.asarray(self.initial_scale, jnp.float32)
            # Two arrays for two counts: a loop may take over the memory of each.
            taken, skipped = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
            return state._replace(inner=LossScaleState(scale, taken, skipped, state.inner))

        def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, OptimizerState]:
            scaling: LossScaleState = state.inner
            finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(updates)]))
            grads = jax.tree.map(lambda g: g.astype(jnp.float32) / scaling.scale, updates)
            before = state._replace(inner=scaling.inner)
            step: Any = within.update(grads, before, params)
            changes, after = step
            # A parameter plus −0 is itself to the last bit, −0 included; plus 0 it is not.
            changes = jax.tree.map(lambda c: jnp.where(finite, c, jnp.asarray(-0.0, c.dtype)), changes)
            after = jax.tree.map(lambda new, old: jnp.where(finite, new, old), after, before)
            return changes, after._replace(inner=self._follow(scaling, finite)._replace(inner=after.inner))

        return optax.GradientTransformation(init, update)

    def _follow(self, scaling: LossScaleState, finite: jax.Array) -> LossScaleState:
        """The scale and its counts after a step whose gradients were all finite, or not."""
        steps = scaling.finite_steps + 1
        grows = finite & (steps == self.dynamic_growth_steps)
        moved = scaling.scale * jnp.where(finite, jnp.where(grows, 2.0, 1.0), 0.5)
        stays = jnp.isfinite(moved) & (moved >= jnp.finfo(jnp.float32).tiny)
        return scaling._replace(
            scale=jnp.where(stays, moved, scaling.scale),
            finite_steps=jnp.where(finite & ~grows, steps, 0),
            skipped=scaling.skipped + (~finite).astype(jnp.int32),
        )

    def scale_loss(self, loss: Any, state: OptimizerState | None = None) -> Any:
        """S · loss, to be differentiated; with ``initial_scale`` where no state is given."""
        return loss * (self.initial_scale if state is None else state.inner.scale)

    def loss_scale(self, state: OptimizerState) -> float:
        """S, at which the next loss is differentiated."""
        return float(state.inner.scale)

    def skipped(self, state: OptimizerState) -> int | jax.Array:
        """How many steps were not taken, int32."""
        return state.inner.skipped

    # What the inner optimizer answers -------------------------------------------------------------------------------

    @property
    def learning_rate(self) -> Any:
        """The inner optimizer's."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Rate) -> None:
        self.inner_optimizer.learning_rate = value

    def with_learning_rate(self, state: OptimizerState, value: Any) -> OptimizerState:
        """``state`` with another learning rate of the inner optimizer."""
        return self.inner_optimizer.with_learning_rate(state, value)

    def current_learning_rate(self, state: OptimizerState) -> float:
        """The rate of the inner optimizer's next step."""
        return self.inner_optimizer.current_learning_rate(state)

    def iterations(self, state: OptimizerState) -> int:
        """How many times the parameters were changed; steps that were not taken do not count."""
        return self.inner_optimizer.iterations(state)

    def averaged(self, state: OptimizerState) -> dict[str, jax.Array] | None:
        """The moving averages the inner optimizer keeps."""
        return self.inner_optimizer.averaged(state._replace(inner=state.inner.inner))

    def exclude_from_weight_decay(
        self, var_list: Iterable[Any] | None = None, var_names: Iterable[str] | None = None
    ) -> None:
        """Choose the parameters that do not decay, in the inner optimizer."""
        self.inner_optimizer.exclude_from_weight_decay(var_list, var_names)

    # The form of Keras' files ---------------------------------------------------------------------------------------

    def _slots(self, state: OptimizerState, order: list[str], tracked: bool = True) -> list[Slot]:
        """The scale and its count, after an iteration and a rate that Keras keeps and does not use; the inner slots."""
        del tracked
        scaling, unused = state.inner, (jnp.zeros((), jnp.int32), jnp.zeros((), jnp.float32))
        values = (*unused, scaling.finite_steps, scaling.scale)
        names = ("iteration", "learning_rate", "step_counter", "dynamic_scale")
        own = [Slot(value, name, owner=self.name) for value, name in zip(values, names, strict=True)]
        return own + self.inner_optimizer._slots(state._replace(inner=scaling.inner), order, tracked=False)

    def _groups(self, state: OptimizerState, order: list[str], tracked: bool) -> Iterator[Group]:
        yield from super()._groups(state, order, tracked)
        inner = self.inner_optimizer._groups(state._replace(inner=state.inner.inner), order, False)
        yield from within("inner_optimizer", inner)

    def _restored(
        self, values: Iterator[np.ndarray], like: OptimizerState, order: list[str], tracked: bool
    ) -> OptimizerState:
        _, _, counter, scale = (next(values) for _ in range(4))
        if not 0 < float(scale) < math.inf:
            raise DataError(
                f"The state of the optimizer {self.name!r} was to be restored.",
                received=f"a loss scale of {scale}",
                because="no step can be taken at it, or ever will",
                do="Compile again, to begin with a new state.",
            )
        state = self.inner_optimizer._restored(values, like._replace(inner=like.inner.inner), order, False)
        count, skipped = jnp.array(counter), jnp.zeros((), jnp.int32)
        return state._replace(inner=LossScaleState(jnp.array(scale), count, skipped, state.inner))

    # Configuration --------------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments, with the inner optimizer's configuration."""
        return {
            "name": self.name,
            "inner_optimizer": optimizer_registry.serialize(self.inner_optimizer),
            "initial_scale": self.initial_scale,
            "dynamic_growth_steps": self.dynamic_growth_steps,
        }

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> LossScaleOptimizer:
        """The optimizer of a configuration."""
        inner: Any = optimizer_registry.deserialize(config["inner_optimizer"], custom_objects)
        return cls(inner, **{k: v for k, v in config.items() if k != "inner_optimizer"})
