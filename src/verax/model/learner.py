"""Learner: a layer that is compiled and trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import jax
import numpy as np

from verax.callbacks import History
from verax.engine.step import Carry, Pass, Rule, train_step
from verax.frame.serialized import revived, serialize_keras_object
from verax.frame.symbolic import is_symbolic
from verax.model import fitting
from verax.model.arguments import Arguments, verbosity
from verax.model.compile import Compiled, require_compiled
from verax.model.measurable import Measurable
from verax.model.resuming import capture, resume

__all__ = ["Learner"]


class Learner(Measurable):
    """What every model can learn; ``Model`` adds what it is made of."""

    # ---- to be trained -------------------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        auto_scale_loss: bool = True,
    ) -> None:
        """Say how to train and what to measure.

        Args:
            optimizer: A name or an optimizer.
            loss: A name, a function (target, prediction) -> values of each row, a Loss, or a list or dict of those, one
                for each output.
            loss_weights: A number for each output; the objective is Σ weight · loss + Σ penalties.
            metrics: Names, functions or Metrics; for several outputs a list of lists, or a dict by output name.
            weighted_metrics: The same, of rows weighted by sample weights.
            run_eagerly: Run steps without compiling them, to debug a layer with print and breakpoints.
            steps_per_execution: Noted and not needed: Verax runs as many steps in one program as keeps progress live.
            auto_scale_loss: Whether to wrap the optimizer in a ``LossScaleOptimizer`` where a layer computes by the
                ``mixed_float16`` policy and the optimizer scales no loss itself.

        Differs from Keras: ``mixed_float16`` in one layer is enough to scale the loss, and an optimizer with a
        ``loss_scale_factor`` keeps it.
        """
        if steps_per_execution != 1:
            fitting.note(
                f"steps_per_execution={steps_per_execution} changes nothing: Verax already runs as many steps in one "
                "compiled program as keeps progress and Ctrl-C live."
            )
        self._model.compiled = Compiled.of(
            optimizer,
            self if auto_scale_loss else None,
            loss=loss,
            loss_weights=loss_weights,
            metrics=metrics,
            weighted_metrics=weighted_metrics,
            run_eagerly=run_eagerly,
        )
        self._model.programs.clear()

    def get_compile_config(self) -> dict[str, Any]:
        """The arguments of ``compile`` as a configuration, in Keras' form; empty where it was not called."""
        made = self._model.compiled
        if made is None:
            return {}
        names = ("optimizer", "loss", "loss_weights", "metrics", "weighted_metrics", "run_eagerly")
        return {name: serialize_keras_object(getattr(made, name)) for name in names}

    def compile_from_config(self, config: Mapping[str, Any]) -> None:
        """Compile as a configuration that ``get_compile_config``, ours or Keras', gave says."""
        # How a program is cut and compiled is not the configuration's to say.
        self.compile(**{k: revived(v) for k, v in config.items() if k not in ("jit_compile", "steps_per_execution")})

    def get_build_config(self) -> dict[str, Any] | None:
        """The shape of the input by which the weights were made, in Keras' form; None before, and for a structure."""
        start = self._model.inputs
        shape = start.shape if is_symbolic(start) else self._model.built_with
        return {"input_shape": shape} if isinstance(shape, tuple) and all(_is_size(n) for n in shape) else None

    def build_from_config(self, config: Mapping[str, Any]) -> None:
        """Make the weights for the shape that ``get_build_config``, ours or Keras', gave."""
        shapes = config.get("shapes_dict") or {"": config.get("input_shape")}
        shape: Any = next(iter(shapes.values())) if len(shapes) == 1 else None
        if isinstance(shape, (list, tuple)):
            self.build(tuple(cast("list[Any]", shape)))

    def described_further(self) -> dict[str, Any]:
        """What a configuration says of a model beside its layers: how it was built and compiled."""
        build = self.get_build_config()
        return {**({"build_config": build} if build else {}), "compile_config": self.get_compile_config()}

    def finish_revival(self, config: Mapping[str, Any]) -> None:
        """Build and compile, where the configuration the model was made of says how."""
        if config.get("build_config") and not self.built:
            self.build_from_config(config["build_config"])
        if config.get("compile_config"):
            self.compile_from_config(config["compile_config"])

    @property
    def optimizer(self) -> Any:
        """The optimizer given to ``compile``."""
        return None if self._model.compiled is None else self._model.compiled.optimizer

    @property
    def steps_trained(self) -> int:
        """How many steps were trained since ``compile``."""
        return 0 if self._model.compiled is None else self._model.compiled.steps

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step, by the optimizer's schedule if it has one."""
        compiled = require_compiled(self._model.compiled, self, "learning_rate")
        rate: Any = compiled.optimizer.learning_rate
        if not callable(rate):
            return float(rate)
        if compiled.opt_state is None:
            return float(np.asarray(rate(0)))
        return compiled.optimizer.current_learning_rate(compiled.opt_state)

    @property
    def loss(self) -> Any:
        """The loss given to ``compile``."""
        return None if self._model.compiled is None else self._model.compiled.loss

    @property
    def history(self) -> History | None:
        """The history of the last ``fit``, complete up to where it ended, also when it was interrupted."""
        return self._model.history

    @property
    def stop_training(self) -> bool:
        """Set to True by a callback to end ``fit`` after the epoch."""
        return self._model.stop_training

    @stop_training.setter
    def stop_training(self, value: bool) -> None:
        self._model.stop_training = bool(value)

    def train_step(self, carry: Carry, batch: Any, key: jax.Array, observe: Pass, optimizer: Rule) -> tuple[Carry, Any]:
        """One training step; override it to train in another way. It is traced once and compiled into the loop.

        Args:
            carry: ``params``, ``state``, ``opt`` (the optimizer's state) and ``step``.
            batch: (x, y, sample weights) of the step.
            key: From which the step's draws are made.
            observe: (params, state, batch, key=) -> (objective, (new state, tallies)).
            optimizer: ``update(grads, opt, params) -> (params, opt)``.

        Returns:
            The next carry, and the tallies that ``observe`` gave.
        """
        return train_step(observe, optimizer, carry, batch, key=key)

    train_step._is_default = True  # type: ignore[attr-defined]

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool | str = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | list[int] = 1,
        *,
        mode: Any = "train",
        explain: str = "end",
        check_finite: bool = False,
    ) -> History:
        """Train the model, and say what every number measured.

        Args:
            x: Inputs, (rows, ...): arrays, lists, frames, dicts or lists of them, a sequence of batches, a generator.
            y: Targets, (rows, ...); none with batches, which bring their own.
            batch_size: Rows in a batch; 32.
            epochs: The epoch to stop at.
            verbose: "auto" (1), 0 (silent), 1 (a progress line), 2 (a line an epoch).
            callbacks: Callbacks. One with batch hooks makes the loop run step by step, unless it says ``replay``.
            validation_split: The last fraction of the rows, kept for validation.
            validation_data: (x, y), (x, y, sample_weight), or batches; measured at the end of each epoch.
            shuffle: Whether rows come in a new order each epoch.
            class_weight: class -> weight of its rows in the loss.
            sample_weight: Weight of each row in the loss, (rows,) or (rows, steps).
            initial_epoch: The epoch to begin at.
            steps_per_epoch, validation_steps: At most this many batches.
            validation_batch_size: ``batch_size`` when None.
            validation_freq: Validate every so many epochs, or after the epochs listed (counted from 1).
            mode: "train"; "infer" runs every layer in inference mode while parameters are trained; or a dict by effect
                ("dropout", "batch_statistics", ...) or layer path.
            explain: "end" closes with a line that says why ``val_loss`` is not ``loss``, if verbose and if that takes
                at most a tenth of the fit's time or a second; "epoch" explains every epoch's numbers, on a sample of
                its batches; "off" keeps nothing to explain. ``history.gap()`` asks at any time.
            check_finite: Refuse NaN and infinities in x and y.

        Returns:
            The History: ``.history`` name -> numbers, ``.readings`` name -> Readings, each with what it measured, and
            ``.gap("loss")``, the difference between training and validation, cause by cause.

        Differs from Keras: reported losses are Σ over rows / Σ weights, so they depend neither on the batch size nor on
        a short last batch; the metric of a masked sequence counts real tokens only; Ctrl-C leaves ``model.history`` and
        the last finished step's weights.
        """
        return fitting.fit(
            self,
            require_compiled(self._model.compiled, self, "fit"),
            Arguments(
                x=x,
                y=y,
                batch_size=batch_size,
                epochs=epochs,
                verbose=verbosity(verbose),
                callbacks=callbacks,
                validation_split=validation_split,
                validation_data=validation_data,
                shuffle=shuffle,
                class_weight=class_weight,
                sample_weight=sample_weight,
                initial_epoch=initial_epoch,
                steps_per_epoch=steps_per_epoch,
                validation_steps=validation_steps,
                validation_batch_size=validation_batch_size,
                validation_freq=validation_freq,
                mode=mode,
                explain=explain,
                check_finite=check_finite,
            ),
        )

    def training_state(self) -> dict[str, np.ndarray[Any, Any]]:
        """All that the rest of the running fit depends on, as arrays: weights, optimizer, place, draws, order of rows.

        To be asked for in a callback: at the end of an epoch, of a chunk of steps, or of a batch it acts after.
        """
        compiled = require_compiled(self._model.compiled, self, "training_state")
        return capture(self, compiled, self._model.run)

    def resume_training(self, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """In a callback's ``on_train_begin``: let the fit that begins go on where ``training_state`` was asked for.

        On the same data, the rest of the run is then the same bit for bit.

        Raises:
            DataError: The state of another model or optimizer; nothing is changed.
        """
        compiled = require_compiled(self._model.compiled, self, "resume_training")
        resume(self, compiled, self._model.run, state)

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Take one step on one batch; return what was measured on it before the update."""
        compiled = require_compiled(self._model.compiled, self, "train_on_batch")
        readings = fitting.train_on_batch(self, compiled, x, y, sample_weight, class_weight)
        found = {name: reading.value for name, reading in readings.items()}
        return found if return_dict else next(iter(found.values())) if len(found) == 1 else list(found.values())


def _is_size(n: Any) -> bool:
    return n is None or isinstance(n, int)
