"""Training scripts of PyTorch, run as they are: ``verax explain script.py``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from verax import script
from verax.errors import StateError
from verax.ledger.causes import Cause
from verax.ledger.chain import Gap

HEAD = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
weights = torch.randn(20, 1)
x = torch.randn(640, 20)
y = x @ weights + 0.1 * torch.randn(640, 1)
train = DataLoader(TensorDataset(x[:480], y[:480]), batch_size=32, shuffle=True)
val = DataLoader(TensorDataset(x[480:], y[480:]), batch_size=40)
loss_fn = nn.MSELoss()


def make(drop=0.5):
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Dropout(drop), nn.Linear(64, 1))


def trained(model, opt):
    model.train()
    total = 0.0
    for bx, by in train:
        opt.zero_grad()
        loss = loss_fn(model(bx), by)
        loss.backward()
        opt.step()
        total += loss.item()
    return total / len(train)


@torch.no_grad()
def measured(model, loader=val):
    model.eval()
    return sum(loss_fn(model(bx), by).item() for bx, by in loader) / len(loader)


def fit(model, epochs=3):
    opt = torch.optim.Adam(model.parameters(), 1e-2)
    for epoch in range(epochs):
        print(f"epoch {epoch}: train {trained(model, opt):.4f}, val {measured(model):.4f}")
    return opt
"""


def written(folder: Path, body: str, name: str = "train.py") -> Path:
    path = folder / name
    path.write_text(HEAD + textwrap.dedent(body))
    return path


def gaps_of(path: Path, *arguments: str) -> list[tuple[str, Gap]]:
    with script.listening() as heard:
        assert script.run_script(str(path), arguments) == 0
    assert heard.troubles() == []
    return heard.reports()


