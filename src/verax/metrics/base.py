"""What every metric is: sums that add up over any split of the rows, and what to make of them at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp

from verax.frame.registry import snake_case
from verax.ledger.tally import Tally, fold
from verax.losses.base import Arguments, Loss, at_least_float32, config_of, spread

__all__ = ["FunctionMetric", "LossMetric", "Mean", "MeanMetricWrapper", "Metric", "Sum"]


class Metric:
    """Base of all metrics: subclass it and write ``tally``, and ``finish`` where the result is not the tally's mean.

    ``tally`` is traced by JAX and must be additive: the tallies of two groups of rows, added field by field, are the
    tally of both. Then no way of cutting the rows into batches changes the result.

    Args:
        name: Key under which the metric is reported; None for the class name in snake case.
        dtype: dtype the sums of a batch are made in; None for that of the data, and float32 at least. Batches are
            added in float64 on the host.

    Attributes:
        direction: ``"max"`` or ``"min"``: what better means; None where nobody can say.
        link: ``"sigmoid"`` or ``"softmax"`` where ``tally_from_link(y_true, logits, sample_weight)`` exists; else None.
        on_logits: The constructor arguments that make a metric known by name right for predictions that are logits.

    >>> class LargestError(Metric):
    ...     def tally(self, y_true, y_pred, sample_weight=None):
    ...         return Tally.of(jnp.max(jnp.abs(y_true - y_pred), axis=-1), sample_weight)
    >>> LargestError()(jnp.zeros((2, 2)), jnp.array([[1.0, 2.0], [0.0, 5.0]]))
    3.5
    """

    direction: str | None = None
    on_logits: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, name: str | None = None, dtype: Any = None):
        self.name = name or snake_case(type(self).__name__)
        self.dtype = None if dtype is None else jnp.dtype(dtype).name
        self._sums: Any = None

    @property
    def link(self) -> str | None:
        return None

    def cast(self, x: Any) -> jax.Array:
        """``x`` in the dtype of this metric."""
        return at_least_float32(x) if self.dtype is None else jnp.asarray(x).astype(self.dtype)

    def tally(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The sums of a group of rows: a :class:`Tally`, or a dict of arrays.

        Args:
            y_true, y_pred: (batch, ...) targets and predictions.
            sample_weight: (batch,), (batch, 1) or in the shape of the values; None for 1. Weight 0 leaves a row out.
        """
        raise NotImplementedError(
            f"{type(self).__name__} needs a method tally(y_true, y_pred, sample_weight) that returns additive sums "
            "(in the place of Keras' add_weight and update_state)."
        )

    def finish(self, sums: Any) -> Any:
        """The value, from tallies added in float64: for a :class:`Tally` its mean, 0.0 where nothing was weighed."""
        return sums.mean if sums.weight else 0.0

    # -- Keras' way of using a metric by hand

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add the rows of one batch."""
        self._add(self.tally(y_true, y_pred, sample_weight))

    def _add(self, sums: Any) -> None:
        self._sums = fold([sums] if self._sums is None else [self._sums, sums])

    def result(self) -> Any:
        """The value over all rows since ``reset_state``; 0.0 before the first.

        Returns:
            A float, or an array where the metric has several values.
        """
        return 0.0 if self._sums is None else self.finish(self._sums)

    def reset_state(self) -> None:
        """Forget all rows."""
        self._sums = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """``update_state``, then ``result``."""
        self.update_state(*args, **kwargs)
        return self.result()

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments."""
        return config_of(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Metric:
        """The metric of a configuration made by ``get_config``."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} '{self.name}'>"


class Mean(Metric):
    """Σ w·v / Σ w of given values: ``update_state(values, sample_weight=None)``.

    Values are (rows, *axes) or a single number; weights are spread over them. Nothing weighed gives 0.0.

    >>> mean = Mean()
    >>> mean([1.0, 3.0]), mean(5.0)
    (2.0, 3.0)
    """

    def tally(self, values: Any, sample_weight: Any = None) -> Tally:  # type: ignore[override]
        values = jnp.atleast_1d(self.cast(values))
        return Tally.of(values, None if sample_weight is None else spread(sample_weight, values))

    def update_state(self, values: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        """Add values."""
        self._add(self.tally(values, sample_weight))


class Sum(Mean):
    """Σ w·v of given values: ``update_state(values, sample_weight=None)``.

    >>> Sum()([1.0, 3.0], sample_weight=[1.0, 2.0])
    7.0
    """

    def finish(self, sums: Tally) -> float:
        return float(sums.sum)


class MeanMetricWrapper(Metric):
    """The weighted mean Σ w·v / Σ w of v = ``fn(y_true, y_pred, **arguments)``; 0.0 where nothing was weighed.

    Args:
        fn: A function that returns (batch, ...) values, or a scalar for the whole batch; or a loss of Verax.
        name, dtype: As in :class:`Metric`; the name defaults to that of ``fn``.
        **arguments: Passed to ``fn`` at every call.

    Differs from Keras: a scalar counts once for every row of its batch, Keras counts it once a batch; rows of an
    ignored class never count, Keras counts them where no ``sample_weight`` is given.

    >>> MeanMetricWrapper(lambda t, p: jnp.abs(t - p), name="gap")(jnp.zeros(2), jnp.array([1.0, 3.0]), [3.0, 1.0])
    1.5
    """

    def __init__(self, fn: Callable[..., Any], name: str | None = None, dtype: Any = None, **arguments: Any):
        is_loss = isinstance(fn, Loss)
        super().__init__(name or getattr(fn, "name" if is_loss else "__name__", type(fn).__name__), dtype)
        self.fn = fn
        self.arguments = arguments
        if is_loss:
            self.direction = "min"

    @property
    def link(self) -> str | None:
        return self.fn.link if isinstance(self.fn, Loss) else None

    def tally(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tally:
        if isinstance(self.fn, Loss):
            return self._tally(self.fn.per_example(y_true, y_pred), sample_weight, self.fn.counted(y_true))
        values = jnp.asarray(self.fn(y_true, y_pred, **self.arguments))
        return self._tally(values if values.ndim else jnp.broadcast_to(values, jnp.shape(y_pred)[:1]), sample_weight)

    def tally_from_link(self, y_true: Any, logits: Any, sample_weight: Any = None) -> Tally:
        """The true tally, from the logits behind the prediction: see :meth:`verax.losses.Loss.from_link`."""
        loss = cast("Loss", self.fn)
        return self._tally(loss.from_link(y_true, logits), sample_weight, loss.counted(y_true))

    def _tally(self, values: jax.Array, sample_weight: Any, counted: jax.Array | None = None) -> Tally:
        values = self.cast(values)
        weights = None if sample_weight is None else spread(sample_weight, values)
        if counted is not None:
            kept = spread(counted, values)
            weights = kept if weights is None else weights * kept
        return Tally.of(values, weights)

    def get_config(self) -> dict[str, Any]:
        return {"fn": self.fn, "name": self.name, "dtype": self.dtype, **self.arguments}


class FunctionMetric(Arguments, MeanMetricWrapper):
    """A mean of Verax's own: a subclass names its ``function`` and repeats that function's arguments."""

    function: Callable[..., jax.Array]

    def __init__(self, name: str | None = None, dtype: Any = None, **arguments: Any):
        super().__init__(type(self).function, name or snake_case(type(self).__name__), dtype, **arguments)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, **self.arguments}


class LossMetric(Arguments, MeanMetricWrapper):
    """The weighted mean of a loss of Verax's own: a subclass names its ``loss`` and repeats that loss' arguments."""

    loss: type[Loss]

    def __init__(self, name: str | None = None, dtype: Any = None, **arguments: Any):
        super().__init__(type(self).loss(**arguments), name or snake_case(type(self).__name__), dtype)
        self.arguments = arguments

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, **self.arguments}
