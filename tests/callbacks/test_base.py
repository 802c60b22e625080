from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle import oracle
from verax.callbacks import Callback, CallbackList, EarlyStopping, History, LambdaCallback, Logs, TerminateOnNaN
from verax.callbacks.base import BATCH_HOOKS, HOOKS
from verax.errors import InputError, UnknownNameError

ALL = (*HOOKS, *BATCH_HOOKS, "on_batch_begin", "on_batch_end")


def recorder(name: str, calls: list, hooks=(*HOOKS, *BATCH_HOOKS), base=Callback):
    """A callback that notes each call of ``hooks``: (name, hook, positional arguments before the logs)."""

    def note(hook):
        def method(self, *args, logs=None):
            calls.append((name, hook, args[:1] if hook.startswith("on_epoch") or "batch" in hook else ()))

        return method

    return type("Recorder", (base,), {hook: note(hook) for hook in hooks})()


def run(callbacks) -> None:
    callbacks.on_train_begin()
    callbacks.on_epoch_begin(0)
    for batch in range(2):
        callbacks.on_train_batch_begin(batch)
        callbacks.on_train_batch_end(batch, {"loss": 1.0})
    callbacks.on_test_begin()
    callbacks.on_test_batch_begin(0)
    callbacks.on_test_batch_end(0, {"loss": 1.0})
    callbacks.on_test_end({"loss": 1.0})
    callbacks.on_epoch_end(0, {"loss": 1.0})
    callbacks.on_train_end({"loss": 1.0})
    callbacks.on_predict_begin()
    callbacks.on_predict_batch_begin(0)
    callbacks.on_predict_batch_end(0, {"outputs": np.zeros(2)})
    callbacks.on_predict_end()


def test_the_hooks_are_those_of_keras():
    with oracle() as keras:
        theirs = {name for name in dir(keras.callbacks.Callback) if name.startswith("on_")}
    assert theirs == set(ALL)
    assert theirs <= set(dir(Callback))


def test_hooks_are_called_in_the_order_keras_calls_them():
    ours, theirs = [], []
    run(CallbackList([recorder("a", ours), recorder("b", ours)]))
    with oracle() as keras:
        base = keras.callbacks.Callback
        run(keras.callbacks.CallbackList([recorder("a", theirs, base=base), recorder("b", theirs, base=base)]))
    assert ours == theirs
    assert len(ours) == 2 * 16


@pytest.mark.parametrize("hook", ["on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end"])
def test_a_train_batch_hook_makes_fit_go_step_by_step_unless_it_only_reads(hook):
    calls = []
    acting = recorder("a", calls, [hook])
    assert (CallbackList(acting).acts_between_batches(), CallbackList(acting).reads_batches()) == (True, True)
    acting.replay = True
    callbacks = CallbackList(acting)
    assert (callbacks.acts_between_batches(), callbacks.reads_batches()) == (False, True)
    run(callbacks)
    assert len(calls) == 2  # by its older name too


@pytest.mark.parametrize(("what", "asks"), [("test", "reads_test_batches"), ("predict", "reads_predict_batches")])
def test_test_and_predict_hooks_do_not_hold_up_training(what, asks):
    callbacks = CallbackList([recorder("a", [], [f"on_{what}_batch_end"])])
    assert getattr(callbacks, asks)()
    assert not callbacks.acts_between_batches()
    assert not callbacks.reads_batches()


def test_callbacks_that_need_no_batches_ask_for_none():
    callbacks = CallbackList([EarlyStopping(), History(), LambdaCallback(on_epoch_end=print), Callback()])
    assert not callbacks.reads_batches()
    assert not callbacks.reads_test_batches()
    assert not callbacks.reads_predict_batches()
    assert CallbackList([TerminateOnNaN()]).reads_batches()
    assert not CallbackList([TerminateOnNaN()]).acts_between_batches()
    assert CallbackList([LambdaCallback(on_batch_end=print)]).acts_between_batches()
    assert not CallbackList([LambdaCallback(on_batch_end=print, replay=True)]).acts_between_batches()


