"""Callback: what may be done between the steps of a fit; and the list that calls many as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from verax.errors import InputError

__all__ = ["BATCH_HOOKS", "HOOKS", "Callback", "CallbackList", "Logs"]

HOOKS = tuple(f"on_{what}_{when}" for what in ("train", "epoch", "test", "predict") for when in ("begin", "end"))
BATCH_HOOKS = tuple(f"on_{what}_batch_{when}" for what in ("train", "test", "predict") for when in ("begin", "end"))

_Method = TypeVar("_Method", bound=Callable[..., Any])
_Kind = TypeVar("_Kind")


def _default(hook: _Method) -> _Method:
    """Mark a hook that does nothing, by the mark Keras uses: one rule then serves its callbacks and ours."""
    hook._is_default = True  # type: ignore[attr-defined]
    return hook


class Logs(dict[str, Any]):
    """The numbers a hook receives, name -> float, with the Readings they come from.

    Args:
        values: name -> float; the order is the order in which progress and history show them.
        readings: name -> Reading; may lack names (``learning_rate`` is not measured) or be empty (batches).

    All callbacks of a list receive the same object, as in Keras, so that one may add a name for those after it.

    >>> logs = Logs({"loss": 0.25})
    >>> logs, logs.readings
    ({'loss': 0.25}, {})
    """

    def __init__(self, values: Mapping[str, Any] | None = None, readings: Mapping[str, Any] | None = None):
        super().__init__({} if values is None else values)
        self.readings: dict[str, Any] = dict({} if readings is None else readings)

    @classmethod
    def of(cls, logs: Mapping[str, Any] | None) -> Logs:
        """``logs`` itself when it is a Logs; else a new one, in which scalar arrays have become floats."""
        if isinstance(logs, Logs):
            return logs
        return cls({name: plain_number(value) for name, value in (logs or {}).items()})


def plain_number(value: Any) -> Any:
    """A scalar array (numpy or jax) as a float; everything else as it is."""
    if isinstance(value, (int, float, str)) or getattr(value, "shape", None) != ():
        return value
    return float(np.asarray(value))


class Callback:
    """Base of all callbacks: override the hooks you need; the others do nothing.

    The hooks are Keras': ``on_{train,test,predict}_{begin,end}(logs)``, ``on_epoch_{begin,end}(epoch, logs)``,
    ``on_{train,test,predict}_batch_{begin,end}(batch, logs)``, and ``on_batch_{begin,end}``, the older names of the
    train-batch hooks. ``epoch`` and ``batch`` count from 0; ``logs`` is a `Logs`.

    Verax runs many steps in one compiled program. What that means for a callback with a train-batch hook is said by
    one attribute:

    Attributes:
        replay: False (the default): the hook may act on the model before the next batch, so ``fit`` runs step by step
            for it, exactly as in Keras. True: the hook only reads its logs, so ``fit`` keeps its speed and calls the
            hook for each batch, in order, after a chunk of steps has run.
        model: The model in training; set before ``on_train_begin``.
        params: What the run is: ``{"verbose", "epochs", "steps"}``; steps is None while unknown. A loop that calls
            ``on_chunk_end`` adds ``"chunks": True``.
        resumed_attributes: Names of attributes that hold what the callback counts from epoch to epoch (numbers, text,
            None, arrays, or lists of them): a fit that is resumed gives them back the values they had.

    The test- and predict-batch hooks are always replayed: nothing they do could change the batches after them.

    >>> class Worst(Callback):
    ...     replay = True
    ...     worst = float("-inf")
    ...     def on_train_batch_end(self, batch, logs=None):
    ...         self.worst = max(self.worst, logs["loss"])
    >>> Worst().hears("on_train_batch_end"), Worst().hears("on_train_batch_begin")
    (True, False)
    """

    replay: bool = False
    # On the class, so that a subclass whose __init__ forgets super().__init__() works all the same.
    model: Any = None
    params: Any = None
    resumed_attributes: tuple[str, ...] = ()

    def set_model(self, model: Any) -> None:
        """Called by the list with the model whose run this is."""
        self.model = model

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Called by the list with what the run is."""
        self.params = params

    def hears(self, hook: str) -> bool:
        """Whether the loop has to call ``hook``: by default, when it is overridden.

        Override it where a batch hook is needed in some configurations only: batch logs cost time to build.
        """
        return _overridden(self, hook)

    def get_state(self) -> dict[str, Any]:
        """What a resumed fit has to give back to this callback, by name: ``resumed_attributes``, in general."""
        return {name: getattr(self, name) for name in self.resumed_attributes}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``get_state`` gave, in a fit that is resumed."""
        for name in state.keys() & set(self.resumed_attributes):
            setattr(self, name, state[name])

    @_default
    def on_train_begin(self, logs: Any = None) -> None:
        """Called once, before the first epoch of ``fit``."""

    @_default
    def on_train_end(self, logs: Any = None) -> None:
        """Called once, after the last epoch; ``logs`` are those of the last epoch."""

    @_default
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Called before the first batch of an epoch."""

    @_default
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Called after an epoch and its validation; ``logs`` holds both (``val_`` names)."""

    @_default
    def on_epoch_settled(self, epoch: int, logs: Any = None) -> None:
        """Called when every callback's ``on_epoch_end`` has run. Not in Keras.

        What the epoch changes, in the model and in callbacks, is changed by now: the place to keep all of it.
        """

    @_default
    def on_batch_begin(self, batch: int, logs: Any = None) -> None:
        """The older name of ``on_train_batch_begin``."""

    @_default
    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        """The older name of ``on_train_batch_end``."""

    @_default
    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Called before a training batch."""
        self.on_batch_begin(batch, logs=logs)

    @_default
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Called after a training batch; ``logs`` are the epoch's numbers so far."""
        self.on_batch_end(batch, logs=logs)

    @_default
    def on_chunk_end(self, done: int, logs: Any = None) -> None:
        """Called after a chunk of steps (of training, test or prediction), and after its batch hooks.

        Not in Keras. ``done`` counts the batches of this epoch or evaluation so far, and ``logs`` are the numbers over
        them: what a progress line needs, without a dict for every batch.
        """

    @_default
    def on_test_begin(self, logs: Any = None) -> None:
        """Called before ``evaluate``, and before the validation of an epoch."""

    @_default
    def on_test_end(self, logs: Any = None) -> None:
        """Called after ``evaluate``, and after the validation of an epoch."""

    @_default
    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Called before a batch of ``evaluate`` or of the validation."""

    @_default
    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Called after a batch of ``evaluate`` or of the validation."""

    @_default
    def on_predict_begin(self, logs: Any = None) -> None:
        """Called before ``predict``."""

    @_default
    def on_predict_end(self, logs: Any = None) -> None:
        """Called after ``predict``."""

    @_default
    def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Called before a batch of ``predict``."""

    @_default
    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        """Called after a batch of ``predict``; ``logs["outputs"]`` are its outputs."""


def _overridden(callback: Any, hook: str) -> bool:
    """Whether ``hook`` of ``callback`` (ours or Keras') does something."""
    names = [hook]
    if hook.startswith("on_train_batch_"):
        names.append("on_batch_" + hook.rsplit("_", 1)[1])
    return any(not getattr(getattr(callback, name, None), "_is_default", False) for name in names)


def _hears(callback: Any, hook: str) -> bool:
    ask = getattr(callback, "hears", None)
    return bool(ask(hook)) if callable(ask) else _overridden(callback, hook)


def _check(callback: Any) -> None:
    """Refuse what is not a callback, before training and not in the middle of it."""
    asked = "callbacks= takes callback objects, or one list of them."
    if isinstance(callback, type):
        raise InputError(
            asked,
            received=f"the class {callback.__name__}",
            because="a class is not yet a callback",
            do=f"Make one of it: {callback.__name__}(...).",
        )
    missing = [h for h in (*HOOKS, *BATCH_HOOKS, "set_model", "set_params") if not callable(getattr(callback, h, None))]
    if missing:
        raise InputError(
            asked,
            received=f"{callback!r} of type {type(callback).__name__}",
            because="it has no " + ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else ""),
            do="Subclass verax.callbacks.Callback, or wrap a function: LambdaCallback(on_epoch_end=...).",
        )


