"""The ``verax`` command."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import verax
from verax import cli


def test_version(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"verax {verax.__version__}\n"


def test_alone_it_prints_its_help(capsys: pytest.CaptureFixture[str]):
    assert cli.main([]) == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: verax")
    assert "demo" in out


def test_python_m_verax_is_the_same_command():
    ran = subprocess.run([sys.executable, "-m", "verax", "--version"], capture_output=True, text=True, check=True)
    assert ran.stdout == f"verax {verax.__version__}\n"


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        cli.main(["dmeo"])
    assert ended.value.code == 2
    assert "dmeo" in capsys.readouterr().err


def test_demo_trains_and_says_what_it_measured(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(["demo", "--epochs", "5", "--seed", "3"]) == 0
    out = capsys.readouterr().out
    report = out[out.index("History\n") :]  # above it stands the progress, one line an epoch where there is no terminal
    assert max(len(line) for line in report.splitlines()) <= 80
    # The table has a row for each epoch, the sentences stand for each of its numbers.
    assert re.search(r"^epoch +loss +accuracy +val_loss +val_accuracy$", out, re.MULTILINE)
    assert re.search(r"^    5 ( +\d\.\d{4}){4}$", out, re.MULTILINE)
    words = " ".join(out.split())
    assert "= mean over 1,294 training rows, each row at its own step's weights, before the update" in words
    assert "= mean over 144 validation rows, at the weights of the end of epoch 5" in words
    # The gap stands below them: its causes, and the rounding that is left.
    assert re.search(r"^ +dropout +[+-]\d\.\d{4}", report, re.MULTILINE)
    assert re.search(r"^ +different rows +[+-]\d\.\d{4}", report, re.MULTILINE)
    assert "residual" in words
    right = re.search(r"^Test accuracy (\d+\.\d)%.*: (\d+) of 359 images right\.$", out, re.MULTILINE)
    assert right is not None
    assert float(right[1]) == pytest.approx(100 * int(right[2]) / 359, abs=0.05)
    assert float(right[1]) > 95.0


def test_an_error_is_a_message_and_not_a_traceback(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["demo", "--epochs", "0"]) == 1
    err = capsys.readouterr().err
    assert "Received: 0" in err
    assert "Traceback" not in err


def test_ctrl_c_ends_quietly(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "demo", interrupted)
    assert cli.main(["demo"]) == 130
    assert "Stopped." in capsys.readouterr().err
