"""``verax explain script.py``: the script runs as it does without, and the fits of its Keras models are explained."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from verax import cli, script
from verax.errors import InputError, MissingFileError, StateError


def shell(folder: Path, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """A Python command in a folder, as a shell runs it."""
    source = str(Path(script.__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": source, "COLUMNS": "80", "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    ran = subprocess.run([sys.executable, *words], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == status, ran.stdout + ran.stderr
    return ran


def both(folder: Path, *words: str, status: int = 0) -> tuple[str, str]:
    """What a script prints without verax and with it, behind what is the same."""
    plain = shell(folder, *words, status=status)
    heard = shell(folder, "-m", "verax", "explain", *words, status=status or 1)
    assert heard.stdout.startswith(plain.stdout)
    assert heard.stderr.startswith(plain.stderr)
    return heard.stdout[len(plain.stdout) :], heard.stderr[len(plain.stderr) :]


ABOUT = """
import os
import pickle
import sys
import warnings

from beside import there


class Own:
    pass


assert isinstance(pickle.loads(pickle.dumps(Own())), Own)
assert sys.modules["__main__"].Own is Own
assert not {"numpy", "jax", "rich"} & set(sys.modules)  # what is set for them now is in time
print(__name__, __file__, __package__, __spec__, type(__loader__).__name__, __doc__)
print(sys.argv, sys.path[0], os.getcwd(), there, sys.stdout.isatty(), sys.stdout.encoding, type(sys.stdout).__name__)
print(open("data.txt").read(), sys.stdin.read(), [w[0] for w in warnings.filters])
print("half a line", end="", file=sys.stderr)
"""


def test_a_script_finds_everything_as_it_does_without(tmp_path: Path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "beside.py").write_text("there = 1\n")
    (tmp_path / "code" / "train.py").write_text(ABOUT)
    (tmp_path / "linked.py").symlink_to("code/train.py")
    (tmp_path / "data.txt").write_text("data")
    for name in ("code/train.py", "linked.py"):
        out, err = both(tmp_path, name, "--json", "-x", "--", "--html", "a b")
        assert out == ""
        assert "it imported neither Keras nor PyTorch" in err


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("import sys\nsys.exit(0)\n", 0),
        ("import sys\nsys.exit()\n", 0),
        ("import sys\nsys.exit(5)\n", 5),
        ("import sys\nsys.exit('what went wrong')\n", 1),
        ("try:\n    int('a')\nexcept ValueError as e:\n    raise KeyError(1) from e\n", 1),
        ("import nothing_of_this_name\n", 1),
        ("print('not reached'\n", 1),
        ("import sys\nsys.excepthook = lambda *error: print('own', error[1])\n1 / 0\n", 1),
    ],
    ids=["0", "none", "5", "text", "exception", "import", "syntax", "excepthook"],
)
def test_it_ends_as_it_does_without(tmp_path: Path, body: str, status: int):
    (tmp_path / "train.py").write_text(body)
    out, err = both(tmp_path, "train.py", status=status)
    assert out == ""
    assert err.startswith("The gap of a script's training was to be explained.") if status == 0 else err == ""


HEAD = """
import argparse

import keras
import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--drop", type=float, default=0.6)
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()
keras.utils.set_random_seed(options.seed)
rng = np.random.default_rng(options.seed)
x = rng.normal(size=(640, 20)).astype("float32")
y = (x @ rng.normal(size=(20, 1))).astype("float32")


def make(drop):
    model = keras.Sequential(
        [keras.Input((20,)), keras.layers.Dense(64, "relu"), keras.layers.Dropout(drop), keras.layers.Dense(1)]
    )
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    return model
"""

KERAS = """

if __name__ == "__main__":
    model = make(options.drop)
    history = model.fit(x[:480], y[:480], validation_data=(x[480:], y[480:]), epochs=8, verbose=2 * 0)
    print({name: values for name, values in history.history.items()})
    print(float(keras.ops.sum(model.layers[0].kernel)), float(keras.random.uniform(())), np.random.rand())
