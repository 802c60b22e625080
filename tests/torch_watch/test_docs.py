"""The page for PyTorch users is run, as the other pages are where PyTorch is not installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_docs import ELSEWHERE, run_page


@pytest.mark.parametrize("page", ELSEWHERE, ids=lambda p: p.name)
@pytest.mark.filterwarnings("ignore")
def test_what_a_page_says_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run_page(page, tmp_path, monkeypatch)
