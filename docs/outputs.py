"""Runs pages of the documentation and writes what their Python blocks print into the text blocks below them.

    python docs/outputs.py docs/gap.md README.md

Read the difference before committing it: a changed number is a changed behaviour.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path

from verax.frame.names import clear_session
from verax.frame.seeds import set_random_seed

FENCED = re.compile(r"```(python|text)\n(.*?)```", re.DOTALL)


def refreshed(page: Path) -> str:
    """The page's text with the outputs of this run."""
    clear_session()
    set_random_seed(20)  # the seed that every test begins with
    names: dict[str, object] = {"__name__": page.stem}
    printed = ""

    def block(found: re.Match[str]) -> str:
        nonlocal printed
        kind, text = found.groups()
        if kind == "text":
            shown, printed = printed, ""
            return found[0] if "..." in text.split("\n") else f"```text\n{shown.rstrip()}\n```"
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(text, str(page), "exec"), names)
        printed = out.getvalue()
        return found[0]

    return FENCED.sub(block, page.read_text())


if __name__ == "__main__":
    for name in sys.argv[1:]:
        Path(name).write_text(refreshed(Path(name)))
