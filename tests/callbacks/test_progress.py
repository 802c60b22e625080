"""The progress line by its exact text, and the screens by what they write."""

from __future__ import annotations

import re
import sys
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracle import oracle
from verax.callbacks import CallbackList, EarlyStopping, LambdaCallback, Logs, ProgbarLogger, ProgressLine
from verax.callbacks.messages import say
from verax.callbacks.progress_text import line, measured, number
from verax.errors import UnknownNameError

LOGS = {"loss": 0.3021, "accuracy": 0.9123}
ALL = {**LOGS, "val_loss": 0.2011, "val_accuracy": 0.9401}
FULL = "━" * 20


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0, 45, 0.0, {}, 80), " 0/45 " + "─" * 20),
        ((9, 45, 0.9, LOGS, 80), " 9/45 ━━━━" + "─" * 16 + " 4s 100ms/step - loss: 0.3021 - accuracy: 0.9123"),
        ((45, 45, 0.9, LOGS, 80), f"45/45 {FULL} 0s 20ms/step - loss: 0.3021 - accuracy: 0.9123"),
        ((12, None, 3.0, LOGS, 80), "12/Unknown 3s 250ms/step - loss: 0.3021 - accuracy: 0.9123"),
        ((50, 45, 0.9, {}, 80), f"50/45 {FULL} 0s 18ms/step"),
        ((1, 1000, 30.0, {}, 80), "   1/1000 " + "─" * 20 + " 8:19:30 30s/step"),
        ((9, 45, 0.9, LOGS, 64), " 9/45 ━━────────" + " 4s 100ms/step - loss: 0.3021 - accuracy: 0.9123"),
        ((9, 45, 0.9, LOGS, 60), " 9/45 4s 100ms/step - loss: 0.3021 - accuracy: 0.9123"),
        ((9, 45, 0.9, LOGS, 40), " 9/45 4s 100ms/step - loss: 0.3021 …"),
        ((9, 45, 0.9, LOGS, 24), " 9/45 4s 100ms/step …"),
        ((9, 45, 0.9, LOGS, 10), " 9/45 4s 1"),
    ],
)
def test_running_line(arguments, text):
    assert line(*arguments) == text


@pytest.mark.parametrize(
    ("width", "text"),
    [
        (
            200,
            f"45/45 {FULL} 1s 5ms/step - loss: 0.3021 - accuracy: 0.9123 - val_loss: 0.2011 - val_accuracy: 0.9401",
        ),
        (
            80,
            f"45/45 {FULL} 1s 5ms/step - loss: 0.3021 - accuracy: 0.9123\n"
            "      val_loss: 0.2011 - val_accuracy: 0.9401",
        ),
        (
            50,
            f"45/45 {FULL} 1s 5ms/step\n"
            "      loss: 0.3021 - accuracy: 0.9123\n"
            "      val_loss: 0.2011 - val_accuracy: 0.9401",
        ),
    ],
)
def test_final_line_shows_every_metric(width, text):
    assert line(45, 45, 1.2, ALL, width, per_step=0.005, final=True) == text


@given(
    step=st.integers(0, 2000),
    steps=st.one_of(st.none(), st.integers(1, 2000)),
    seconds=st.floats(0, 1e6),
    names=st.lists(st.sampled_from(["loss", "accuracy", "val_loss", "a_rather_long_metric_name", "f1"]), unique=True),
    width=st.integers(50, 250),
    final=st.booleans(),
)
def test_no_line_is_wider_than_the_terminal_and_no_final_number_is_lost(step, steps, seconds, names, width, final):
    logs = dict.fromkeys(names, 0.125)
    text = line(step, steps, seconds, logs, width, final=final)
    parts = text.split("\n")
    assert final or len(parts) == 1
    assert all(len(part) <= width for part in parts)
    if final:
        assert all(f"{name}: 0.1250" in text for name in names)


@pytest.mark.parametrize("value", [0.30214, 1.0, 12345.678, 1e-3, 1e-4, -2.5, -1e-5, 0.00100001])
def test_numbers_as_keras_writes_them(value, capsys):
    with oracle() as keras:
        bar = keras.utils.Progbar(target=1, verbose=2)
        captured = []
        import keras.src.utils.progbar as module

        before, module.io_utils.print_msg = (
            module.io_utils.print_msg,
            lambda text, line_break=True: captured.append(text),
        )
        try:
            bar.update(1, [("loss", abs(value))])
        finally:
            module.io_utils.print_msg = before
    assert number(abs(value)) == re.search(r"loss: (\S+)", captured[0])[1]
    assert number(-abs(value)) == "-" + number(abs(value))


def test_order_of_the_numbers():
    given_order = {"val_b": 1.0, "learning_rate": 0.1, "b": 1.0, "val_loss": 1.0, "a": 1.0, "loss": 1.0}
    assert [name for name, _ in measured(given_order)] == ["loss", "b", "a", "val_loss", "val_b", "learning_rate"]


# -- the callback ----------------------------------------------------------------------------------------------------


