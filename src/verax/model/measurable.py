"""Measurable: a layer that can be measured on rows, explained, and asked for its outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax

from verax.callbacks import CallbackList, History, ProgressLine
from verax.data import make_source
from verax.errors import StateError
from verax.frame.frame import call, load_values, values
from verax.frame.graph import Graph
from verax.frame.mode import Mode, ModeMap
from verax.frame.seeds import next_key
from verax.frame.symbolic import SymbolicTensor, infer_spec
from verax.frame.tree import Tree
from verax.layers import Layer
from verax.ledger.chain import Gap
from verax.ledger.reading import Reading
from verax.model import explaining, fitting, passes, population
from verax.model.arguments import limited_steps, verbosity
from verax.model.compile import Compiled, check_resident, require_compiled
from verax.model.resuming import Run
from verax.model.structure import Outputs, outputs_of, signature_of

__all__ = ["Measurable"]


@dataclass
class _Trained:
    """What a model has beside its layers."""

    graph: Graph | None = None
    compiled: Compiled | None = None
    history: History | None = None
    stop_training: bool = False
    inputs: Any = None  # symbolic tensors of the inputs it was built for
    built_with: Any = None  # the shape it was built for in a call
    outputs: Outputs | None = None
    prepared: Any = None  # the signature of the inputs ``outputs`` was found for
    programs: dict[Any, Any] = field(default_factory=dict)
    raw: dict[str, Any] | None = None  # the weights as trained, while averaged ones stand in their place
    run: Run | None = None  # the fit that is running


class Measurable(Layer):
    """What a model can do with rows without learning from them; ``Learner`` adds the rest."""

    _model: _Trained
    _apart: ClassVar[frozenset[str]] = frozenset({"_core", "_model"})
    #: The layers of a model that is nothing but those, one after another.
    _in_a_row: list[Layer] | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        model = super().__new__(cls, *args, **kwargs)
        object.__setattr__(model, "_model", _Trained())
        return model

    @property
    def compiled(self) -> bool:
        """Whether ``compile`` was called."""
        return self._model.compiled is not None

    @property
    def programs(self) -> dict[Any, Any]:
        """The compiled programs."""
        return self._model.programs

    # ---- to be measured and asked --------------------------------------------------------------------------------

    def measure(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        sample_weight: Any = None,
        steps: int | None = None,
        *,
        mode: Any = "infer",
        check_finite: bool = False,
        callbacks: CallbackList | None = None,
    ) -> dict[str, Reading]:
        """Measure losses and metrics on data: name -> Reading. ``evaluate`` returns their values.

        Args:
            x, y, batch_size, sample_weight, check_finite: As in ``fit``.
            steps: At most this many batches.
            mode: "infer", "train", or a dict by effect or layer path. Nothing is updated in any.
        """
        compiled = require_compiled(self._model.compiled, self, "evaluate")
        steps = limited_steps(steps)
        source = make_source(
            x, y, sample_weight, batch_size=batch_size, label="rows", check_finite=check_finite, steps=steps
        )
        outputs = self.prepare(passes.symbolic_of(source.spec.x, SymbolicTensor))
        check_resident(compiled.objective(self, outputs, source.spec.y), outputs, source)
        modes = ModeMap.of(mode) if not isinstance(mode, Mapping) else ModeMap.of(mode, default=Mode.INFER)
        modes.check_paths(place.path for _, place in Tree.of(self).layers.values())
        found = passes.measure(
            self,
            compiled,
            source,
            outputs,
            modes=modes,
            key=next_key("measuring"),
            weights=fitting.weights_fact(source, sample_weight, None),
            steps=steps,
            callbacks=callbacks,
        )
        return found.readings

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        *,
        mode: Any = "infer",
        check_finite: bool = False,
    ) -> Any:
        """The loss, or ``[loss, *metrics]``, of data; with ``return_dict`` by name. See ``measure`` for the arguments.

        Differs from Keras: the value does not depend on the batch size, masks and weights included.
        """
        listed = self._callbacks(callbacks, verbose, steps)
        progress = listed.find(ProgressLine)
        try:
            readings = self.measure(
                x, y, batch_size, sample_weight, steps, mode=mode, check_finite=check_finite, callbacks=listed
            )
        finally:
            if progress is not None:
                progress.close()
        found = {name: reading.value for name, reading in readings.items()}
        if return_dict:
            return found
        numbers = list(found.values())
        return numbers[0] if len(numbers) == 1 else numbers

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """The model's outputs for x, batch by batch, in inference mode: NumPy arrays in the structure it returns."""
        steps = limited_steps(steps)
        source = make_source(x, batch_size=batch_size, label="rows", steps=steps)
        self.prepare(passes.symbolic_of(source.spec.x, SymbolicTensor))
        listed = self._callbacks(callbacks, verbose, source.steps if steps is None else steps)
        progress = listed.find(ProgressLine)
        try:
            eager = self._model.compiled is not None and self._model.compiled.run_eagerly
            return passes.predict(
                self, source, modes=passes.INFER, key=next_key("measuring"), steps=steps, callbacks=listed, eager=eager
            )
        finally:
            if progress is not None:
                progress.close()

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Measure one batch in inference mode."""
        rows = len(jax.tree.leaves(x)[0])
        return self.evaluate(x, y, batch_size=rows, sample_weight=sample_weight, verbose=0, return_dict=return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs of one batch in inference mode."""
        return self.predict(x, batch_size=len(jax.tree.leaves(x)[0]), verbose=0)

    @property
    def metrics_names(self) -> list[str]:
        """The names of what ``evaluate`` returns; empty until something was measured."""
        compiled = self._model.compiled
        if compiled is None or not compiled.objectives:
            return []
        objective = list(compiled.objectives.values())[-1]
        several = [f"{t.name}_loss" for t in objective.terms] if len(objective.terms) > 1 else []
        return ["loss", *several, *(m.name for m in objective.meters)]

    def explain(
        self,
        x: Any,
        y: Any = None,
        *,
        validation_data: Any,
        metric: str = "loss",
        batch_size: int | None = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        mode: Any = "train",
        rows: int | None = None,
    ) -> Gap:
        """Why a number differs between training rows in training mode and validation rows, at the weights of now.

        It is ``history.gap`` without having trained here.

        Args:
            x, y, sample_weight, class_weight: The training rows.
            validation_data: (x, y) or (x, y, sample_weight), measured in inference mode.
            metric: The number: "loss", or a metric's name.
            batch_size: Rows in a batch, as they were or would be trained.
            mode: The mode of the training rows' pass, as in ``fit``.
            rows: How many training rows to measure for the causes between; all when None.

        >>> import numpy as np, verax
        >>> verax.utils.set_random_seed(0)
        >>> model = verax.Sequential([verax.Input((3,)), verax.layers.Dropout(0.5), verax.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x, y = np.ones((64, 3)), np.ones(64)
        >>> gap = model.explain(x, y, validation_data=(x, y))
        >>> [link.cause.name for link in gap.links]
        ['DROPOUT', 'ROWS']
        """
        return explaining.explain_now(
            self,
            require_compiled(self._model.compiled, self, "explain"),
            make_source(x, y, sample_weight, batch_size=batch_size, class_weight=class_weight, label="training rows"),
            validation_data,
            metric=metric,
            modes=ModeMap.of(mode, default=Mode.TRAIN),
            weights=(sample_weight is not None, class_weight is not None),
            rows=rows,
        )

    def swap_averaged_weights(self) -> None:
        """Exchange the weights for the moving average the optimizer keeps (``use_ema=True``), or back again.

        Raises:
            StateError: The optimizer keeps no average, or has taken no step.
        """
        made = self._model
        if made.raw is not None:
            load_values(self, made.raw)
            made.raw = None
            return
        compiled = require_compiled(made.compiled, self, "swap_averaged_weights")
        averaged = None if compiled.opt_state is None else compiled.optimizer.averaged(compiled.opt_state)
        if averaged is None:
            raise StateError(
                f"The averaged weights of {self.name!r} were asked for.",
                because="no step was taken" if compiled.opt_state is None else "its optimizer keeps no average",
                do="Compile with an optimizer that has use_ema=True, and fit.",
            )
        made.raw = values(self)[0]
        load_values(self, averaged)

    def recalibrate(self, x: Any, batch_size: int | None = None) -> None:
        """Set the moving averages of batch normalization to the population's, at the weights of now.

        Each average becomes Σ rows · (its batch's value) / Σ rows over ``x``: what it would converge to if the weights
        stood still. Dropout and noise are off, as where the averages are used. This cures moving averages that lag.

        Args:
            x: The training inputs, or batches of them.
            batch_size: Rows in a batch; as trained, for a batch's variance depends on its size.

        >>> import numpy as np, verax
        >>> model = verax.Sequential([verax.Input((1,)), verax.layers.BatchNormalization()])
        >>> model.recalibrate(np.array([[1.0], [3.0]]))
        >>> model.layers[0].moving_mean.numpy().tolist()
        [2.0]
        """
        source = make_source(x, batch_size=batch_size, label="rows")
        self.prepare(passes.symbolic_of(source.spec.x, SymbolicTensor))
        population.recalibrate(self, source)

    # ---- for the rooms of this floor -----------------------------------------------------------------------------

    def prepare(self, inputs: Any) -> Outputs:
        """Build the model for symbolic inputs, if need be, and tell what it returns."""
        made = self._model
        if made.outputs is None or not self._fits(inputs):
            structure = infer_spec(self, (inputs,), {})
            if made.graph is None:
                made.inputs = inputs
            made.outputs = outputs_of(self, made.graph, structure)
            made.prepared = signature_of(inputs)
        return made.outputs

    def forward(self, modes: ModeMap) -> Callable[..., Any]:
        """(params, state, inputs, key) -> (output, state after the pass), in these modes."""

        def run(params: Any, state: Any, x: Any, key: Any) -> tuple[Any, Any]:
            outcome = call(self, params, state, (x,), mode=modes, key=key)
            return outcome.output, outcome.state

        return run

    def _fits(self, inputs: Any) -> bool:
        return self._model.prepared == signature_of(inputs)

    def _callbacks(self, callbacks: Any, verbose: str | int, steps: int | None) -> CallbackList:
        if isinstance(callbacks, CallbackList):
            return callbacks
        level = verbosity(verbose)
        listed = CallbackList([*fitting.flat(callbacks), *([ProgressLine()] if level else [])])
        listed.set_model(self)
        listed.set_params({"verbose": level, "epochs": 1, "steps": steps, "chunks": True})
        return listed
