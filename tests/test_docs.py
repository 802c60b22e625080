"""The documentation is run: every Python block of a page in one namespace, in order, and its shown output compared.

A reader has JAX as it comes, so the pages run under JAX's own promotion rules and not under the tests' strict ones.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

import jax
import pytest

from verax.frame.names import clear_session

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

#: Pages that need another environment: tests/torch_watch/test_docs.py runs them.
ELSEWHERE = [ROOT / "docs" / "pytorch_models.md"]

#: Shown numbers of a training run agree to this; a processor that adds in another order trains a little differently.
RELATIVE, ABSOLUTE = 0.02, 0.02

#: The bars of a table: drawn from numbers that are compared themselves.
BARS = re.compile("[█▐▌│]+")

#: Whether the last shown digits add up depends on the last digit of one of them.
ROUNDED = re.compile(r"The amounts are rounded: as shown they add up to [-+\d.,]+\.?\s*")

NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")


@dataclass(frozen=True)
class Block:
    """A fenced block: what follows the fence's backticks, its text, and the line it begins at."""

    kind: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    lines = page.read_text().splitlines()
    found: list[Block] = []
    opened: int | None = None
    for i, line in enumerate(lines):
        if line.lstrip().startswith("```"):
            if opened is None:
                opened = i
            else:
                text = textwrap.dedent("\n".join(lines[opened + 1 : i]))
                found.append(Block(lines[opened].strip().removeprefix("```"), text, opened + 1))
                opened = None
    assert opened is None, f"{page.name}:{opened} opens a block that nothing closes"
    return found


def agree(shown: str, printed: str) -> bool:
    """Equal words, and numbers that agree; a line ``...`` stands for any lines, white space for any other."""
    if "..." in shown.split("\n"):
        head, tail = (part.strip("\n") for part in shown.split("\n...\n", 1))
        have = printed.splitlines()
        n, m = len(head.splitlines()), len(tail.splitlines())
        return len(have) >= n + m and agree(head, "\n".join(have[:n])) and agree(tail, "\n".join(have[len(have) - m :]))
    shown, printed = (ROUNDED.sub("", BARS.sub(" ", text)) for text in (shown, printed))
    if NUMBER.sub("#", " ".join(shown.split())) != NUMBER.sub("#", " ".join(printed.split())):
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True)
    return all(_near(a, b) for a, b in pairs)


def _near(shown: str, printed: str) -> bool:
    a, b = (float(text.replace(",", "")) for text in (shown, printed))
    whole = not any(c in shown for c in ".e")
    return a == b if whole else math.isclose(a, b, rel_tol=RELATIVE, abs_tol=ABSOLUTE)


@pytest.mark.parametrize("page", [p for p in PAGES if p not in ELSEWHERE], ids=lambda p: str(p.relative_to(ROOT)))
def test_what_a_page_says_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run_page(page, tmp_path, monkeypatch)


def run_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clear_session()  # automatic layer names, as in a fresh interpreter
    monkeypatch.chdir(tmp_path)  # where a page writes files
    names: dict[str, object] = {"__name__": page.stem}
    printed = ""
    for block in blocks(page):
        where = f"{page.relative_to(ROOT)}:{block.line}"
        if block.kind == "python":
            out = io.StringIO()
            code = "\n" * block.line + block.text  # so that a traceback names the page's own lines
            relaxed = jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow")
            with contextlib.redirect_stdout(out), relaxed[0], relaxed[1]:
                exec(compile(code, str(page), "exec"), names)
            printed = out.getvalue()
        elif block.kind == "text":
            assert agree(block.text.strip("\n"), printed.strip("\n")), (
                f"{where} shows\n{block.text}\nand it is\n{printed}"
            )
        else:
            assert block.kind in ("sh", "toml"), f"{where}: a block of {block.kind!r} is neither run nor compared"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_comparison_sees_a_difference():
    assert agree("loss 0.50 of 10 rows", "loss  0.501 of 10 rows")
    assert not agree("loss 0.50 of 10 rows", "loss 0.50 of 11 rows")
    assert not agree("loss 0.50", "loss 0.60")
    assert not agree("loss 0.50", "val_loss 0.50")
    assert agree("a\n...\nz 1.0", "a\nb\nc\nz 1.0")
    assert not agree("a\n...\nz 1.0", "b\nz 1.0")
