"""BackupAndRestore: interrupted and resumed is the same, bit for bit, as never interrupted."""

from __future__ import annotations

import itertools
import json
import warnings

import numpy as np
import pytest

import verax
from tests.oracle import oracle
from verax import layers, optimizers
from verax.callbacks import BackupAndRestore, Callback, SwapEMAWeights
from verax.errors import DataError, InputError, StateError, VeraxWarning

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(53, 3)).astype("float32"), RNG.normal(size=53).astype("float32")
FIT = {"epochs": 3, "batch_size": 8, "verbose": 0, "validation_data": (X, Y)}  # 7 steps an epoch, the last one short


@pytest.fixture(scope="module", autouse=True)
def _programs_are_kept(tmp_path_factory):
    """The same few programs are run by many models: they are compiled once."""
    verax.config.compilation_cache(tmp_path_factory.mktemp("programs"))
    yield
    verax.config.compilation_cache(None)


OPTIMIZERS = {
    "adam": lambda: optimizers.Adam(0.01),
    "scheduled, averaged": lambda: optimizers.SGD(
        optimizers.schedules.ExponentialDecay(0.1, 5, 0.9), momentum=0.9, use_ema=True
    ),
}


def make(optimizer="adam"):
    verax.utils.set_random_seed(3)
    verax.utils.clear_session()
    model = verax.Sequential(
        [
            verax.Input((3,)),
            layers.Dense(5, "relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.Dense(1),
        ]
    )
    model.compile(OPTIMIZERS[optimizer](), "mse", metrics=["mae"])
    return model


class Interrupt(Callback):
    """Ctrl-C after a batch; at the end of the epoch, if none."""

    def __init__(self, epoch, batch):
        self.at = (epoch, batch)
        self.epoch = 0

    def hears(self, hook):
        return hook == "on_train_batch_end" and self.at[1] is not None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise KeyboardInterrupt

    def on_epoch_settled(self, epoch, logs=None):
        if (epoch, None) == self.at:
            raise KeyboardInterrupt


def interrupted(folder, at, optimizer="adam", x=X, y=Y, further=(), **arguments):
    with pytest.raises(KeyboardInterrupt):
        make(optimizer).fit(x, y, callbacks=[*further, BackupAndRestore(folder, **arguments), Interrupt(*at)], **FIT)


def resumed(folder, optimizer="adam", x=X, y=Y, further=(), **arguments):
    model = make(optimizer)
    verax.utils.set_random_seed(99)  # another process, another seed
    history = model.fit(x, y, callbacks=[*further, BackupAndRestore(folder, **arguments)], **FIT)
    return model, history


def same(one, two):
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def same_history(one, two):
    assert (one.epoch, one.when, list(one.history)) == (two.epoch, two.when, list(two.history))
    assert json.dumps(one.history) == json.dumps(two.history)
    assert one.readings == two.readings


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    ("at", "save_freq"),
    [((1, None), "epoch"), ((1, 6), 3)],
)
def test_the_rest_of_a_run_is_the_same_bit_for_bit(tmp_path, optimizer, at, save_freq):
    whole = make(optimizer)
    history = whole.fit(X, Y, **FIT)
    interrupted(tmp_path, at, optimizer, save_freq=save_freq)
    model, rest = resumed(tmp_path, optimizer, save_freq=save_freq)
    same(model, whole)
    same_history(rest, history)
    assert rest.epoch == [0, 1, 2]
    assert not tmp_path.exists()  # nothing is left to go on with


def test_a_resumed_epoch_can_be_explained(tmp_path):
    whole = make()
    history = whole.fit(X, Y, **{**FIT, "epochs": 1})
    interrupted(tmp_path, (0, 4), save_freq=2)
    model = make()
    rest = model.fit(X, Y, callbacks=BackupAndRestore(tmp_path), **{**FIT, "epochs": 1})
    expected, found = history.gap(), rest.gap()
    assert [link.cause for link in found.links] == [link.cause for link in expected.links]
    np.testing.assert_allclose([a.change for a in found.links], [a.change for a in expected.links], rtol=1e-6)


