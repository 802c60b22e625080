"""The text of a progress line: pure functions of numbers, without a clock, a terminal or a colour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["count", "duration", "line", "measured", "number", "pace"]

BAR = 20
DONE, LEFT = "━", "─"
_CUT = " …"


def number(value: Any) -> str:
    """A number as Keras' progress bar writes it: 4 decimals, or scientific where these would say little.

    >>> [number(v) for v in (0.30214, 1e-4, -2.5, 0.0, 3.2e9, float("nan"))]
    ['0.3021', '1.0000e-04', '-2.5000', '0.0000', '3.2000e+09', 'nan']
    """
    if not isinstance(value, (int, float)):
        return str(value)
    if value == 0 or 1e-3 < abs(value) < 1e8 or value != value:
        return f"{value:.4f}"
    return f"{value:.4e}"


def measured(logs: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, number) in the order of the line: the loss first, the others as given, ``val_`` names, the learning rate.

    >>> measured({"val_loss": 2.0, "learning_rate": 0.1, "accuracy": 0.5, "loss": 1.0})
    [('loss', '1.0000'), ('accuracy', '0.5000'), ('val_loss', '2.0000'), ('learning_rate', '0.1000')]
    """

    def place(name: str) -> tuple[bool, bool, bool]:
        return name == "learning_rate", name.startswith("val_"), name.removeprefix("val_") != "loss"

    return [(name, number(logs[name])) for name in sorted(logs, key=place)]


def duration(seconds: float) -> str:
    """A duration to read at a glance.

    >>> [duration(s) for s in (0.4, 59, 61, 3725)]
    ['0s', '59s', '1:01', '1:02:05']
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def pace(per_step: float, unit: str = "step") -> str:
    """Seconds a step, in the unit that fits.

    >>> [pace(s) for s in (2.2, 0.0051, 34e-6)]
    ['2s/step', '5ms/step', '34us/step']
    """
    if per_step >= 0.9995:
        return f"{per_step:.0f}s/{unit}"
    if per_step >= 0.9995e-3:
        return f"{per_step * 1e3:.0f}ms/{unit}"
    return f"{per_step * 1e6:.0f}us/{unit}"


def count(step: int, steps: int | None) -> str:
    """``" 4/12"``, or ``"4/Unknown"``; of one width through an epoch where the end is known."""
    return f"{step}/Unknown" if steps is None else f"{step:>{len(str(steps))}}/{steps}"


def line(
    step: int,
    steps: int | None,
    seconds: float,
    logs: Mapping[str, Any],
    width: int,
    *,
    per_step: float | None = None,
    final: bool = False,
    note: str = "",
    bar: int = BAR,
    unit: str = "step",
) -> str:
    """The progress line of one epoch or evaluation.

    Args:
        step: Steps done.
        steps: Steps there are; None while unknown.
        seconds: Since the beginning.
        logs: name -> number, over the steps done.
        width: Columns there are. No line of the text is longer, but for a single metric that is longer by itself.
        per_step: Seconds a step; by default seconds / step.
        final: The text that stays. While running, the time is the time left (where the end is known), and what does not
            fit is cut off: first half of the bar, then the bar, then the last metrics. The final text shows the time it
            took and every metric, on more lines if need be, the ``val_`` names on one of their own.
        note: What is going on besides, such as "validating".
        bar: The length of the bar.
        unit: What a step is called.

    >>> logs = {"loss": 0.3021, "accuracy": 0.9123}
    >>> print(line(9, 45, 0.9, logs, 80))
     9/45 ━━━━──────────────── 4s 100ms/step - loss: 0.3021 - accuracy: 0.9123
    >>> print(line(9, 45, 0.9, logs, 64))
     9/45 ━━──────── 4s 100ms/step - loss: 0.3021 - accuracy: 0.9123
    >>> print(line(9, 45, 0.9, logs, 44))
     9/45 4s 100ms/step - loss: 0.3021 …
    >>> print(line(45, 45, 4.6, {**logs, "val_loss": 0.2, "val_accuracy": 0.9}, 80, final=True))
    45/45 ━━━━━━━━━━━━━━━━━━━━ 5s 102ms/step - loss: 0.3021 - accuracy: 0.9123
          val_loss: 0.2000 - val_accuracy: 0.9000
    """
    each = per_step if per_step is not None else seconds / step if step else 0.0
    shown = seconds if final or steps is None else each * max(steps - step, 0)
    times = [f"{duration(shown)} {pace(each, unit)}"] if step else []
    metrics = [f"{name}: {text}" for name, text in measured(logs)]
    notes = [note] if note else []
    heads = [" ".join([count(step, steps), *_bar(step, steps, length), *times]) for length in (bar, bar // 2, 0)]
    if final:
        head = next((head for head in heads if len(head) <= width), heads[-1])
        return _wrapped(head, metrics, len(count(step, steps)) + 1, width)
    for head in heads:
        text = " - ".join([head, *metrics, *notes])
        if len(text) <= width:
            return text
    while metrics:
        metrics.pop()
        text = " - ".join([heads[-1], *metrics, *notes]) + _CUT
        if len(text) <= width:
            return text
    return heads[-1][:width]


def _bar(step: int, steps: int | None, length: int) -> list[str]:
    if not steps or not length:
        return []
    done = min(length, length * step // steps)
    return [DONE * done + LEFT * (length - done)]


def _wrapped(head: str, metrics: list[str], indent: int, width: int) -> str:
    """``head`` and all metrics; on one line if it fits, else on several."""
    whole = " - ".join([head, *metrics])
    if len(whole) <= width:
        return whole
    lines, validating = [head], False
    for metric in metrics:
        wider = f"{lines[-1]} - {metric}"
        if len(wider) > width or (metric.startswith("val_") and not validating):
            lines.append(" " * indent + metric)
        else:
            lines[-1] = wider
        validating = validating or metric.startswith("val_")
    return "\n".join(lines)