def test_keras_callbacks_work_in_our_list():
    seen = []
    with oracle() as keras:

        class Theirs(keras.callbacks.Callback):
            def on_batch_end(self, batch, logs=None):
                seen.append((batch, logs["loss"], self.params["epochs"]))

        acting, idle = Theirs(), keras.callbacks.History()
        model = type("Model", (), {})()
        callbacks = CallbackList([acting, idle], model=model, params={"verbose": 0, "epochs": 3, "steps": 2})
        assert callbacks.acts_between_batches()
        assert not CallbackList([idle]).reads_batches()
        callbacks.on_train_begin()
        callbacks.on_epoch_begin(0)
        callbacks.on_train_batch_end(0, Logs({"loss": 0.5}))
        callbacks.on_chunk_end(1, lambda: Logs({"loss": 0.5}))
        callbacks.on_epoch_end(0, Logs({"loss": 0.25}))
        assert acting.model is model
    assert seen == [(0, 0.5, 3)]
    assert idle.history == {"loss": [0.25]}


def test_the_callbacks_of_a_list_share_one_logs():
    history = History()

    class Adds(Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["added"] = 2.0

    logs = Logs({"loss": 1.0})
    CallbackList([Adds(), history]).on_epoch_end(0, logs)
    assert history.history == {"loss": [1.0], "added": [2.0]}
    assert logs["added"] == 2.0


def test_scalar_arrays_become_floats():
    seen = []
    callbacks = CallbackList(LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs)))
    callbacks.on_epoch_end(0, {"loss": jnp.asarray(0.5), "accuracy": np.float32(0.25)})
    assert seen == [{"loss": 0.5, "accuracy": 0.25}]
    assert all(type(value) is float for value in seen[0].values())
    callbacks.on_epoch_end(1, None)
    assert seen[1] == {}


def test_lists_nest_and_grow_and_can_be_searched():
    history, model = History(), object()
    callbacks = CallbackList([[Callback()], (CallbackList(Callback()), None)], model=model, params={"epochs": 2})
    callbacks.append(history)
    assert len(callbacks) == 3
    assert all(each.model is model for each in callbacks)
    assert history.params == {"epochs": 2}
    assert callbacks.find(History) is history
    assert callbacks.find(EarlyStopping) is None


@pytest.mark.parametrize("wrong", [3, "early", lambda epoch: None, {}, object()])
def test_what_is_no_callback_is_refused(wrong):
    with pytest.raises(InputError, match=r"Subclass verax\.callbacks\.Callback"):
        CallbackList([wrong])


def test_a_class_is_refused_with_the_cure():
    with pytest.raises(InputError, match=r"Make one of it: EarlyStopping\(\.\.\.\)"):
        CallbackList([EarlyStopping])


def test_lambda_callback_refuses_unknown_hooks_and_what_is_no_function():
    with pytest.raises(UnknownNameError, match="on_epoch_end"):
        LambdaCallback(on_epochs_end=print)
    with pytest.raises(InputError, match="takes a function"):
        LambdaCallback(on_epoch_end=3)


def test_terminate_on_nan_speaks_once(capsys):
    watch = TerminateOnNaN()
    watch.set_model(type("Model", (), {"stop_training": False})())
    callbacks = CallbackList([watch])
    callbacks.on_train_begin()
    for batch, loss in enumerate([1.0, float("inf"), float("nan")]):
        callbacks.on_train_batch_end(batch, Logs({"loss": loss}))
    assert watch.model.stop_training
    assert capsys.readouterr().out == "Batch 1: the loss is inf; training ends\n"
    with pytest.raises(RuntimeError, match="nan in batch 4"):
        TerminateOnNaN(raise_error=True).on_train_batch_end(4, {"loss": float("nan")})