def test_streams_go_on_too(tmp_path):
    batches = [(X[i : i + 8], Y[i : i + 8]) for i in range(0, 48, 8)]

    class Batches(verax.utils.PyDataset):
        def __len__(self):
            return 6

        def __getitem__(self, i):
            return batches[i]

    whole = make()
    whole.fit(Batches(), **{k: v for k, v in FIT.items() if k != "batch_size"})
    arguments = {k: v for k, v in FIT.items() if k != "batch_size"}
    with pytest.raises(KeyboardInterrupt):
        make().fit(Batches(), callbacks=[BackupAndRestore(tmp_path, 2), Interrupt(1, 4)], **arguments)
    model = make()
    model.fit(Batches(), callbacks=BackupAndRestore(tmp_path), **arguments)
    same(model, whole)


def test_without_a_batch_hook_fit_keeps_its_speed():
    backup = BackupAndRestore("anywhere", save_freq=3)
    assert not verax.callbacks.CallbackList([backup]).acts_between_batches()


def test_averaged_weights_that_stand_in_their_place_are_not_taken_for_the_raw_ones(tmp_path):
    name = "scheduled, averaged"
    whole = make(name)
    whole.fit(X, Y, callbacks=[SwapEMAWeights(swap_on_epoch=True)], **FIT)
    interrupted(tmp_path, (1, None), name, further=[SwapEMAWeights(swap_on_epoch=True)])
    model, _ = resumed(tmp_path, name, further=[SwapEMAWeights(swap_on_epoch=True)])
    same(model, whole)


