"""The progress line of fit, evaluate and predict: on a terminal, in a notebook, or in a log file."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping
from typing import Any

from verax.callbacks.base import Callback
from verax.callbacks.messages import hold, put, release
from verax.callbacks.progress_text import DONE, LEFT, count, duration, line, measured, pace
from verax.errors import UnknownNameError
from verax.frame.interactive import is_interactive_logging_enabled

__all__ = ["ProgbarLogger", "ProgressLine", "screen_for"]

_FORMS = ("plain", "rich", "off")
_INTERVAL = 0.1  # seconds between redraws
_NOTEBOOK_WIDTH, _NOTEBOOK_LINES = 110, 24
# Parts of a line that get a colour: the count, what is done, what is left, and a time or a pace.
_COLOURED = re.compile(rf"(?P<count>^ *\d+/\S+)|(?P<done>{DONE}+)|(?P<left>{LEFT}+)|(?P<epoch>^Epoch .*)")
_STYLES = {"count": "bold", "done": "green", "left": "bright_black", "epoch": "bold"}


class _Quiet:
    """Shows nothing."""

    width = 80
    live = False

    def draw(self, text: str) -> None:
        """Show ``text`` in the place of what was drawn before."""

    def keep(self, text: str) -> None:
        """Show ``text`` in the place of what was drawn before, and leave it there."""


class _Plain(_Quiet):
    """Whole lines only: for files, pipes and logs."""

    def keep(self, text: str) -> None:
        put(text)


class _Terminal(_Quiet):
    """One line drawn over and over, with rich."""

    live = True

    def __init__(self, force: bool):
        from rich.console import Console
        from rich.control import Control
        from rich.segment import ControlType
        from rich.text import Text

        self.console = Console(file=sys.stdout, force_terminal=True if force else None, highlight=False, emoji=False)
        self._text = Text
        self._to_start = Control(ControlType.CARRIAGE_RETURN)
        self._erase = Control((ControlType.ERASE_IN_LINE, 0))
        self._simple = not _can_encode(self.console.file)

    @property
    def width(self) -> int:  # type: ignore[override]
        # In the last column many terminals wrap before the next character, and the line could not be redrawn.
        return self.console.width - 1

    def draw(self, text: str) -> None:
        styled = self._styled(text)
        with self.console:  # one write, and erased after the text and not before: nothing flickers
            self.console.control(self._to_start)
            self.console.print(styled, end="", soft_wrap=True)
            self.console.control(self._erase)

    def keep(self, text: str) -> None:
        styled = self._styled(text)
        with self.console:  # erased before: the text may have more lines than what was drawn
            self.console.control(self._to_start)
            self.console.control(self._erase)
            self.console.print(styled, soft_wrap=True)

    def _styled(self, text: str) -> Any:
        if self._simple:
            text = text.replace(DONE, "=").replace(LEFT, ".").replace("…", "...")
        styled = self._text(text, no_wrap=True, overflow="ignore", end="")
        for match in _COLOURED.finditer(text):
            styled.stylize(_STYLES[str(match.lastgroup)], *match.span())
        return styled


class _Notebook(_Quiet):
    """One display of the notebook, updated; the last lines of a long fit are enough."""

    live = True
    width = _NOTEBOOK_WIDTH

    def __init__(self) -> None:
        self._kept: list[str] = []
        self._dropped = 0
        self._handle: Any = None

    def draw(self, text: str) -> None:
        from IPython.display import display  # pyright: ignore[reportMissingImports]

        before = [f"… {self._dropped} lines before"] if self._dropped else []
        content = {"text/plain": "\n".join([*before, *self._kept, text])}
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)

    def keep(self, text: str) -> None:
        self.draw(text)
        self._kept += text.split("\n")
        extra = max(len(self._kept) - _NOTEBOOK_LINES, 0)
        self._kept = self._kept[extra:]
        self._dropped += extra


def _can_encode(file: Any) -> bool:
    try:
        (DONE + LEFT + "…").encode(getattr(file, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this; IPython is loaded there already."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


def screen_for(verbose: int) -> _Quiet:
    """Where this run shows its progress."""
    form = os.environ.get("VERAX_PROGRESS", "").strip().lower()
    if form and form not in _FORMS:
        raise UnknownNameError.among("VERAX_PROGRESS form", form, _FORMS)
    if not verbose or form == "off":
        return _Quiet()
    if verbose == 2 or form == "plain" or not is_interactive_logging_enabled():
        return _Plain()
    if form == "rich":
        return _Terminal(force=True)
    if _in_notebook():
        return _Notebook()
    if sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        return _Terminal(force=False)
    return _Plain()


class ProgressLine(Callback):
    """Show how far a fit, an evaluation or a prediction is, and its numbers; ``fit(verbose=...)`` adds one.

    ``params["verbose"]``: 0 shows nothing; 1 and "auto" a line that is redrawn, at most ten times a second; 2 one line
    an epoch. Where nothing can be redrawn (a file, a pipe) 1 is as 2; in a notebook it is one display. The environment
    variable VERAX_PROGRESS overrides: ``plain`` (one line an epoch), ``rich`` (redrawn, even into a pipe), ``off``.

    The numbers while an epoch runs are those over its batches so far. The final time includes the validation; the time
    a step does not, and leaves out the first chunk (which compiles) where there is another. An unknown number of steps
    is shown as ``12/Unknown``; from the second epoch on, that of the epoch before is expected.

    Put it last in the list, so that the names the other callbacks add are shown. What they say while a line is being
    redrawn is printed below it when it is finished. `close` leaves the terminal tidy after an interrupted run.

    Raises:
        UnknownNameError: For another value of VERAX_PROGRESS, when a run begins.

    Differs from Keras: the loss comes first, then the metrics, the ``val_`` numbers, and the learning rate; on a narrow
    terminal the final numbers go on in a second line and are not wrapped anywhere; ``evaluate`` inside ``fit`` is noted
    as "validating".
    """

    replay = True
    _clock = staticmethod(time.perf_counter)

    def __init__(self) -> None:
        self._verbose, self._epochs = 1, 1
        self._steps: int | None = None
        self._expected: int | None = None
        self._chunks = False
        self._in_fit = False
        self._screen: _Quiet = _Quiet()
        self._open = False
        self._title = ""
        self._begin(steps=None)

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Read ``verbose``, ``epochs``, ``steps`` and ``chunks``."""
        super().set_params(params)
        verbose = params.get("verbose", 1)
        self._verbose = 1 if verbose == "auto" else int(verbose)
        self._epochs = int(params.get("epochs", 1) or 1)
        self._steps = params.get("steps")
        self._chunks = bool(params.get("chunks", False))

    def hears(self, hook: str) -> bool:
        """Batches are heard only where they are shown, or counted, and where no chunk tells of them."""
        if "_batch_" not in hook:
            return super().hears(hook)
        if not hook.endswith("_end") or self._chunks or (self._in_fit and not hook.startswith("on_train")):
            return False
        return self._screen.live or (self._steps is None and not self._is_silent())

    def _is_silent(self) -> bool:
        return type(self._screen) is _Quiet

    # -- what happens ------------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Any = None) -> None:
        """Find out where to show progress."""
        self._screen = screen_for(self._verbose)
        self._in_fit, self._expected = True, None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Begin a line."""
        self._title = f"Epoch {epoch + 1}/{self._epochs}" if self._epochs > 1 else ""
        if self._title and self._screen.live:
            self._screen.keep(self._title)
        # Where nobody knows the number of steps, the epoch before is the best guess.
        self._begin(self._steps or self._expected)
        self._redraw()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Redraw, if it is time."""
        self._at(batch + 1, logs)

    def on_chunk_end(self, done: int, logs: Any = None) -> None:
        """Redraw, if it is time."""
        if not self._validating:
            self._at(done, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """The line that stays."""
        self._finish(logs)

    def on_train_end(self, logs: Any = None) -> None:
        """Forget the run."""
        self.close()
        self._in_fit = False

    def on_test_begin(self, logs: Any = None) -> None:
        """Begin a line; inside ``fit``, say that the validation runs."""
        if self._in_fit:
            self._validating, self._until = True, self._clock()
            self._redraw(note="validating")
        else:
            self._begin_alone()

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Redraw, if it is time."""
        if not self._in_fit:
            self._at(batch + 1, logs)

    def on_test_end(self, logs: Any = None) -> None:
        """The line that stays."""
        if self._in_fit:
            self._validating = False
        else:
            self._finish(logs)

    def on_predict_begin(self, logs: Any = None) -> None:
        """Begin a line."""
        self._begin_alone()

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        """Redraw, if it is time; outputs are no numbers to show."""
        self._at(batch + 1, None)

    def on_predict_end(self, logs: Any = None) -> None:
        """The line that stays."""
        self._finish(None)

    def close(self) -> None:
        """End a line that was being redrawn, so that what is printed next stands below it."""
        if self._open:
            self._open = False
            if self._screen.live:
                self._screen.keep(self._text(final=True))
        release()

    # -- the line ----------------------------------------------------------------------------------------------------

    def _begin_alone(self) -> None:
        self._title = ""
        self._screen = screen_for(self._verbose)
        self._begin(self._steps)
        self._redraw()

    def _begin(self, steps: int | None) -> None:
        self._of = steps
        self._done = 0
        self._logs: Mapping[str, Any] = {}
        self._started = self._clock()
        self._drawn = self._started - _INTERVAL
        self._until: float | None = None  # when the training steps ended, once the validation has begun
        self._marks: list[tuple[float, int]] = []  # the first and the last redraw with steps done: (time, steps)
        self._validating = False
        self._open = not self._is_silent()
        if self._open:
            hold()

    def due(self) -> bool:
        """Whether the numbers of a chunk would be shown."""
        return self._screen.live and (self._clock() - self._drawn >= _INTERVAL or not self._marks)

    def _at(self, done: int, logs: Mapping[str, Any] | None) -> None:
        self._done = done
        now = self._clock()
        if now - self._drawn >= _INTERVAL or not self._marks:
            self._logs = logs or {}
            self._marks = [*self._marks[:1], (now, done)]
            self._redraw()

    def _redraw(self, note: str = "") -> None:
        if self._screen.live:
            self._screen.draw(self._text(note=note))
        self._drawn = self._clock()

    def _text(self, final: bool = False, note: str = "") -> str:
        seconds = self._clock() - self._started
        return line(
            self._done,
            self._of,
            seconds,
            self._logs,
            self._screen.width,
            per_step=self._per_step(),
            final=final,
            note=note,
        )

    def _per_step(self) -> float | None:
        """Seconds a step, between the first and the last redraw; the first chunk compiles, and would mislead."""
        if len(self._marks) == 2 and self._marks[1][1] > self._marks[0][1]:
            (first, a), (last, b) = self._marks
            return (last - first) / (b - a)
        until = self._clock() if self._until is None else self._until
        return (until - self._started) / self._done if self._done else None

    def _finish(self, logs: Mapping[str, Any] | None) -> None:
        if not self._open:
            return
        counted = self._chunks or self._screen.live or self._steps is None
        if not counted:  # no batch was heard
            self._done = self._of or 0
        if self._steps is None and self._done:
            self._of = self._expected = self._done
        self._logs = logs or {}
        self._open = False
        if self._screen.live:
            self._screen.keep(self._text(final=True))
        else:
            self._screen.keep(self._plain())
        release()

    def _plain(self) -> str:
        per_step = self._per_step()
        times = [duration(self._clock() - self._started), *([pace(per_step)] if per_step else [])]
        numbers = [f"{name}: {text}" for name, text in measured(self._logs)]
        return " - ".join([*([self._title] if self._title else []), count(self._done, self._of), *times, *numbers])


ProgbarLogger = ProgressLine
