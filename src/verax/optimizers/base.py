"""What every optimizer shares: the rate, clipping, decay, accumulation and averaging around its rule."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
import optax

from verax.errors import FrozenError, InputError
from verax.frame.registry import Registry
from verax.optimizers import schedules
from verax.optimizers.slots import Kept, OptimizerState
from verax.optimizers.transformations import (
    accumulate,
    average,
    average_of,
    clip_each_by_norm,
    decay_weights,
)

__all__ = ["Optimizer", "OptimizerState", "Options", "Rate", "UndecayedOptions", "optimizer_registry"]

optimizer_registry = Registry("optimizer")

Rate = float | schedules.LearningRateSchedule | Callable[[jax.Array], jax.Array]


class UndecayedOptions(TypedDict, total=False):
    """The keyword arguments of ``Optimizer`` that no rule has an argument for."""

    clipnorm: float | None
    clipvalue: float | None
    global_clipnorm: float | None
    use_ema: bool
    ema_momentum: float
    ema_overwrite_frequency: int | None
    loss_scale_factor: float | None
    gradient_accumulation_steps: int | None
    name: str | None


class Options(UndecayedOptions, total=False):
    """The keyword arguments every optimizer takes beside those of its rule; ``Optimizer`` describes them."""

    weight_decay: float | None


class Optimizer(Kept):
    """Turns gradients into changes of the parameters, step by step.

    An optimizer is a configuration; what changes while training is the state that ``init`` makes and ``update``
    returns. One step is, in this order: unscale, accumulate, clip, the rule with weight decay, average.

    A new optimizer is its rule: a subclass defines ``rule(learning_rate)``, which gives an optax transformation from
    gradients to changes. Its constructor arguments, kept as attributes of the same names, are its configuration.

    >>> class SignSGD(Optimizer):
    ...     def rule(self, learning_rate):
    ...         return optax.sign_sgd(learning_rate)
    >>> optimizer = SignSGD(learning_rate=0.5)
    >>> params = {"dense/kernel": jnp.array([1.0, 2.0])}
    >>> state = optimizer.init(params)
    >>> params, state = optimizer.update({"dense/kernel": jnp.array([0.1, -7.0])}, state, params)
    >>> params["dense/kernel"].tolist(), optimizer.iterations(state)
    ([0.5, 2.5], 1)

    Args:
        learning_rate: A number, a ``LearningRateSchedule``, or a function of the step (so optax's schedules too).
        weight_decay: λ of decoupled weight decay: each step also subtracts rate · λ · w. None for none.
        clipnorm: The largest Euclidean norm of each parameter's gradient; a longer one is scaled down.
        clipvalue: The largest absolute value of each element of a gradient.
        global_clipnorm: The largest norm of all gradients taken together. At most one of the three.
        use_ema: Keep an exponential moving average of the parameters; ``averaged(state)`` gives it.
        ema_momentum: The weight of the old average, 0 to 1. The first step sets the average to the parameters.
        ema_overwrite_frequency: Every so many steps, set the parameters to their average.
        loss_scale_factor: A number the loss is multiplied by before it is differentiated, and gradients are divided by
            before anything else: small ones survive a half-precision backward pass. ``LossScaleOptimizer`` finds it.
        gradient_accumulation_steps: Sum gradients over so many steps (2 or more), then apply their mean once.
        name: A name to report by; the class's in lower case otherwise.

    Raises:
        InputError: An argument outside of these.

    Differs from Keras: a callable learning rate takes the step, where Keras' takes nothing (one without an argument
    would be frozen by compilation); a clipping limit must be positive, where Keras ignores 0.
    """

    def __init__(
        self,
        learning_rate: Rate,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
    ):
        self._learning_rate = _checked_rate(learning_rate)
        self.weight_decay = weight_decay
        self.clipnorm, self.clipvalue, self.global_clipnorm = clipnorm, clipvalue, global_clipnorm
        self.use_ema, self.ema_momentum = use_ema, ema_momentum
        self.ema_overwrite_frequency = ema_overwrite_frequency
        self.loss_scale_factor = loss_scale_factor
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.name = name or type(self).__name__.lower()
        self._undecayed: list[str] = []
        self._check()

    def _check(self) -> None:
        limits = {k: getattr(self, k) for k in ("clipnorm", "clipvalue", "global_clipnorm")}
        given = {k: v for k, v in limits.items() if v is not None}
        if len(given) > 1 or any(v <= 0 for v in given.values()):
            raise InputError(
                "Gradients are clipped in one way: clipnorm, clipvalue or global_clipnorm.",
                received=", ".join(f"{k}={v}" for k, v in given.items()),
                do="Give one of them, positive.",
            )
        self._demand("weight_decay", self.weight_decay is None or self.weight_decay >= 0, "not negative, or None")
        self._demand("ema_momentum", 0 <= self.ema_momentum <= 1, "between 0 and 1")
        factor = self.loss_scale_factor
        self._demand("loss_scale_factor", factor is None or 0 < factor < math.inf, "positive and finite, or None")
        every, steps = self.ema_overwrite_frequency, self.gradient_accumulation_steps
        self._demand("ema_overwrite_frequency", every is None or every >= 1, "1 or more, or None")
        if every is not None and not self.use_ema:
            raise InputError(
                "ema_overwrite_frequency says when the average replaces the parameters.",
                received=f"ema_overwrite_frequency={every}, use_ema=False",
                because="no average is kept",
                do="Set use_ema=True.",
            )
        self._demand("gradient_accumulation_steps", steps is None or steps >= 2, "2 or more, or None")

    def _demand(self, argument: str, holds: bool, wanted: str) -> None:
        """Raise for a constructor argument that is not as it must be."""
        if not holds:
            raise InputError(
                f"{type(self).__name__}({argument}=...) is {wanted}.", received=repr(getattr(self, argument))
            )

    # The rule -------------------------------------------------------------------------------------------------------

    def rule(self, learning_rate: jax.Array) -> optax.GradientTransformation:
        """From gradients to changes of the parameters, at this rate (a float32 scalar, traced); a subclass's part."""
        raise NotImplementedError(f"{type(self).__name__} must define rule(learning_rate)")

    def transformation(self) -> optax.GradientTransformation:
        """The whole optimizer as an optax transformation, whose state is an ``OptimizerState``.

        The learning rate lives in the state, as with ``optax.inject_hyperparams``, so changing it never recompiles.
        The parameters are a flat dict, path -> array.

        >>> from verax.optimizers import SGD
        >>> tx = SGD(0.5).transformation()
        >>> state = tx.init({"w": jnp.array([1.0])})
        >>> changes, state = tx.update({"w": jnp.array([2.0])}, state, {"w": jnp.array([1.0])})
        >>> changes["w"].tolist(), float(state.hyperparams["learning_rate"])
        ([-1.0], 0.5)
        """

        def init(params: Any) -> OptimizerState:
            step = jnp.zeros((), jnp.int32)
            rate = self._rate_at(step, self._learning_rate)
            return OptimizerState(step, {"learning_rate": rate}, self._chain(rate).init(params))

        def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, OptimizerState]:
            rate = self._rate_at(state.step, state.hyperparams["learning_rate"])
            grads = jax.tree.map(lambda g, p: g.astype(p.dtype), updates, params)
            if self.loss_scale_factor is not None:
                grads = jax.tree.map(lambda g: g / self.loss_scale_factor, grads)
            changes, inner = self._chain(rate).update(grads, state.inner, params)
            return changes, OptimizerState(state.step + 1, {**state.hyperparams, "learning_rate": rate}, inner)

        return optax.GradientTransformation(init, update)

    def _chain(self, rate: jax.Array) -> optax.GradientTransformation:
        parts = [decay_weights(self.rule(rate), rate, self.decay_of)]
        if self.clipnorm is not None:
            parts.insert(0, clip_each_by_norm(self.clipnorm))
        if self.clipvalue is not None:
            parts.insert(0, optax.clip(self.clipvalue))
        if self.global_clipnorm is not None:
            parts.insert(0, optax.clip_by_global_norm(self.global_clipnorm))
        steps = self.gradient_accumulation_steps
        if steps is not None:
            parts = [accumulate(optax.chain(*parts), steps)]
        if self.use_ema:
            parts.append(average(self.ema_momentum, self.ema_overwrite_frequency, steps or 1))
        return optax.chain(*parts)

    def _rate_at(self, step: jax.Array, fixed: Any) -> jax.Array:
        rate = self._learning_rate(step) if callable(self._learning_rate) else fixed
        return jnp.asarray(rate).astype(jnp.float32)

    # Steps ----------------------------------------------------------------------------------------------------------

    def init(self, params: Mapping[str, jax.Array]) -> OptimizerState:
        """The state before the first step, for parameters path -> array of any shape."""
        state: Any = self.transformation().init(dict(params))
        return state

    def update(
        self, grads: Mapping[str, jax.Array], state: OptimizerState, params: Mapping[str, jax.Array]
    ) -> tuple[dict[str, jax.Array], OptimizerState]:
        """One step: the new parameters and the new state. Pure; for jit, scan and vmap.

        Args:
            grads: path -> the gradient, in the shape of its parameter.
            state: What ``init`` or the step before gave.
            params: path -> the parameter.

        Raises:
            InputError: Gradients and parameters that are not of the same paths.
        """
        if grads.keys() != params.keys():
            raise InputError(
                "A step needs one gradient for each parameter.",
                received=f"without a partner: {sorted(grads.keys() ^ params.keys())}",
                do="Pass gradients and parameters of the same paths.",
            )
        step: Any = self.transformation().update(dict(grads), state, dict(params))
        changes, after = step
        return {path: w + changes[path].astype(w.dtype) for path, w in params.items()}, after

    # The loss's scale -----------------------------------------------------------------------------------------------

    def scale_loss(self, loss: Any, state: OptimizerState) -> Any:
        """What to differentiate in place of ``loss``, a float32 scalar; ``update`` divides the gradients again.

        A ``train_step`` of one's own that takes the gradient itself needs it; ``fit`` calls it.

        >>> from verax.optimizers import SGD
        >>> optimizer = SGD(1.0, loss_scale_factor=8.0)
        >>> state = optimizer.init({"w": jnp.ones(())})
        >>> gradient = jax.grad(lambda w: optimizer.scale_loss(3.0 * w, state))(jnp.ones(()))
        >>> float(gradient), float(optimizer.update({"w": gradient}, state, {"w": jnp.ones(())})[0]["w"])
        (24.0, -2.0)
        """
        del state  # a fixed factor needs none
        return loss if self.loss_scale_factor is None else loss * self.loss_scale_factor

    def skipped(self, state: OptimizerState) -> int | jax.Array:
        """How many steps were asked for and not taken: none, unless a ``LossScaleOptimizer`` met an overflow."""
        del state
        return 0

    # The rate -------------------------------------------------------------------------------------------------------

    @property
    def learning_rate(self) -> Any:
        """The rate the next ``init`` starts from: a float, or the schedule.

        Setting a number, or a schedule in place of a number, is possible at any time; the rate of a state in use is
        changed by ``with_learning_rate``.

        Raises:
            FrozenError: Setting a number in place of a schedule.
        """
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Rate) -> None:
        if not callable(value):
            self._refuse_if_scheduled()
        self._learning_rate = _checked_rate(value)

    def with_learning_rate(self, state: OptimizerState, value: Any) -> OptimizerState:
        """``state`` with another learning rate: same shapes and dtypes, so nothing recompiles.

        Raises:
            FrozenError: The rate follows a schedule.

        >>> from verax.optimizers import SGD
        >>> optimizer = SGD(0.5)
        >>> state = optimizer.with_learning_rate(optimizer.init({"w": jnp.ones(2)}), 0.25)
        >>> optimizer.current_learning_rate(state)
        0.25
        """
        self._refuse_if_scheduled()
        # A number goes through NumPy: converting it in JAX would compile two programs for that.
        rate = value.astype(jnp.float32) if isinstance(value, jax.Array) else jax.device_put(np.float32(value))
        return state._replace(hyperparams={**state.hyperparams, "learning_rate": rate})

    def current_learning_rate(self, state: OptimizerState) -> float:
        """The rate of the next step."""
        return float(self._rate_at(state.step, state.hyperparams["learning_rate"]))

    def iterations(self, state: OptimizerState) -> int:
        """How many times the parameters were changed: calls of ``update``, divided by the accumulation steps."""
        return int(state.step) // (self.gradient_accumulation_steps or 1)

    def averaged(self, state: OptimizerState) -> dict[str, jax.Array] | None:
        """path -> the moving average of the parameter, zeros before the first step; None without ``use_ema``."""
        return average_of(state.inner) if self.use_ema else None

    def _refuse_if_scheduled(self) -> None:
        if callable(self._learning_rate):
            raise FrozenError(
                f"The learning rate of '{self.name}' was to be set.",
                because="it follows a schedule, which would overwrite it at the next step",
                do="Construct the optimizer with a number to set it later.",
            )

    # Weight decay ---------------------------------------------------------------------------------------------------

    def exclude_from_weight_decay(
        self, var_list: Iterable[Any] | None = None, var_names: Iterable[str] | None = None
    ) -> None:
        """Choose the parameters that do not decay; a further call replaces the choice.

        Args:
            var_list: Variables, or their paths.
            var_names: Regular expressions; a path in which one is found is excluded (``["bias", "norm"]``).

        Differs from Keras: expressions are searched in the whole path, not in the last name; the choice is part of
        the configuration, so a saved optimizer keeps it.

        >>> from verax.optimizers import AdamW
        >>> optimizer = AdamW()
        >>> optimizer.exclude_from_weight_decay(var_names=["bias"])
        >>> AdamW.from_config(optimizer.get_config()).get_config()["excluded_from_weight_decay"]
        ['bias']
        """
        paths = [v if isinstance(v, str) else v.path for v in var_list or ()]
        self._undecayed = [rf"^{re.escape(path)}$" for path in paths] + list(var_names or ())

    def decay_of(self, path: str, w: jax.Array) -> float | None:
        """λ of the parameter ``w`` at ``path``; None for none."""
        del w
        return self.weight_decay if self._decays(path) else None

    def _decays(self, path: str) -> bool:
        return not any(re.search(pattern, path) for pattern in self._undecayed)

    # Configuration --------------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments that make this optimizer again, with the current learning rate."""
        arguments = [p for cls in (type(self), Optimizer) for p in inspect.signature(cls).parameters.values()]
        config = {p.name: getattr(self, p.name) for p in arguments if p.kind is not p.VAR_KEYWORD}
        if callable(self._learning_rate):
            config["learning_rate"] = schedules.serialize(self._learning_rate)
        if self._undecayed:
            config["excluded_from_weight_decay"] = list(self._undecayed)
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Optimizer:
        """The optimizer of a configuration."""
        config = dict(config)
        undecayed = config.pop("excluded_from_weight_decay", ())
        if isinstance(config.get("learning_rate"), (Mapping, str)):
            config["learning_rate"] = schedules.deserialize(config["learning_rate"], custom_objects)
        optimizer = cls(**config)
        optimizer.exclude_from_weight_decay(var_names=undecayed)
        return optimizer


def _checked_rate(value: Any) -> Any:
    """A learning rate as it is stored: a float, or something that gives the rate of a step."""
    if callable(value):
        try:
            inspect.signature(value).bind(0)
        except ValueError:  # a builtin, which has no signature
            return value
        except TypeError:
            raise InputError(
                "A learning rate that is a function takes the step: an int32 scalar.",
                received=repr(value),
                because="a function without an argument would be called once, while compiling",
                do="Write lambda step: ..., or set optimizer.learning_rate to a number.",
            ) from None
        return value
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(
            "A learning rate is a number, a LearningRateSchedule, or a function of the step.", received=repr(value)
        ) from None
