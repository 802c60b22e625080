"""The callback that explains, after a Keras model's own ``fit``, why its ``val_loss`` is not its ``loss``."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

from verax.errors import InputError, StateError, VeraxWarning
from verax.keras.explaining import Pass, gap_of
from verax.keras.frameworks import Below, below, require_keras
from verax.keras.now import measured_pass, rows_again, weights_now
from verax.keras.program import KerasProgram, Weights
from verax.keras.record import Recorder, RunningEpoch, averaged_of, penalty_program, unwatch, watch_next
from verax.keras.sources import Given, running_fit
from verax.keras.unseen import unseen_gap, why_unseen
from verax.ledger.chain import Gap

__all__ = ["Explain"]

_made: dict[type, type] = {}


@dataclass
class _Watched:
    """What is kept of an epoch until it is explained."""

    number: int
    train: Recorder | None
    validation: Recorder | None = None
    weights: Weights | None = None
    logs: dict[str, float] | None = None


class Explain:
    """A Keras callback that explains the gap between ``loss`` and ``val_loss``.

    ``fit`` trains, validates and reports as it does without; weights, history and every random state are the same, bit
    for bit. While it runs, its steps are recorded: the number of each batch, and a sample of the batches with the
    states of the random generators they began with. Afterwards the sample is measured again, with one fact changed at a
    time: see the page on gaps.

    It costs one copy of the weights, the sample, and at the end a few passes over the sample. Where the loss has terms
    that come out of the forward pass (``add_loss``, activity regularizers), one forward pass more at each step.

    Args:
        validation_data: (x, y), (x, y, sample_weight) or a ``keras.utils.PyDataset`` to measure the second number on;
            None for what ``fit`` validates on.
        explain: "end": the last epoch that was validated; "epoch": each of them.
        batches: How many batches of an epoch are kept at most.
        memory: How many bytes they may take.
        verbose: 1 prints the verdict in a line, 0 nothing.

    Attributes:
        gaps: epoch (from 1) -> its gap.
        gap: The last gap.
        kept: Bytes of the batches that are or were kept of the latest epoch, at most ``memory``.

    Raises:
        InputError: An argument is none of these.
        MissingExtraError: Keras is not installed.

    >>> import keras
    >>> keras.utils.set_random_seed(0)
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.5), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> x, y = np.ones((64, 3), "float32"), np.ones((64, 1), "float32")
    >>> why = verax.keras.Explain(verbose=0)
    >>> _ = model.fit(x, y, validation_data=(x, y), verbose=0, callbacks=[why])
    >>> [link.cause.name for link in why.gap.links]
    ['WEIGHTS_MOVED', 'FITTED_DRAWS', 'DROPOUT', 'ROWS']
    """

    _model: Any
    params: Any

    def __new__(cls, *args: Any, **kwargs: Any) -> Explain:
        """A callback of Keras, which is opened here for the first time."""
        return object.__new__(_callback_class(cls))

    def __init__(
        self,
        validation_data: Any = None,
        *,
        explain: str = "end",
        batches: int = 64,
        memory: int = 256 << 20,
        verbose: int = 1,
    ):
        super().__init__()
        if explain not in ("end", "epoch"):
            raise InputError("explain says after which epochs.", received=repr(explain), do='Use "end" or "epoch".')
        for name, value in (("batches", batches), ("memory", memory)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name} says how much is kept.", received=repr(value), do="Use an int of at least 1.")
        self.gaps: dict[int, Gap] = {}
        self._own = None if validation_data is None else Given.of(validation_data, None, "validation_data")
        if self._own is not None and not self._own.again:
            next(self._own.batches())
        self._when, self._batches, self._memory, self._verbose = explain, batches, memory, verbose
        self._said: list[str] = []
        self._trouble = ""
        self.kept = 0
        self._end()

    @property
    def gap(self) -> Gap:
        """The last gap.

        Raises:
            StateError: None was measured; it says why.
        """
        if not self.gaps:
            raise StateError(
                "The gap of a fit was asked for.",
                because=self._trouble or "no epoch was trained and validated with this callback",
                do="Give fit validation_data, or the callback: Explain(validation_data=(x, y)).",
            )
        return self.gaps[max(self.gaps)]

    # ---- what Keras calls --------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Any = None) -> None:
        """A fit begins."""
        self._end()
        self.gaps, self._said, self._trouble, self.kept = {}, [], "", 0
        self._fit = running_fit(self._model)
        self._below = below()
        self._unseen = why_unseen(self._model, self._below)
        self._penalty = penalty_program(self._model, self._below)
        self._running = True

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """An epoch begins: it is recorded if it will be validated."""
        self._say()
        self._watched = None
        if self._validated(epoch):
            self._last = None  # one record at a time
            self._watched = _Watched(epoch + 1, None if self._unseen else self._recorder(training=True))

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """The next call of the training function is looked at."""
        if self._running and self._watched is not None and self._watched.train is not None:
            watch_next(self._model, "train_function", self._step(self._watched.train))

    def on_test_begin(self, logs: Any = None) -> None:
        """The validation of an epoch begins."""
        if self._running and self._watched is not None and not self._unseen and self._own is None:
            self._watched.validation = self._recorder(training=False)

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        """The next call of the test function is looked at."""
        watched = self._watched
        if not self._running or watched is None or self._own is not None:
            return
        if watched.weights is None:
            watched.weights = self._snapshot()
        if watched.validation is not None:
            watch_next(self._model, "test_function", self._step(watched.validation))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """An epoch ends."""
        if not self._running or self._watched is None:
            return
        watched, self._watched = self._watched, None
        unwatch(self._model, "train_function")
        unwatch(self._model, "test_function")
        self.kept = sum(one.epoch.size for one in (watched.train, watched.validation) if one is not None)
        watched.logs = {name: float(value) for name, value in (logs or {}).items() if _is_number(value)}
        if self._own is None and "val_loss" not in watched.logs:
            self._trouble = "fit did not validate"
            return
        if watched.weights is None:
            watched.weights = self._snapshot()
        self._last = watched
        if self._when == "epoch":
            self._explain()

    def on_train_end(self, logs: Any = None) -> None:
        """The fit has ended."""
        if self._running and self._last is not None:
            self._explain()
        self._say()
        self._end()

    # ---- how it is done ----------------------------------------------------------------------------------------------

    def _end(self) -> None:
        self._running = False
        self._fit: dict[str, Any] = {}
        self._below: Below
        self._unseen = ""
        self._penalty: Any = None
        self._program: KerasProgram | None = None
        self._watched: _Watched | None = None
        self._last: _Watched | None = None

    def _validated(self, epoch: int) -> bool:
        if self._own is not None or not self._fit:
            return True
        frequency = self._fit.get("validation_freq", 1)
        validated = self._fit.get("validation_data") is not None and self._model._should_eval(epoch, frequency)
        if not validated and not self.gaps:
            self._trouble = "fit had nothing to validate on"
        return validated

    def _recorder(self, *, training: bool) -> Recorder:
        # Of the memory a half is for the batches of each pass.
        memory = self._memory // (1 if self._own is not None else 2)
        epoch = RunningEpoch(self._batches, max(1, memory), self._below.read)
        return Recorder(self._model, self._below, self._programmed, self._penalty, training, epoch)

    def _step(self, recorder: Recorder) -> Any:
        return recorder.jax_step if self._below.name == "jax" else recorder.torch_step

    def _programmed(self, batch: Any, values: tuple[Any, Any]) -> KerasProgram:
        if self._program is None:
            self._program = KerasProgram(self._model, batch, Weights(*values))
        return self._program

    def _snapshot(self) -> Weights:
        """The weights of the end of the epoch, and their averages where validation uses these."""
        now = weights_now(self._model)
        listed = self._fit.get("callbacks")
        raw = averaged_of(self._model, getattr(listed, "callbacks", []))
        if not raw:
            return now
        copy = self._below.copy
        trainable = [
            copy(raw[id(v)]) if id(v) in raw else value
            for v, value in zip(self._model.trainable_variables, now.trainable, strict=True)
        ]
        return replace(now, trainable=trainable, averaged=now.trainable)

    def _explain(self) -> None:
        """Explain what is kept; a fit that went well is not broken by what cannot be explained of it."""
        watched, self._last = self._last, None
        assert watched is not None
        try:
            gap = self._gap_of(watched)
        except Exception as error:
            self._trouble = f"epoch {watched.number} could not be measured again: {error}"
            warnings.warn(f"The gap of epoch {watched.number} was not explained: {error}", VeraxWarning, stacklevel=2)
            return
        self.gaps[watched.number] = gap
        self._said.append(gap.verdict.line)

    def _gap_of(self, watched: _Watched) -> Gap:
        names = "loss", "val_loss"
        train, validation = self._given()
        params = f"the end of epoch {watched.number}"
        assert watched.weights is not None
        seen = watched.train is not None and watched.train.epoch.steps > 0 and watched.train.told
        if not seen or watched.train is None:
            why = self._unseen or "the logs of its steps have no loss"
            sizes = self._batches, self._memory
            logs, whole = watched.logs or {}, self._fit.get("steps_per_epoch") is None
            return unseen_gap(self._model, watched.weights, logs, (train, validation), sizes, why, whole)
        program = self._program
        assert program is not None
        program.at(watched.weights)
        if watched.validation is None:
            assert self._own is not None
            record, weighted = measured_pass(program, self._own, training=False, memory=self._memory)
        else:
            record, weighted = watched.validation.epoch, watched.validation.weighted
        program.reread = rows_again(train, validation, record)
        words = "class weights" if self._fit.get("class_weight") else "sample weights"
        of = None if train is None else train.rows
        passes = [
            Pass("training rows", watched.train.epoch, of, words if watched.train.weighted else "none"),
            Pass("validation rows", record, None, "sample weights" if weighted else "none"),
        ]
        return gap_of(program, passes[0], passes[1], names, params)

    def _given(self) -> tuple[Given | None, Given | None]:
        """The rows of the fit, where the running call tells them."""
        fit = self._fit
        if not fit:
            return None, self._own
        weights = fit.get("sample_weight"), fit.get("class_weight")
        train = Given(fit.get("x"), fit.get("y"), *weights, fit.get("batch_size"))
        if self._own is not None or "val_x" not in fit:
            return train, self._own
        size = fit.get("validation_batch_size") or fit.get("batch_size")
        return train, Given(fit["val_x"], fit.get("val_y"), fit.get("val_sample_weight"), None, size)

    def _say(self) -> None:
        """Print what was found, now that no progress line is being drawn."""
        said, self._said = self._said, []
        for line in said if self._verbose else ():
            print(line, flush=True)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _callback_class(cls: type) -> type:
    """The class with Keras' Callback among its bases."""
    base = require_keras("verax.keras.Explain is a callback of Keras.").callbacks.Callback
    if issubclass(cls, base):
        return cls
    if cls not in _made:
        _made[cls] = type(cls.__name__, (cls, base), {"__doc__": cls.__doc__, "__module__": cls.__module__})
    return _made[cls]
