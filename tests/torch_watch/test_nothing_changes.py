"""A watch changes nothing: not what a loop computes, not what it leaves behind; nor do explanations and errors."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import optimizer as optimizers
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torch.utils.data.dataloader import _BaseDataLoaderIter

from verax.torch import watch


class Net(nn.Module):
    """Convolution, batch normalization, both kinds of dropout, draws of numpy, and attributes that its calls change."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.3)
        self.head = nn.Linear(4 * 36, 5)
        self.calls, self.sizes, self.last = 0, [], None
        self.seen: dict[str, int] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.sizes.append(len(x))
        self.seen["rows"] = self.seen.get("rows", 0) + len(x)
        x = F.dropout(F.relu(self.norm(self.conv(x))), 0.1, self.training)
        if self.training and np.random.rand() < 0.3:  # noqa: NPY002
            x = x * 1.01
        self.last = x.detach()
        return self.head(self.drop(x.flatten(1)))


class Augmented(Dataset):
    """Rows that are drawn with Python's and PyTorch's generators as they are read."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor):
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> Any:
        x = self.x[i].flip(-1) if random.random() < 0.5 else self.x[i]
        return x + 0.01 * torch.randn_like(x), self.y[i]


def everything(model: nn.Module, loaders: list[DataLoader]) -> list[Any]:
    """All that a program could see of itself."""
    found: list[Any] = [v.clone() for v in model.state_dict().values()]
    found += [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    found += [(m.training, [p.requires_grad for p in m.parameters()]) for m in model.modules()]
    found += [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    found += [torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()]  # noqa: NPY002
    found += [loader.generator.get_state() for loader in loaders if loader.generator is not None]
    own = [m for m in model.modules() if isinstance(m, Net)]
    found += [(m.calls, list(m.sizes), dict(m.seen), None if m.last is None else m.last.clone()) for m in own]
    return found


def same(one: Any, two: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(two, torch.Tensor) and one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, (list, tuple)):
        return len(one) == len(two) and all(same(a, b) for a, b in zip(one, two, strict=True))
    return one == two


def train(after: Callable[[Any, nn.Module, list[DataLoader]], None] | None, watched: bool = True) -> Any:
    """Three epochs, after each of which something is asked of the ledger: what was printed, and all that was left."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    x, y = torch.randn(90, 1, 8, 8), torch.randint(0, 5, (90,))
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2, weight_decay=1e-4)
    loss_fn = nn.CrossEntropyLoss(label_smoothing=0.1)
    loaders = [
        DataLoader(Augmented(x, y), batch_size=16, shuffle=True, generator=torch.Generator().manual_seed(3)),
        DataLoader(TensorDataset(x, y), batch_size=32),
    ]
    printed: list[float] = []
    ledger = watch(model, loss_fn, optimizer) if watched else None
    for _ in range(3):
        model.train()
        for images, labels in loaders[0]:
            optimizer.zero_grad()
            loss = loss_fn(model(images), labels) + 1e-3 * sum(p.square().sum() for p in model.parameters())
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            printed.append(loss.item())
        model.eval()
        with torch.no_grad():
            printed += [F.cross_entropy(model(images), labels).item() for images, labels in loaders[1]]
        if after is not None:
            after(ledger, model, loaders)
    if ledger is not None:
        ledger.close()
    return printed, everything(model, loaders)


def test_a_watched_loop_computes_the_same_bits():
    assert same(train(None, watched=False), train(None))


def test_a_loop_goes_on_with_the_same_bits_after_an_explanation():
    def ask(ledger: Any, model: nn.Module, loaders: list[DataLoader]) -> None:
        before = everything(model, loaders)
        gap = ledger.explain()
        assert same(before, everything(model, loaders))
        assert gap.grade == "full"
        assert abs(gap.residual) < 1e-9

    assert same(train(None, watched=False), train(ask))


@pytest.mark.parametrize("where", ["training", "evaluation"])
def test_an_explanation_that_fails_leaves_all_as_it_was(where: str):
    class StopNowError(Exception):
        pass

    def fail(ledger: Any, model: nn.Module, loaders: list[DataLoader]) -> None:
        before = everything(model, loaders)
        calls = []

        def hook(module: nn.Module, args: Any) -> None:
            calls.append(module.training)
            if len(calls) > 5 and module.training == (where == "training"):
                raise StopNowError

        handle = model.norm.register_forward_pre_hook(hook)
        with pytest.raises(StopNowError):
            ledger.explain()
        handle.remove()
        assert same(before, everything(model, loaders))

    assert same(train(None, watched=False), train(fail))