def test_a_changed_learning_rate_is_kept(tmp_path):
    def run(folder, at=None):
        model = make()
        schedule = verax.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch else rate)
        model.fit(X, Y, callbacks=[schedule, BackupAndRestore(folder), *([Interrupt(*at)] if at else [])], **FIT)
        return model

    whole = run(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", (1, 2))
    again = run(tmp_path / "b")
    same(again, whole)
    assert again.optimizer.learning_rate == whole.optimizer.learning_rate == 0.0025


def test_the_file_stays_if_asked_and_a_finished_run_is_not_run_again(tmp_path):
    model = make()
    model.fit(X, Y, callbacks=BackupAndRestore(tmp_path, delete_checkpoint=False), **FIT)
    before = model.history
    again, history = resumed(tmp_path, delete_checkpoint=False)
    same_history(history, before)
    same(again, model)
    with pytest.raises(StateError, match="resumed after it"):
        history.gap()
    with np.load(tmp_path / "training.npz") as file:
        assert json.loads(str(file["run"]))["epoch"] == 3


def test_a_broken_file_is_refused_or_the_one_before_is_used(tmp_path):
    interrupted(tmp_path, (1, None), double_checkpoint=True)
    whole = make()
    whole.fit(X, Y, **FIT)
    path = tmp_path / "training.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="not whole"):
        resumed(tmp_path)
    with pytest.warns(VeraxWarning, match="before the last"):
        model, history = resumed(tmp_path, double_checkpoint=True)
    assert history.epoch == [0, 1, 2]
    same(model, whole)


def test_an_interrupted_write_leaves_the_file_before(tmp_path, monkeypatch):
    interrupted(tmp_path, (0, None))
    before = (tmp_path / "training.npz").read_bytes()

    def broken(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", broken)
    with pytest.raises(OSError, match="disk full"):
        resumed(tmp_path)
    assert (tmp_path / "training.npz").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["training.npz"]


def test_another_models_backup_changes_nothing(tmp_path):
    interrupted(tmp_path, (0, None))
    verax.utils.clear_session()
    other = verax.Sequential([verax.Input((3,)), layers.Dense(1, name="another")])
    other.compile("adam", "mse")
    before = other.get_weights()
    with pytest.raises(DataError, match="other weights"):
        other.fit(X, Y, callbacks=BackupAndRestore(tmp_path), **FIT)
    for a, b in zip(before, other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(DataError, match="optimizer"):
        resumed(tmp_path, "scheduled, averaged")


@pytest.mark.parametrize("wrong", [{"save_freq": "batch"}, {"save_freq": 0}, {"save_freq": True}])
def test_wrong_arguments(tmp_path, wrong):
    with pytest.raises(InputError, match="save_freq"):
        BackupAndRestore(tmp_path, **wrong)
    with pytest.raises(InputError, match="empty"):
        BackupAndRestore("")


def test_the_state_is_of_a_running_fit_only():
    with pytest.raises(StateError, match="no fit"):
        make().training_state()
    with pytest.raises(StateError, match="no fit"):
        make().resume_training({})


def test_arguments_are_those_of_keras(tmp_path):
    import inspect

    with oracle() as keras, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # fmt: off
        for name in ("BackupAndRestore", "RemoteMonitor", "TensorBoard", "EarlyStopping", "ReduceLROnPlateau",
                     "LearningRateScheduler", "CSVLogger", "ModelCheckpoint", "OrbaxCheckpoint", "TerminateOnNaN",
                     "SwapEMAWeights"):
            # fmt: on
            theirs = inspect.signature(getattr(keras.callbacks, name).__init__).parameters
            ours = inspect.signature(getattr(verax.callbacks, name).__init__).parameters
            assert list(ours)[: len(theirs)] == [n for n in theirs if n != "kwargs"], name
            for key, parameter in theirs.items():
                if key == "kwargs" or parameter.default is parameter.empty:
                    continue
                ours_too = {parameter.default, ours[key].default} <= {False, None}
                assert ours[key].default == parameter.default or ours_too, (name, key)


class Loader:
    """Can be begun again, and does not say how long it is."""

    def __iter__(self):
        for i in range(0, 48, 8):
            yield X[i : i + 8], Y[i : i + 8]


def endless():
    for i in itertools.count():
        rows = np.arange(8 * i, 8 * i + 8) % 53
        yield X[rows], Y[rows]


#: The arguments of fit for data that only come one after the other.
STREAMS = {
    "loader": lambda: {"x": Loader(), "validation_data": Loader()},
    "loader, in pieces": lambda: {"x": Loader(), "steps_per_epoch": 3, "validation_data": (X, Y)},
    "generators": lambda: {
        "x": endless(),
        "steps_per_epoch": 4,
        "validation_data": endless(),
        "validation_steps": 2,
        "validation_freq": [1, 3],
    },
}


@pytest.mark.parametrize("stream", STREAMS)
def test_streams_that_only_go_forward_are_read_up_to_the_right_batch(tmp_path, stream):
    whole = make()
    history = whole.fit(**STREAMS[stream](), epochs=3, verbose=0)
    with pytest.raises(KeyboardInterrupt):
        make().fit(**STREAMS[stream](), epochs=3, callbacks=[BackupAndRestore(tmp_path, 2), Interrupt(2, 2)], verbose=0)
    model = make()
    rest = model.fit(**STREAMS[stream](), epochs=3, callbacks=BackupAndRestore(tmp_path, 2), verbose=0)
    same(model, whole)
    same_history(rest, history)


def test_an_epoch_of_unknown_length_that_was_saved_after_its_last_batch_has_its_numbers(tmp_path):
    whole = make()
    history = whole.fit(**STREAMS["loader"](), epochs=2, verbose=0)
    with pytest.raises(KeyboardInterrupt):  # in the validation: nothing is saved of the epoch but its last batch
        make().fit(
            **STREAMS["loader"](),
            epochs=2,
            callbacks=[BackupAndRestore(tmp_path, 6), Stopped(1), Interrupt(9, 9)],
            verbose=0,
        )
    with np.load(tmp_path / "training.npz") as file:
        said = json.loads(str(file["run"]))
    assert (said["epoch"], said["done"]) == (1, 6)
    model = make()
    rest = model.fit(**STREAMS["loader"](), epochs=2, callbacks=BackupAndRestore(tmp_path, 6), verbose=0)
    same(model, whole)
    same_history(rest, history)


class Stopped(Callback):
    """Ctrl-C when an epoch is to be validated."""

    def __init__(self, epoch):
        self.at = epoch
        self.validated = -1

    def on_test_begin(self, logs=None):
        self.validated += 1
        if self.validated == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("first", [True, False])
def test_what_other_callbacks_did_and_counted_goes_on_wherever_they_stand(tmp_path, first):
    def run(folder, at=None):
        model = make()
        others = [
            verax.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=2, min_delta=100.0),
            verax.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9),
            verax.callbacks.ModelCheckpoint(monitor="loss"),
            verax.callbacks.History(),
        ]
        backup = BackupAndRestore(folder, save_freq=3)
        callbacks = [backup, *others] if first else [*others, backup]
        history = model.fit(X, Y, callbacks=[*callbacks, *([Interrupt(*at)] if at else [])], **{**FIT, "epochs": 5})
        return model, history, others

    whole, history, before = run(tmp_path / "a")
    for at in ((2, 4), (3, None)) if first else ((4, 6),):
        folder = tmp_path / f"{at[0]}-{at[1]}"
        with pytest.raises(KeyboardInterrupt):
            run(folder, at)
        again, rest, after = run(folder)
        same(again, whole)
        same_history(rest, history)
        assert rest.history["learning_rate"] == history.history["learning_rate"]
        assert after[2].best == before[2].best
        for a, b in zip(after[2].best_weights, before[2].best_weights, strict=True):
            np.testing.assert_array_equal(a, b)
        same_history(after[3], before[3])


def test_a_stopped_run_stays_stopped(tmp_path):
    def stopping():
        return verax.callbacks.EarlyStopping("loss", min_delta=100.0, patience=1)

    history = make().fit(X, Y, callbacks=stopping(), **{**FIT, "epochs": 9})
    with pytest.raises(KeyboardInterrupt):
        make().fit(X, Y, callbacks=[BackupAndRestore(tmp_path), stopping(), Interrupt(1, None)], **{**FIT, "epochs": 9})
    rest = make().fit(X, Y, callbacks=[BackupAndRestore(tmp_path), stopping()], **{**FIT, "epochs": 9})
    assert rest.epoch == history.epoch == [0, 1]


def test_what_was_explained_before_is_known_after(tmp_path):
    fit = {**FIT, "explain": "epoch"}
    history = make().fit(X, Y, **fit)
    with pytest.raises(KeyboardInterrupt):
        make().fit(X, Y, callbacks=[BackupAndRestore(tmp_path), Interrupt(1, None)], **fit)
    rest = make().fit(X, Y, callbacks=BackupAndRestore(tmp_path), **fit)
    assert list(rest.gaps) == list(history.gaps) == [0, 1, 2]
    for epoch in (0, 1):
        assert str(rest.gap(epoch=epoch)) == str(history.gap(epoch=epoch))
    assert rest.gaps == history.gaps


def test_a_state_of_another_form_is_refused(tmp_path):
    interrupted(tmp_path, (0, None))
    path = tmp_path / "training.npz"
    with np.load(path) as file:
        state = dict(file)
    state["run"] = np.array(json.dumps({**json.loads(str(state["run"])), "form": 1}))
    np.savez(path, **state)
    with pytest.raises(DataError, match="a state of form 1"):
        resumed(tmp_path)


def test_what_cannot_be_kept_is_refused(tmp_path):
    class Odd(Callback):
        resumed_attributes = ("odd",)
        odd = object()

    with pytest.raises(InputError, match="object in a callback's get_state"):
        resumed(tmp_path, further=[Odd()])
