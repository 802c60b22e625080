"""The ``verax`` command: ``demo`` trains a network on real digits, ``explain`` runs a training script of Keras or
PyTorch and says why its two numbers differ, ``inspect`` says what a file of a model holds."""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import verax  # a command is the outermost edge: it uses the public names, which open as they are needed
from verax import script

if TYPE_CHECKING:
    from verax.ledger.reading import Reading

__all__ = ["demo", "inspect", "main"]

_INTERRUPTED = 130  # what a shell expects of a program that Ctrl-C ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    It is 0; 1 for an error of Verax, or a file in which ``inspect`` finds something unsafe; 2 for a wrong argument; 130
    for Ctrl-C; of ``explain`` it is that of the script, and 1 where there was nothing to explain.

    Args:
        arguments: The words after ``verax``; those of the process when None.
    """
    parser = _parser()
    asked = parser.parse_args(arguments)
    if asked.command is None:
        parser.print_help()
        return 0
    try:
        if asked.command == "inspect":
            return inspect(asked.file, as_json=asked.json)
        if asked.command == "explain":
            return script.explain_script(asked.script, asked.arguments, html=asked.html, as_json=asked.json)
        demo(epochs=asked.epochs, seed=asked.seed)
    except verax.errors.VeraxError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return _INTERRUPTED
    return 0


def inspect(file: str, *, as_json: bool = False) -> int:
    """Print what a file of a model holds; the exit status, which is 1 where something in it is unsafe.

    Args:
        file: The file.
        as_json: Whether to print it for machines.
    """
    # Opened here: what a script sets for its libraries before it imports them is set too late after this.
    inspecting, showing = (importlib.import_module(f"verax.formats.{name}") for name in ("inspecting", "showing"))
    report = inspecting.inspect_file(file)
    if as_json:
        print(json.dumps(report, indent=2, default=str))
    else:
        showing.show(report)
    return 0 if report["safe"] else 1


def demo(epochs: int = 10, seed: int = 0) -> None:
    """Train a small convolutional network on the digits; print its history and what each number measured.

    Args:
        epochs: How often every training image is seen.
        seed: Fixes the initial weights, the order of the rows, and the dropout masks.
    """
    verax.utils.set_random_seed(seed)
    (x, y), (x_test, y_test) = verax.datasets.digits.load_data()
    x, x_test = x[..., None] / 16.0, x_test[..., None] / 16.0
    _say(
        f"{len(x) + len(x_test):,} real handwritten digits, 8 x 8 pixels (UCI, E. Alpaydin and C. Kaynak, CC BY 4.0): "
        f"{len(x_test)} images are kept for the test, and a tenth of the others for validation."
    )
    model = _network()
    model.compile(verax.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x, y, epochs=epochs, validation_split=0.1)
    test = model.measure(x_test, y_test)

    _title("History")
    print(_table(history.history))
    _title(f"What each number of epoch {len(history.epoch)} measured")
    for readings in history.readings.values():
        _say(str(readings[-1]), bullet=True)
    _title("Why val_loss is not loss, cause by cause")
    print(history.gap())
    _title("Test: images the network has never seen")
    for reading in test.values():
        _say(str(reading), bullet=True)
    print(f"\nTest accuracy {_percent(test['accuracy'])}")


def _network() -> verax.Model:
    layers = verax.layers
    return verax.Sequential(
        [
            verax.Input((8, 8, 1)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.BatchNormalization(momentum=0.9),
            layers.Conv2D(32, 3, activation="relu"),
            layers.BatchNormalization(momentum=0.9),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.4),
            layers.Dense(10, activation="softmax"),
        ],
        name="digits",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="verax", description="Deep learning on JAX in which every number says what it measured."
    )
    parser.add_argument("--version", action="version", version=f"verax {verax.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    shown = commands.add_parser(
        "demo",
        help="train a small network on real digits",
        description="Train a small convolutional network on 1,797 handwritten digits; no download, a few seconds.",
    )
    shown.add_argument("--epochs", type=int, default=10, metavar="N", help="epochs to train (default: 10)")
    shown.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the run (default: 0)")
    ran = commands.add_parser(
        "explain",
        help="run a training script of Keras or PyTorch, and explain its gap",
        description="Run a training script of Keras or PyTorch as it is, and say at its end why its validation number "
        "is not its training number. Options of verax stand before the script; what follows it is the script's.",
    )
    ran.add_argument("--html", metavar="FILE", help="write a page with the picture")
    ran.add_argument("--json", action="store_true", help="print all of it for machines: the last line of the output")
    ran.add_argument("script", metavar="script.py", help="the script")
    ran.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="the script's own arguments")
    looked = commands.add_parser(
        "inspect",
        help="say what a file of a model holds",
        description="Say what a file holds, without making the model and without running anything of it: .keras, "
        ".weights.h5, .h5, .safetensors, .npz, and files that model.export wrote. Exit status 1: it cannot be read, "
        "or something in it is unsafe.",
    )
    looked.add_argument("file", metavar="FILE", help="the file")
    looked.add_argument("--json", action="store_true", help="all of it, for machines")
    return parser


def _width() -> int:
    return max(40, min(80, shutil.get_terminal_size().columns))


def _say(text: str, *, bullet: bool = False) -> None:
    first, rest = ("- ", "  ") if bullet else ("", "")
    wrapped = textwrap.fill(text, _width(), initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
    print(wrapped)


def _title(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}")


def _table(history: Mapping[str, Sequence[float]]) -> str:
    """Epochs as rows, numbers as columns.

    >>> print(_table({"loss": [0.5, 0.25], "val_loss": [0.75, 0.125]}))
    epoch    loss  val_loss
        1  0.5000    0.7500
        2  0.2500    0.1250
    """
    widths = {name: max(len(name), 6) for name in history}
    lines = ["  ".join(["epoch", *(name.rjust(width) for name, width in widths.items())])]
    for epoch, numbers in enumerate(zip(*history.values(), strict=True), start=1):
        cells = (f"{number:.4f}".rjust(width) for number, width in zip(numbers, widths.values(), strict=True))
        lines.append("  ".join([f"{epoch:5}", *cells]))
    return "\n".join(lines)


def _percent(reading: Reading) -> str:
    """``98.6 %, with a standard error of 0.6 %, over 359 rows``, from the reading's own sums."""
    error = "" if reading.stderr != reading.stderr else f", with a standard error of {reading.stderr:.1%}"
    return f"{reading.value:.1%}{error}: {round(reading.sum)} of {reading.facts.rows.count} images right."