def quick(model: nn.Module, steps: int = 4, size: int = 16) -> None:
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    for i in range(steps):
        x = torch.from_numpy(np.random.default_rng(i).normal(size=(size, 8)).astype("float32"))
        loss = F.mse_loss(model(x), x.sum(1, keepdim=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def listeners() -> tuple[Any, ...]:
    return (
        DataLoader.__iter__, _BaseDataLoaderIter.__next__, torch.overrides._get_current_function_mode(),
        len(optimizers._global_optimizer_pre_hooks), len(optimizers._global_optimizer_post_hooks),
    )  # fmt: skip


def test_nothing_listens_after_the_watch():
    before, model = listeners(), nn.Linear(8, 1)
    with watch(model):
        assert listeners() != before
        quick(model)
    assert listeners() == before
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_nothing_listens_after_an_error_in_the_loop(error: type[BaseException]):
    before, model = listeners(), nn.Linear(8, 1)
    ledger = watch(model)

    def loop() -> None:
        with ledger:
            quick(model)
            raise error

    with pytest.raises(error):
        loop()
    assert listeners() == before
    assert ledger.explain((torch.ones(8, 8), torch.full((8, 1), 8.0))).train.facts.rows.count == 64


def test_an_error_in_the_model_does_not_deafen_the_watch():
    class Sometimes(nn.Linear):
        fails = False

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.fails:
                raise ValueError("not now")
            return super().forward(x)

    model = Sometimes(8, 1)
    with watch(model) as ledger:
        quick(model)
        model.fails = True
        with pytest.raises(ValueError, match="not now"):
            quick(model)
        model.fails = False
        quick(model)
    assert ledger.explain((torch.ones(8, 8), torch.full((8, 1), 8.0))).train.facts.rows.count == 128


def test_an_error_in_the_optimizer_does_not_deafen_the_watch():
    class Sometimes(torch.optim.SGD):
        fails = True

        def step(self, closure: Any = None) -> Any:
            if self.fails:
                raise ValueError("not now")
            return super().step(closure)

    model = nn.Linear(8, 1)
    optimizer = Sometimes(model.parameters(), 0.01)
    with watch(model) as ledger:
        for i in range(4):
            x = torch.full((16, 8), float(i))
            F.mse_loss(model(x), x.sum(1, keepdim=True)).backward()
            if i == 1:
                with pytest.raises(ValueError, match="not now"):
                    optimizer.step()
                optimizer.fails = False
            elif i > 1:
                optimizer.step()
    assert ledger.explain((torch.ones(8, 8), torch.full((8, 1), 8.0))).train.facts.rows.count == 64


def test_what_is_kept_is_bounded():
    model = nn.Linear(8, 1)
    with watch(model, batches=5) as ledger:
        quick(model, steps=300)
        assert ledger.kept <= (5 + 8) * 16 * (8 + 8) * 4  # the sample, and the eight latest
    with watch(model, memory=4000) as small:
        quick(model, steps=300)
        assert 0 < small.kept <= 5000  # and a quarter for the latest
    with watch(nn.Linear(8, 1)) as none:
        assert none.kept == 0


def test_a_loop_keeps_no_tensor_alive_beyond_the_sample():
    model = nn.Linear(8, 1)

    def alive() -> int:
        gc.collect()
        return sum(issubclass(type(o), torch.Tensor) and o.shape[:1] == (33,) for o in gc.get_objects())

    with watch(model, batches=3):
        quick(model, steps=20, size=33)
        early = alive()
        quick(model, steps=200, size=33)
        assert alive() <= max(early, 3 * (3 + 8)) + 2  # three tensors a batch, of the sample and the eight latest


def test_predictions_without_a_loss_do_not_pile_up():
    model = nn.Linear(8, 1)
    with watch(model) as ledger:
        quick(model)
        with torch.no_grad():
            outputs = [model(torch.randn(37, 8)) for _ in range(200)]
        del outputs
        gc.collect()
        kept = sum(issubclass(type(o), torch.Tensor) and o.shape[:1] == (37,) for o in gc.get_objects())
        assert kept < 40
    assert ledger.explain((torch.ones(8, 8), torch.full((8, 1), 8.0))).train.facts.rows.count == 64


def test_two_watches_hear_their_own_models():
    one, two = nn.Linear(8, 1), nn.Linear(8, 1)
    first = watch(one)
    second = watch(two)
    quick(one, steps=3)
    quick(two, steps=5)
    first.close()
    quick(two, steps=2)
    second.close()
    rows = torch.ones(8, 8), torch.full((8, 1), 8.0)
    assert first.explain(rows).train.facts.rows.count == 48
    assert second.explain(rows).train.facts.rows.count == 112


def test_a_compiled_model_trains_the_same_and_is_explained():
    x = torch.randn(64, 8)
    y = x.sum(1, keepdim=True)

    def run(watched: bool) -> Any:
        torch.manual_seed(0)
        inner = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 1))
        model = torch.compile(inner, backend="aot_eager")
        optimizer = torch.optim.SGD(model.parameters(), 0.05)
        ledger = watch(model) if watched else None
        for i in range(0, 64, 16):
            loss = F.mse_loss(model(x[i : i + 16]), y[i : i + 16])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if ledger is not None:
            ledger.close()
            gap = ledger.explain((x, y))
            assert [m.path for m in gap.train.facts.modes] == ["2"]
        return [p.detach().clone() for p in inner.parameters()]

    assert same(run(False), run(True))