def _flat(callbacks: Any) -> Iterator[Any]:
    if callbacks is None:
        return
    if isinstance(callbacks, (list, tuple, CallbackList)):
        for each in callbacks:
            yield from _flat(each)
    else:
        yield callbacks


class CallbackList:
    """Calls many callbacks as one, in their order.

    Args:
        callbacks: A callback, a list (may be nested), a CallbackList, or None. A Keras callback works too: it is known
            by its hooks, and not by its class.
        model: Handed to every callback's ``set_model``.
        params: ``{"verbose", "epochs", "steps"}``, handed to every callback's ``set_params``.

    Raises:
        InputError: For an object without the hooks, and for a class in the place of an object.

    Differs from Keras: every hook runs in the thread of ``fit``, in order; none is sent to another thread.

    >>> seen = []
    >>> class Note(Callback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         seen.append((epoch, logs["loss"]))
    >>> callbacks = CallbackList([Note()])
    >>> callbacks.on_epoch_end(0, Logs({"loss": 0.5}))
    >>> seen, callbacks.reads_batches(), callbacks.acts_between_batches()
    ([(0, 0.5)], False, False)
    """

    def __init__(self, callbacks: Any = None, model: Any = None, params: Mapping[str, Any] | None = None):
        self.callbacks: list[Any] = list(_flat(callbacks))
        for callback in self.callbacks:
            _check(callback)
        self._heard: dict[str, list[Any]] = {}
        self.model: Any = None
        self.params: Mapping[str, Any] | None = None
        if model is not None:
            self.set_model(model)
        if params is not None:
            self.set_params(params)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.callbacks)

    def __len__(self) -> int:
        return len(self.callbacks)

    def append(self, callback: Any) -> None:
        """Add a callback at the end; it gets the model and the params the others have."""
        _check(callback)
        self.callbacks.append(callback)
        self._heard.clear()
        if self.model is not None:
            callback.set_model(self.model)
        if self.params is not None:
            callback.set_params(self.params)

    def find(self, kind: type[_Kind]) -> _Kind | None:
        """The first callback that is a ``kind``, or None."""
        return next((callback for callback in self.callbacks if isinstance(callback, kind)), None)

    def set_model(self, model: Any) -> None:
        """Hand the model to every callback."""
        self.model = model
        for callback in self.callbacks:
            callback.set_model(model)

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Hand the params to every callback."""
        self.params = params
        for callback in self.callbacks:
            callback.set_params(params)

    # What a callback hears may depend on the run (a progress line in a log file needs no batches), so ask these
    # after on_train_begin, on_test_begin or on_predict_begin.

    def acts_between_batches(self) -> bool:
        """Whether a train-batch hook may act on the model before the next batch: ``fit`` then runs step by step."""
        return any(not getattr(callback, "replay", False) for callback in self._readers("train"))

    def reads_batches(self) -> bool:
        """Whether any train-batch hook is heard; if not, the loop builds no per-batch logs."""
        return bool(self._readers("train"))

    def reads_test_batches(self) -> bool:
        """Whether any test-batch hook is heard."""
        return bool(self._readers("test"))

    def reads_predict_batches(self) -> bool:
        """Whether any predict-batch hook is heard."""
        return bool(self._readers("predict"))

    def _readers(self, what: str) -> list[Any]:
        hooks = (f"on_{what}_batch_begin", f"on_{what}_batch_end")
        return [callback for callback in self.callbacks if any(_hears(callback, hook) for hook in hooks)]

    def _tell(self, callbacks: Iterable[Any], hook: str, *at: int, logs: Any) -> None:
        logs = Logs.of(logs)
        for callback in callbacks:
            getattr(callback, hook)(*at, logs)

    def _tell_batch(self, hook: str, batch: int, logs: Any) -> None:
        if hook not in self._heard:
            self._heard[hook] = [callback for callback in self.callbacks if _hears(callback, hook)]
        if self._heard[hook]:
            logs = Logs.of(logs)
            for callback in self._heard[hook]:
                getattr(callback, hook)(batch, logs=logs)

    def _begin(self, hook: str, *at: int, logs: Any) -> None:
        self._tell(self.callbacks, hook, *at, logs=logs)
        self._heard.clear()

    def on_train_begin(self, logs: Any = None) -> None:
        """Before the first epoch."""
        self._begin("on_train_begin", logs=logs)

    def on_train_end(self, logs: Any = None) -> None:
        """After the last epoch."""
        self._tell(self.callbacks, "on_train_end", logs=logs)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Before an epoch."""
        self._begin("on_epoch_begin", epoch, logs=logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """After an epoch and its validation."""
        self._tell(self.callbacks, "on_epoch_end", epoch, logs=logs)
        settled = [each for each in self.callbacks if hasattr(each, "on_epoch_settled")]  # Keras' do not know it
        self._tell(settled, "on_epoch_settled", epoch, logs=logs)

    def get_state(self) -> dict[str, dict[str, Any]]:
        """What a resumed fit has to give back to the callbacks, by their kind and place; of those that keep any."""
        states = {name: each.get_state() for name, each in self._kept()}
        return {name: state for name, state in states.items() if state}

    def set_state(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        """Let callbacks go on; one that was not there before begins anew."""
        for name, each in self._kept():
            if name in states:
                each.set_state(states[name])

    def _kept(self) -> Iterator[tuple[str, Any]]:
        # Counted from the end, where fit puts its own.
        counts: dict[str, int] = {}
        for each in reversed(self.callbacks):
            kind = type(each).__name__
            counts[kind] = counts.get(kind, -1) + 1
            if callable(getattr(each, "get_state", None)) and callable(getattr(each, "set_state", None)):
                yield f"{kind}/{counts[kind]}", each

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Before a training batch."""
        self._tell_batch("on_train_batch_begin", batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """After a training batch."""
        self._tell_batch("on_train_batch_end", batch, logs)

    def on_chunk_end(self, done: int, logs: Callable[[], Any]) -> None:
        """After a chunk of steps; callbacks that do not know this hook (Keras') are passed over.

        ``logs`` makes the numbers. They are folded over the epoch so far, so they are made only where they are used: a
        callback that says ``due() == False`` is told how many steps are done, and no numbers.
        """
        hook = "on_chunk_end"
        hearing = [each for each in self.callbacks if hasattr(each, hook) and _hears(each, hook)]
        due = [each for each in hearing if not hasattr(each, "due") or each.due()]
        self._tell([each for each in hearing if each not in due], hook, done, logs=None)
        if due:
            self._tell(due, hook, done, logs=logs())

    def on_test_begin(self, logs: Any = None) -> None:
        """Before an evaluation."""
        self._begin("on_test_begin", logs=logs)

    def on_test_end(self, logs: Any = None) -> None:
        """After an evaluation."""
        self._tell(self.callbacks, "on_test_end", logs=logs)

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Before a batch of an evaluation."""
        self._tell_batch("on_test_batch_begin", batch, logs)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """After a batch of an evaluation."""
        self._tell_batch("on_test_batch_end", batch, logs)

    def on_predict_begin(self, logs: Any = None) -> None:
        """Before a prediction."""
        self._begin("on_predict_begin", logs=logs)

    def on_predict_end(self, logs: Any = None) -> None:
        """After a prediction."""
        self._tell(self.callbacks, "on_predict_end", logs=logs)

    def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Before a batch of a prediction."""
        self._tell_batch("on_predict_batch_begin", batch, logs)

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        """After a batch of a prediction."""
        self._tell_batch("on_predict_batch_end", batch, logs)
