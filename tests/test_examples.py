"""Every file in examples/ runs to its end, shows readings as sentences, and is short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.programs import EXAMPLES, run


def test_the_six_programs_are_there():
    assert [p.stem[:8] for p in EXAMPLES if p.stem.startswith("program")] == [f"program{n}" for n in range(1, 7)]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_example_runs(path: Path):
    printed = run(path.stem).printed
    assert "loss" in printed
    assert " = mean over " in printed  # a reading's sentence


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_example_is_short_and_public(path: Path):
    text = path.read_text()
    assert len(text.splitlines()) <= 70
    assert text.startswith('"""')
    imports = [line for line in text.splitlines() if line.startswith(("import ", "from "))]
    assert not [line for line in imports if "verax." in line]
    assert not re.search(r"\._[a-z]", text)