def shell(folder: Path, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """A command in a folder, as a shell runs it."""
    env = {**os.environ, "PYTHONPATH": str(Path(script.__file__).parents[1]), "COLUMNS": "80"}
    ran = subprocess.run([sys.executable, *words], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == status, ran.stdout + ran.stderr
    return ran


def largest(gap: Gap) -> Cause:
    amounts = gap.by_cause()
    return max(amounts, key=lambda cause: abs(amounts[cause]))


PROGRAM = """
import argparse
import json
import sys

import shapes
import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--drop", type=float, default=0.0)
parser.add_argument("--json", action="store_true")  # an option of verax, too
options = parser.parse_args()


def main():
    torch.manual_seed(0)
    x, y = shapes.rows(json.load(open("data.json"))["rows"])
    model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Dropout(options.drop), nn.Linear(32, 1))
    opt = torch.optim.SGD(model.parameters(), lr=0.02, weight_decay=1e-2)
    for epoch in range(15):
        model.train()
        total, n = 0.0, 0
        for i in torch.randperm(400).split(48):
            opt.zero_grad()
            loss = nn.functional.mse_loss(model(x[i]), y[i])
            loss.backward()
            opt.step()
            total, n = total + loss.item() * len(i), n + len(i)
        model.eval()
        with torch.no_grad():
            val = nn.functional.mse_loss(model(x[400:]), y[400:])
        print("epoch", epoch, "loss", round(total / n, 5), "val", round(val.item(), 5))
    print("draw", torch.rand(1).item(), "weights", model[0].weight.sum().item(), options.json)
    print("done", file=sys.stderr)


if __name__ == "__main__":
    main()
    sys.exit(0)
"""


def program(folder: Path) -> None:
    (folder / "code").mkdir()
    (folder / "code" / "shapes.py").write_text(
        "import torch\n\ndef rows(n):\n    x = torch.randn(n, 10)\n    return x, x.sum(1, keepdim=True)\n"
    )
    (folder / "code" / "train.py").write_text(PROGRAM)
    (folder / "data.json").write_text('{"rows": 500}')


def test_a_program_prints_what_it_prints_and_then_its_gap(tmp_path: Path):
    program(tmp_path)
    words = ("code/train.py", "--drop", "0.6", "--json")
    plain = shell(tmp_path, *words)
    heard = shell(tmp_path, "-m", "verax", "explain", "--html", "page.html", *words)
    assert heard.stdout.startswith(plain.stdout)
    assert heard.stderr == plain.stderr + f"Written: {tmp_path / 'page.html'}\n"
    report = heard.stdout[len(plain.stdout) :]
    assert max(map(len, report.splitlines())) <= 80
    assert report.startswith("\nWhy val_loss is not loss, cause by cause\n")
    assert "dropout" in report
    said = plain.stdout.splitlines()[-2].split()  # the last epoch
    words_of = " ".join(report.split())
    assert f"The printed numbers {said[3]} and {said[5]} are explained" in words_of
    assert "the mean of batches by their rows" in words_of
    assert "Weight decay (0.01)" in words_of  # the optimizer was found
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")


def test_the_last_line_is_for_machines(tmp_path: Path):
    program(tmp_path)
    heard = shell(tmp_path, "-m", "verax", "explain", "--json", "code/train.py", "--drop", "0.6")
    told = json.loads(heard.stdout.splitlines()[-1])
    assert told["script"] == "code/train.py"
    (gap,) = told["gaps"]
    assert gap["of"] == "Sequential"
    assert max(gap["amounts"], key=lambda a: abs(a["change"]))["cause"] == "DROPOUT"
    assert abs(gap["residual"]) < 1e-6
    assert told["unexplained"] == []


def test_a_script_that_fails_has_its_own_traceback_and_status(tmp_path: Path):
    (tmp_path / "train.py").write_text(
        HEAD
        + textwrap.dedent("""
        class Net(nn.Module):
            def forward(self, x):
                raise KeyError("here")

        net = Net()
        net.weight = nn.Parameter(torch.ones(1))
        try:
            net(x)
        except KeyError as error:
            raise ValueError("outside") from error
        """)
    )
    plain = shell(tmp_path, "train.py", status=1)
    heard = shell(tmp_path, "-m", "verax", "explain", "train.py", status=1)
    assert heard.stdout == plain.stdout
    assert "/verax/" not in heard.stderr  # PyTorch calls modules that have hooks through one frame more
    assert [line for line in heard.stderr.splitlines() if "train.py" in line or line[:1] != " "] == [
        line for line in plain.stderr.splitlines() if "train.py" in line or line[:1] != " "
    ]


def test_what_was_heard_before_a_failure_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = written(tmp_path, "fit(make())\nimport sys\nsys.exit(7)\n")
    assert script.explain_script(str(path)) == 7
    assert "Why val_loss is not loss" in capsys.readouterr().out


def test_models_one_after_the_other(tmp_path: Path):
    path = written(
        tmp_path,
        """
        fit(make(0.7))
        x[480:] *= 4  # the second one's validation rows are others
        y[480:] *= 4
        fit(make(0.0))
        """,
    )
    (_, first), (_, second) = gaps_of(path)
    assert largest(first) is Cause.DROPOUT
    assert largest(second) is Cause.ROWS
    assert second.by_cause().get(Cause.DROPOUT, 0.0) == 0.0


def test_what_a_program_does_after_its_training_is_not_explained(tmp_path: Path):
    body = """
    model = make(0.6)
    opt = torch.optim.Adam(model.parameters(), 1e-2)
    for epoch in range(3):
        print(f"train {trained(model, opt):.4f} val {measured(model):.4f}")
    """
    after = """
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(0.1)  # "the best weights"
    test = DataLoader(TensorDataset(9 * x[:200], y[:200]), batch_size=50)
    print(f"test {measured(model, test):.4f}")
    model.half()
    """
    ((_, one),) = gaps_of(written(tmp_path, body))
    ((_, two),) = gaps_of(written(tmp_path, textwrap.dedent(body) + textwrap.dedent(after)))
    assert [(link.cause, link.change) for link in one.links] == [(link.cause, link.change) for link in two.links]
    assert one.notes == two.notes


def test_the_training_rows_measured_again_are_no_validation(tmp_path: Path):
    path = written(
        tmp_path,
        """
        model = make(0.6)
        opt = torch.optim.Adam(model.parameters(), 1e-2)
        for epoch in range(3):
            trained(model, opt)
            print(f"train {measured(model, train):.4f}")
            print(f"val {measured(model):.4f}")
        """,
    )
    ((_, gap),) = gaps_of(path)
    assert gap.validation.facts.rows.count == 160


def test_an_epoch_without_validation_does_not_hide_the_one_before(tmp_path: Path):
    path = written(
        tmp_path,
        """
        model = make(0.6)
        opt = torch.optim.Adam(model.parameters(), 1e-2)
        for epoch in range(6):
            print(f"train {trained(model, opt):.5f}")
            if epoch % 4 == 0:
                model.eval()
                with torch.no_grad():
                    print(f"val {loss_fn(model(x[480:]), y[480:]).item():.5f}")
        """,
    )
    ((_, gap),) = gaps_of(path)
    assert "Epoch 5 is explained, the last one that was validated." in gap.notes
    assert any("The printed numbers" in note for note in gap.notes)
    assert largest(gap) is Cause.DROPOUT


def test_within_another_mode_of_pytorch(tmp_path: Path):
    path = written(
        tmp_path,
        """
        from torch.overrides import TorchFunctionMode, _len_torch_function_stack

        class Own(TorchFunctionMode):
            seen = 0
            def __torch_function__(self, func, types, args=(), kwargs=None):
                Own.seen += 1
                return func(*args, **(kwargs or {}))

        with torch.device("cpu"), Own():
            model = make(0.6)
            fit(model)
        before = Own.seen
        torch.ones(2) + 1
        assert Own.seen == before  # its own with has ended its own mode
        """,
    )
    ((_, gap),) = gaps_of(path)
    assert largest(gap) is Cause.DROPOUT
    assert torch.overrides._get_current_function_mode_stack() == []


@pytest.mark.parametrize("wrap", ["torch.compile(model, backend='eager', fullgraph=True)", "nn.DataParallel(model)"])
def test_wrapped_models(tmp_path: Path, wrap: str):
    body = f"""
    torch.manual_seed(1)
    model = make(0.6)
    model = {wrap}
    fit(model)
    print("draw", torch.rand(1).item())
    """
    path = written(tmp_path, body)
    plain = shell(tmp_path, "train.py")
    heard = shell(tmp_path, "-m", "verax", "explain", "--json", "train.py")
    assert heard.stdout.startswith(plain.stdout)
    assert heard.stderr == plain.stderr
    (gap,) = json.loads(heard.stdout.splitlines()[-1])["gaps"]
    assert gap["of"] == "Sequential"
    assert max(gap["amounts"], key=lambda a: abs(a["change"]))["cause"] == "DROPOUT"
    assert path.exists()


def test_two_models_that_train_each_other(tmp_path: Path):
    path = written(
        tmp_path,
        """
        class Critic(nn.Sequential):
            pass

        model, critic = make(0.6), Critic(nn.Linear(1, 4), nn.ReLU(), nn.Linear(4, 1))
        opts = torch.optim.Adam(model.parameters(), 1e-2), torch.optim.Adam(critic.parameters(), 1e-3)
        for epoch in range(3):
            model.train()
            total = 0.0
            for bx, by in train:
                opts[0].zero_grad()
                out = model(bx)
                loss = loss_fn(out, by)
                loss.backward()
                opts[0].step()
                total += loss.item()
                opts[1].zero_grad()
                critic(out.detach()).mean().backward()
                opts[1].step()
            print(total / len(train), measured(model))
        """,
    )
    ((name, gap),) = gaps_of(path)
    assert name == "Sequential"
    assert largest(gap) is Cause.DROPOUT
    assert "Trained beside it, and not explained: Critic." in gap.notes


def test_a_model_that_was_only_called_is_not_the_one(tmp_path: Path):
    path = written(tmp_path, "make(0.9)(x)  # with gradients on, and never trained\nfit(make(0.6), 4)\n")
    ((_, gap),) = gaps_of(path)
    assert largest(gap) is Cause.DROPOUT


def test_numbers_that_were_not_printed_are_means_of_batches(tmp_path: Path):
    path = written(
        tmp_path,
        "model = make(0.6)\nopt = torch.optim.Adam(model.parameters())\ntrained(model, opt)\nmeasured(model)\n",
    )
    ((_, gap),) = gaps_of(path)
    assert "loss is the mean of its batches: no number that was printed is an average of them." in gap.notes


@pytest.mark.parametrize(
    ("body", "because"),
    [
        ("make()(x)\n", "no model was trained"),
        ("model = make()\ntrained(model, torch.optim.SGD(model.parameters(), 0.1))\n", "no validation was heard"),
    ],
)
def test_nothing_to_explain(tmp_path: Path, body: str, because: str):
    path = written(tmp_path, body)
    with pytest.raises(StateError, match=because):
        script.explain_script(str(path))


def test_nothing_stays_behind(tmp_path: Path):
    call, argv = torch.nn.Module.__call__, sys.argv[:]
    path, write = sys.path[:], sys.stdout.write
    gaps_of(written(tmp_path, "fit(make())\n"))
    assert torch.nn.Module.__call__ is call
    assert (sys.argv, sys.path) == (argv, path)
    assert sys.stdout.write == write
    assert not torch.optim.Optimizer.__init__.__globals__["_global_optimizer_post_hooks"]