"""


def test_a_keras_script(tmp_path: Path):
    (tmp_path / "train.py").write_text(HEAD + KERAS)
    plain = shell(tmp_path, "train.py", "--seed", "3")
    heard = shell(tmp_path, "-m", "verax", "explain", "--html", "page.html", "train.py", "--seed", "3")
    assert heard.stdout.startswith(plain.stdout)
    report = heard.stdout[len(plain.stdout) :]
    assert report.startswith("\nWhy val_loss is not loss, cause by cause\n----")
    assert max(map(len, report.splitlines())) <= 80
    assert "val_loss is " in report
    assert "dropout is on in training and off in inference" in " ".join(report.split())
    assert heard.stderr == plain.stderr + f"Written: {tmp_path / 'page.html'}\n"
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")


def gaps(folder: Path, body: str) -> tuple[list[dict[str, object]], list[str]]:
    (folder / "train.py").write_text(HEAD + body)
    heard = shell(folder, "-m", "verax", "explain", "--json", "train.py")
    told = json.loads(heard.stdout.splitlines()[-1])
    return told["gaps"], told["unexplained"]


def test_every_fit_of_a_script_for_machines(tmp_path: Path):
    body = """
make(0.6).fit(x[:480], y[:480], validation_data=(x[480:], y[480:]), epochs=8, verbose=0)
make(0.0).fit(x[:480], y[:480], epochs=2, verbose=0)
make(0.0).fit(x[:480], y[:480], validation_data=(4 * x[480:], y[480:]), epochs=8, verbose=0)
"""
    found, unexplained = gaps(tmp_path, body)
    largest = [max(gap["amounts"], key=lambda a: abs(a["change"]))["cause"] for gap in found]  # type: ignore[index, call-overload]
    assert largest == ["DROPOUT", "ROWS"]
    assert [gap["of"] for gap in found] == ["sequential", "sequential_2"]
    assert len(unexplained) == 1
    assert unexplained[0].startswith("sequential_1: ")


def test_nothing_to_explain_of_a_fit(tmp_path: Path):
    (tmp_path / "train.py").write_text(HEAD + "make(0.6).fit(x, y, verbose=0)\n")
    heard = shell(tmp_path, "-m", "verax", "explain", "train.py", status=1)
    assert heard.stdout == ""
    assert "validat" in heard.stderr
    assert "Traceback" not in heard.stderr


def test_a_failure_of_a_model_has_the_scripts_traceback(tmp_path: Path):
    (tmp_path / "train.py").write_text(HEAD + "make(0.6).fit(x, y[:3], verbose=0)\n")
    out, err = both(tmp_path, "train.py", status=1)
    assert (out, err) == ("", "")


# ---- within this process ---------------------------------------------------------------------------------------------


def test_wrong_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(MissingFileError, match=r"no file of this name"):
        script.explain_script(str(tmp_path / "none.py"))
    (tmp_path / "train.py").write_text("raise SystemExit(3)\n")
    with pytest.raises(InputError, match=r"its folder does not exist"):
        script.explain_script(str(tmp_path / "train.py"), html=str(tmp_path / "none" / "page.html"))
    assert cli.main(["explain", str(tmp_path / "none.py")]) == 1
    assert "A training script was to be run." in capsys.readouterr().err
    assert cli.main(["explain", str(tmp_path / "train.py"), "--json"]) == 3


def test_ctrl_c_in_a_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "train.py").write_text("raise KeyboardInterrupt\n")
    assert cli.main(["explain", str(tmp_path / "train.py")]) == 130
    assert "KeyboardInterrupt" in capsys.readouterr().err


def test_nothing_stays_behind(tmp_path: Path):
    before = sys.argv[:], sys.path[:], sys.meta_path[:], sys.modules["__main__"], sys.stdout.write
    (tmp_path / "train.py").write_text("import sys\nsys.path.append('x')\nsys.argv.append('x')\nprint(1.5)\n")
    with pytest.raises(StateError):
        script.explain_script(str(tmp_path / "train.py"))
    assert before == (sys.argv, sys.path, sys.meta_path, sys.modules["__main__"], sys.stdout.write)


def test_what_is_printed_is_kept_to_a_bound(capsys: pytest.CaptureFixture[str]):
    printed = script.Printed(most=100)
    with printed.heard(sys.stdout, None):
        for i in range(1000):
            print(f"step {i}: 0.{i}")
    print("later")
    assert len(printed.text) == 100
    assert printed.text.endswith("step 999: 0.999\n")
    assert len(capsys.readouterr().out.splitlines()) == 1001
    printed.begin()
    assert printed.text == ""


def test_an_import_is_told_once_and_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "library_of_a_test.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    told: list[str] = []
    finder = script._Opening(["library_of_a_test"], told.append)
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    import importlib.util

    assert importlib.util.find_spec("library_of_a_test") is not None  # to look for it is not to import it
    assert told == []
    library = importlib.import_module("library_of_a_test")
    assert told == ["library_of_a_test"]
    assert library.value == 1
    assert "exec_module" not in vars(library.__loader__)
    importlib.reload(library)
    assert told == ["library_of_a_test"]
