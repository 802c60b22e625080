"""The programs in examples/: each is run once, and what it leaves behind and prints is there for every test."""

from __future__ import annotations

import contextlib
import functools
import io
import runpy
from pathlib import Path
from typing import Any, NamedTuple

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


class Ran(NamedTuple):
    """A program that has run: its global names, and what it printed."""

    names: dict[str, Any]
    printed: str


def run(name: str) -> Ran:
    """Run the example whose file name begins with ``name``, in this process, under the tests' strict rules."""
    (path,) = (p for p in EXAMPLES if p.stem.startswith(name))
    return _run(path)


@functools.cache
def _run(path: Path) -> Ran:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        names = runpy.run_path(str(path), run_name="__main__")
    return Ran(names, printed.getvalue())