class Clock:
    """A clock that only moves when told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def progress():
    shown = ProgressLine()
    shown._clock = Clock()
    return shown


def fit(progress, epochs=2, chunks=True, others=(), **params):
    """Three chunks of 4 steps, half a second each (the first two seconds), and a validation of a second."""
    callbacks = CallbackList(
        [*others, progress], params={"verbose": 1, "epochs": epochs, "steps": 12, "chunks": chunks, **params}
    )
    clock = progress._clock
    callbacks.on_train_begin()
    for epoch in range(epochs):
        callbacks.on_epoch_begin(epoch)
        for chunk in range(3):
            clock.now += 2.0 if epoch == chunk == 0 else 0.5
            if callbacks.reads_batches():
                for step in range(4):
                    callbacks.on_train_batch_end(4 * chunk + step, Logs(LOGS))
            if chunks:
                callbacks.on_chunk_end(4 * chunk + 4, lambda: Logs(LOGS))
        callbacks.on_test_begin()
        clock.now += 1.0
        callbacks.on_chunk_end(3, lambda: Logs(LOGS))
        callbacks.on_test_end(Logs(LOGS))
        callbacks.on_epoch_end(epoch, Logs(ALL))
    callbacks.on_train_end(Logs(ALL))


NUMBERS = "loss: 0.3021 - accuracy: 0.9123 - val_loss: 0.2011 - val_accuracy: 0.9401"


@pytest.mark.parametrize("verbose", [1, 2, "auto"])
@pytest.mark.parametrize("chunks", [True, False])
def test_where_nothing_can_be_redrawn_one_line_an_epoch(progress, capsys, verbose, chunks):
    fit(progress, verbose=verbose, chunks=chunks)
    # Without chunks nothing is heard while it runs, so that the first step, which compiles, is counted.
    pace = ("125ms", "125ms") if chunks else ("250ms", "125ms")
    assert capsys.readouterr().out.splitlines() == [
        f"Epoch 1/2 - 12/12 - 4s - {pace[0]}/step - {NUMBERS}",
        f"Epoch 2/2 - 12/12 - 2s - {pace[1]}/step - {NUMBERS}",
    ]


def test_steps_are_counted_where_their_number_is_unknown(progress, capsys):
    fit(progress, epochs=1, chunks=False, steps=None)
    assert capsys.readouterr().out == f"12/12 - 4s - 125ms/step - {NUMBERS}\n"


@pytest.mark.parametrize("silence", ["verbose", "environment"])
def test_silence(progress, capsys, monkeypatch, silence):
    if silence == "environment":
        monkeypatch.setenv("VERAX_PROGRESS", "off")
    fit(progress, verbose=0 if silence == "verbose" else 1, chunks=False, steps=None)
    assert capsys.readouterr().out == ""
    assert not CallbackList(progress).reads_batches()


def test_an_unknown_form_is_an_error_before_anything_runs(progress, monkeypatch):
    monkeypatch.setenv("VERAX_PROGRESS", "plane")
    with pytest.raises(UnknownNameError, match="'plain'"):
        progress.on_train_begin()


def screen(written: str) -> list[str]:
    """What a terminal shows after ``written``: carriage return, erase to the end of the line, colours."""
    lines, column = [""], 0
    for part in re.findall(r"\x1b\[[0-9;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", written):
        if part == "\r":
            column = 0
        elif part == "\n":
            lines.append("")
            column = 0
        elif part == "\x1b[0K":
            lines[-1] = lines[-1][:column]
        elif not part.startswith("\x1b"):
            lines[-1] = lines[-1][:column] + part + lines[-1][column + len(part) :]
            column += len(part)
    return lines


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("VERAX_PROGRESS", "rich")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def size(columns):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("LINES", "24")

    size(81)
    return size


@pytest.mark.parametrize("chunks", [True, False])
def test_on_a_terminal_the_line_is_redrawn_and_the_last_one_stays(progress, capsys, terminal, chunks):
    fit(progress, chunks=chunks)
    written = capsys.readouterr().out
    assert screen(written) == [
        "Epoch 1/2",
        f"12/12 {FULL} 4s 125ms/step - loss: 0.3021 - accuracy: 0.9123",
        "      val_loss: 0.2011 - val_accuracy: 0.9401",
        "Epoch 2/2",
        f"12/12 {FULL} 2s 125ms/step - loss: 0.3021 - accuracy: 0.9123",
        "      val_loss: 0.2011 - val_accuracy: 0.9401",
        "",
    ]
    drawn = [re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", part) for part in written.split("\r")]
    assert " 0/12 " + "─" * 20 in drawn
    assert any(part.endswith(" - validating") for part in drawn)
    assert "\x1b[32m" in written  # green


def test_a_wide_terminal_takes_it_in_one_line(progress, capsys, terminal):
    terminal(200)
    fit(progress, epochs=1)
    assert screen(capsys.readouterr().out) == [f"12/12 {FULL} 4s 125ms/step - {NUMBERS}", ""]


def test_at_most_ten_redraws_a_second(progress, capsys, terminal):
    callbacks = CallbackList(progress, params={"verbose": 1, "epochs": 1, "steps": 1000})
    callbacks.on_train_begin()
    callbacks.on_epoch_begin(0)
    for batch in range(1000):
        progress._clock.now += 0.002
        callbacks.on_train_batch_end(batch, Logs(LOGS))
    callbacks.on_epoch_end(0, Logs(LOGS))
    assert capsys.readouterr().out.count("\r") <= 24


def test_what_callbacks_say_stands_below_the_finished_line(progress, capsys, terminal):
    class Speaks(EarlyStopping):
        def on_epoch_end(self, epoch, logs=None):
            say(f"Epoch {epoch + 1}: said")

    fit(progress, epochs=1, others=[Speaks()])
    shown = screen(capsys.readouterr().out)
    assert shown[-2:] == ["Epoch 1: said", ""]
    assert shown[0].startswith("12/12")


def test_close_leaves_the_terminal_tidy(progress, capsys, terminal):
    callbacks = CallbackList(progress, params={"verbose": 1, "epochs": 1, "steps": 12, "chunks": True})
    callbacks.on_train_begin()
    callbacks.on_epoch_begin(0)
    progress._clock.now += 0.5
    callbacks.on_chunk_end(4, lambda: Logs(LOGS))
    say("kept")
    progress.close()
    progress.close()
    bar = "━" * 6 + "─" * 14
    assert screen(capsys.readouterr().out) == [
        f" 4/12 {bar} 0s 125ms/step - loss: 0.3021 - accuracy: 0.9123",
        "kept",
        "",
    ]


def test_an_epoch_that_ended_early_shows_the_steps_done(progress, capsys, terminal):
    fit(progress, epochs=1, steps=20)
    assert screen(capsys.readouterr().out)[0].startswith("12/20 ━━━━━━━━━━━━────────")


def test_from_the_second_epoch_on_an_unknown_number_is_expected(progress, capsys, terminal):
    fit(progress, steps=None)
    written = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", capsys.readouterr().out)
    first, second = written.split("Epoch 2/2")
    assert "4/Unknown 2s" in first
    assert " 4/12 ━━━━━━" in second
    assert "Unknown" not in second


@pytest.mark.parametrize("what", ["test", "predict"])
def test_evaluate_and_predict(progress, capsys, terminal, what):
    callbacks = CallbackList(progress, params={"verbose": 1, "epochs": 1, "steps": 4})
    assert isinstance(progress, ProgbarLogger)
    getattr(callbacks, f"on_{what}_begin")()
    assert getattr(callbacks, f"reads_{what}_batches")()
    for batch in range(4):
        progress._clock.now += 0.5
        getattr(callbacks, f"on_{what}_batch_end")(batch, Logs(LOGS if what == "test" else {"outputs": [1.0]}))
    getattr(callbacks, f"on_{what}_end")(Logs(LOGS if what == "test" else {}))
    numbers = " - loss: 0.3021 - accuracy: 0.9123" if what == "test" else ""
    assert screen(capsys.readouterr().out) == [f"4/4 {FULL} 2s 500ms/step{numbers}", ""]


def test_a_terminal_without_the_signs_gets_plain_ones(progress, monkeypatch, terminal, tmp_path):
    path = tmp_path / "out"
    with open(path, "w", encoding="ascii", newline="") as file:
        monkeypatch.setattr(sys, "stdout", file)
        fit(progress, epochs=1)
        monkeypatch.undo()
    with open(path, newline="") as file:
        assert screen(file.read())[0].startswith("12/12 " + "=" * 20)


def test_a_notebook_gets_one_display(progress, monkeypatch, capsys):
    shown, updates = [], []

    class Handle:
        def update(self, content, raw):
            assert raw
            updates.append(content["text/plain"])

    def display(content, raw, display_id):
        assert raw
        assert display_id is True
        shown.append(content["text/plain"])
        return Handle()

    ipython, inner = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    inner.display = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", inner)
    monkeypatch.delenv("VERAX_PROGRESS", raising=False)
    fit(progress, epochs=30)
    assert len(shown) == 1
    assert capsys.readouterr().out == ""
    last = updates[-1].splitlines()
    assert last[-3:] == [
        "Epoch 30/30",
        f"12/12 {FULL} 2s 125ms/step - loss: 0.3021 - accuracy: 0.9123",
        "      val_loss: 0.2011 - val_accuracy: 0.9401",
    ]
    assert last[0] == f"… {3 * 30 - 1 - len(last) + 2} lines before"
    assert len(last) < 30


def test_a_printing_callback_does_not_change_what_is_heard(progress, terminal):
    """With chunks told, the line asks for no batch, however it is shown."""
    callbacks = CallbackList(
        [LambdaCallback(on_epoch_end=print), progress], params={"verbose": 1, "epochs": 1, "steps": 3, "chunks": True}
    )
    callbacks.on_train_begin()
    assert not callbacks.reads_batches()
    assert not callbacks.acts_between_batches()
    progress._chunks = False
    assert callbacks.reads_batches()
    assert not callbacks.acts_between_batches()
    assert not callbacks.reads_test_batches()  # the validation inside fit is silent
