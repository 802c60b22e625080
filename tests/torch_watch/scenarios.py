"""Gaps with a planted cause: small PyTorch loops whose one large reason for a gap is known before anything is measured.

Most plant their cause in a linear model that already knows the truth, so that nothing else is large beside it. Loops
are written as people write them; what they print is handed back, so that it can be compared with what was heard.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from verax.ledger import Cause, Gap
from verax.torch import watch

__all__ = ["SCENARIOS", "TRUTH", "Asked", "Scenario", "batches", "fitted", "linear", "rows", "validated"]

#: The coefficients behind every regression: y = x · TRUTH + noise.
TRUTH = torch.linspace(-1.5, 1.5, 8)[:, None]


@dataclass(frozen=True)
class Asked:
    """What a loop printed, and its gap: nothing that is drawn at random stands between them.

    Attributes:
        gap: The gap.
        train, validation: What the loop printed; None where it printed another thing.
    """

    gap: Gap
    train: float | None = None
    validation: float | None = None


@dataclass(frozen=True)
class Scenario:
    """A planted cause.

    Attributes:
        name: What was planted.
        ask: () -> what was printed and its gap; everything it draws is drawn from torch's generator.
        cause: What must carry the largest amount; None where there is to be no gap at all.
        sign: Of that amount, validation less training.
    """

    name: str
    ask: Callable[[], Asked]
    cause: Cause | None
    sign: int = 0


def rows(n: int = 256, noise: float = 0.3, scale: float = 1.0, shift: float = 0.0) -> TensorDataset:
    """x (n, 8) and y (n, 1) of the linear truth."""
    x = scale * torch.randn(n, 8) + shift
    return TensorDataset(x, x @ TRUTH + noise * torch.randn(n, 1))


def batches(data: Any, size: int = 16, shuffle: bool = True, **more: Any) -> DataLoader:
    """A loader of small batches."""
    return DataLoader(data, batch_size=size, shuffle=shuffle, **more)


def linear(*before: nn.Module, scale: float = 1.0, head: nn.Linear | None = None) -> nn.Sequential:
    """Modules, then one linear unit that knows the truth."""
    head = head or nn.Linear(8, 1)
    with torch.no_grad():
        head.weight.copy_(scale * TRUTH.T)
        head.bias.zero_()
    return nn.Sequential(*before, head)


def validated(model: nn.Module, loss_fn: Any, loader: Any) -> float:
    """A validation loop."""
    model.eval()
    total = 0.0
    with torch.no_grad():
        for x, y in loader:
            total += loss_fn(model(x), y).item()
    return total / len(loader)


def fitted(
    model: nn.Module, train: Any, validation: Any, *, loss_fn: Any = None, val_loss_fn: Any = None, rate: float = 1e-4,
    epochs: int = 1, cast: bool = False, said: Any = (None, None),
) -> Asked:  # fmt: skip
    """The commonest loop of all: mean of the batches' losses in training, the same in validation."""
    loss_fn = loss_fn or nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    train, validation = (d if isinstance(d, DataLoader) else batches(d) for d in (train, validation))
    loss_printed = val = 0.0
    with watch(model, loss_fn, optimizer) as ledger:
        for _ in range(epochs):
            model.train()
            total = 0.0
            for x, y in train:
                optimizer.zero_grad()
                with torch.autocast("cpu", torch.bfloat16) if cast else contextlib.nullcontext():
                    loss = loss_fn(model(x), y)
                loss.backward()
                optimizer.step()
                total += loss.item()
            loss_printed, val = total / len(train), validated(model, val_loss_fn or loss_fn, validation)
    return Asked(ledger.explain(train=said[0], validation=said[1]), loss_printed, val)


def looped(
    model: nn.Module, train: Any, validation: Any, step: Callable[[Any, Any], torch.Tensor], *, loss_fn: Any = None,
    measure: Callable[[Any, Any], torch.Tensor] | None = None, rate: float = 1e-4,
) -> Asked:  # fmt: skip
    """A loop whose loss is computed in the person's own lines."""
    loss_fn = loss_fn or nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    train, validation = batches(train), batches(validation, shuffle=False)
    losses: list[float] = []
    with watch(model, loss_fn, optimizer) as ledger:
        model.train()
        for x, y in train:
            loss = step(x, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        model.eval()
        total = 0.0
        with torch.no_grad():
            for x, y in validation:
                total += (measure or (lambda x, y: loss_fn(model(x), y)))(x, y).item()
    return Asked(ledger.explain(), sum(losses) / len(losses), total / len(validation))


# ---- modules of a person's own ---------------------------------------------------------------------------------------


class Functional(nn.Module):
    """Dropout by its function."""

    def __init__(self, p: float = 0.5):
        super().__init__()
        self.p = p

    def forward(self, x):
        return F.dropout(x, self.p, training=self.training)


class GaussianNoise(nn.Module):
    def __init__(self, sigma: float = 1.0):
        super().__init__()
        self.sigma = sigma

    def forward(self, x):
        if self.training:
            return x + torch.randn_like(x) * self.sigma
        return x


class DropPath(nn.Module):
    """Whole rows left out at random."""

    def forward(self, x):
        if not self.training:
            return x
        return x * x.new_empty((len(x), 1)).bernoulli_(0.5)


class RandomSigns(nn.Module):
    """Half of the columns change their sign at random in training."""

    def forward(self, x):
        if not self.training:
            return x
        sign = torch.where(torch.rand(len(x), 1) < 0.5, 1.0, -1.0)
        return torch.cat([x[:, :4] * sign, x[:, 4:]], dim=1)


class TwiceInTraining(nn.Module):
    def forward(self, x):
        return x * 2 if self.training else x


class WithUnused(nn.Module):
    """A weight that nothing but a penalty moves."""

    def __init__(self):
        super().__init__()
        self.body, self.unused = linear(), nn.Parameter(torch.randn(8, 4))

    def forward(self, x):
        return self.body(x)


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.head, self.aux = linear(), nn.Linear(8, 1)

    def forward(self, x):
        return self.head(x), self.aux(x)


class Words(nn.Module):
    """Scores for every word of a sequence."""

    def __init__(self, words: int = 12):
        super().__init__()
        self.table = nn.Embedding(words, 4)
        self.head = nn.Linear(4, words)

    def forward(self, x):
        return self.head(self.table(x)).transpose(1, 2)


# ---- what is asked ---------------------------------------------------------------------------------------------------


def norm(momentum: float, mean: float = 0.0, var: float = 1.0) -> nn.BatchNorm1d:
    layer = nn.BatchNorm1d(8, momentum=momentum, affine=False)
    layer.running_mean.fill_(mean)
    layer.running_var.fill_(var)
    return layer


def standard(n: int = 256, scale: float = 1.0, shift: float = 0.0) -> TensorDataset:
    """Rows whose truth holds once their columns are standardized."""
    x, y = rows(n).tensors
    return TensorDataset(scale * x + shift, y)


def plain(*before: Callable[[], nn.Module]) -> Callable[[], Asked]:
    """Fit the model that knows the truth; training and validation rows are drawn alike."""
    return lambda: fitted(linear(*(make() for make in before)), rows(), rows())


def other_rows(scale: float = 1.0, shift: float = 0.0) -> Callable[[], Asked]:
    """Validation rows prepared in another way."""

    def ask() -> Asked:
        x, y = rows().tensors
        return fitted(linear(), rows(), TensorDataset(scale * x + shift * (torch.arange(8) < 4), y))

    return ask


def diverging() -> Asked:
    """A rate that is too large: every step makes it worse, so the end of the epoch is the worst of it."""
    return fitted(linear(scale=1.05), batches(rows(), 64), rows(), rate=1.2)


def by_hand() -> Asked:
    """A penalty that people add in the training loop."""
    model = linear()
    mse = nn.MSELoss()
    return looped(
        model, rows(), rows(), lambda x, y: mse(model(x), y) + 0.1 * sum(p.pow(2).sum() for p in model.parameters())
    )


def decaying() -> Asked:
    """A penalty in both loops, that shrinks through the epoch."""
    model = WithUnused()

    def loss(x: Any, y: Any) -> torch.Tensor:
        return F.mse_loss(model(x), y) + 0.5 * model.unused.square().sum()

    return looped(model, rows(), rows(), loss, loss_fn=F.mse_loss, measure=loss, rate=0.1)


def classes(n: int = 256) -> TensorDataset:
    x = torch.randn(n, 8)
    return TensorDataset(x, (x[:, 0] + 0.5 * torch.randn(n) > 0).long())


def weighted() -> Asked:
    """Class 1 counts twenty times in training; the model hardly ever says 1."""
    model = nn.Sequential(nn.Linear(8, 2))
    model[0].bias.data.copy_(torch.tensor([2.0, 0.0]))
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 20.0]))
    return fitted(model, classes(), classes(), loss_fn=loss, val_loss_fn=nn.CrossEntropyLoss())


def other_weights() -> Asked:
    """Weights in both loops, but not the same ones."""
    model = nn.Sequential(nn.Linear(8, 2))
    model[0].bias.data.copy_(torch.tensor([2.0, 0.0]))
    one, two = (nn.CrossEntropyLoss(weight=torch.tensor(w)) for w in ([1.0, 20.0], [20.0, 1.0]))
    return fitted(model, classes(), classes(), loss_fn=one, val_loss_fn=two)


def positive() -> Asked:
    model = nn.Linear(8, 1)

    def signs() -> TensorDataset:
        x, y = classes().tensors
        return TensorDataset(x, y[:, None].float())

    loss = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([10.0]))
    return fitted(model, signs(), signs(), loss_fn=loss, val_loss_fn=nn.BCEWithLogitsLoss())


def sentences(n: int = 128) -> TensorDataset:
    """Words 1 to 11, padded by 0 after a length of 1 to 10; the next word is to be told."""
    words = torch.randint(1, 12, (n, 10))
    words[torch.arange(10) >= torch.randint(1, 11, (n, 1))] = 0
    return TensorDataset(words, words)


def padding() -> Asked:
    """Padding is ignored in training and counted in validation; the model is sure of the padding."""
    model = Words()
    model.head.bias.data[0] = 6.0
    return fitted(
        model, sentences(), sentences(), loss_fn=nn.CrossEntropyLoss(ignore_index=0), val_loss_fn=nn.CrossEntropyLoss()
    )


def smoothing() -> Asked:
    """A sure model, whose targets are smoothed in training only."""
    model = nn.Sequential(nn.Linear(8, 2))
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].weight[1, 0], model[0].weight[0, 0] = 6.0, -6.0
    return fitted(
        model, classes(), classes(), loss_fn=nn.CrossEntropyLoss(label_smoothing=0.2),
        val_loss_fn=nn.CrossEntropyLoss(),
    )  # fmt: skip


def auxiliary() -> Asked:
    model = TwoHeads()
    mse = nn.MSELoss()

    def step(x: Any, y: Any) -> torch.Tensor:
        main, aux = model(x)
        return mse(main, y) + 0.4 * mse(aux, y)

    return looped(model, rows(), rows(), step, loss_fn=mse, measure=lambda x, y: mse(model(x)[0], y))


def auxiliary_first() -> Asked:
    """The same, written the other way round: ``loss_fn`` on the first output says which summand is meant."""
    model = TwoHeads()
    mse = nn.MSELoss()

    def step(x: Any, y: Any) -> torch.Tensor:
        main, aux = model(x)
        return 0.4 * mse(aux, y) + mse(main, y)

    return looped(model, rows(), rows(), step, loss_fn=mse, measure=lambda x, y: mse(model(x)[0], y))


def accumulated() -> Asked:
    """Four batches an update, each divided by four, and printed so."""
    model, mse = linear(), nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    train, validation = batches(rows(noise=1.0)), batches(rows(noise=1.0))
    running = 0.0
    with watch(model, mse, optimizer) as ledger:
        model.train()
        for i, (x, y) in enumerate(train):
            loss = mse(model(x), y) / 4
            loss.backward()
            running += loss.item()
            if (i + 1) % 4 == 0:
                optimizer.step()
                optimizer.zero_grad()
        val = validated(model, mse, validation)
    return Asked(ledger.explain(), running / len(train), val)


def last_row(n: int = 65) -> TensorDataset:
    """One outlier, alone in the last batch."""
    x, y = rows(n).tensors
    y[-1] += 5.0
    return TensorDataset(x, y)


def short_batch() -> Asked:
    return fitted(linear(), batches(last_row(), shuffle=False), rows(64))


def short_validation_batch() -> Asked:
    return fitted(linear(), rows(), batches(last_row(), shuffle=False))


def summed() -> Asked:
    """``reduction="sum"`` in training; the batches' sums are averaged."""
    return fitted(linear(), rows(), rows(), loss_fn=nn.MSELoss(reduction="sum"), val_loss_fn=nn.MSELoss(), rate=1e-6,
                  said=("mean of batches", None))  # fmt: skip


def summed_validation() -> Asked:
    """A validation loop that adds up sums and forgets to divide by the rows."""
    return fitted(linear(), rows(), rows(), val_loss_fn=nn.MSELoss(reduction="sum"), said=(None, "mean of batches"))


def growing() -> TensorDataset:
    """Noise that grows along the epoch."""
    x, y = rows(noise=0.0).tensors
    return TensorDataset(x, y + torch.linspace(0.1, 2.0, 256)[:, None] * torch.randn(256, 1))


def shown(which: Callable[[list[float]], float], said: bool) -> Callable[[], Asked]:
    """A loop that prints something other than the mean of its batches: told by name, or found from the number."""

    def ask() -> Asked:
        model, mse = linear(), nn.MSELoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-5)
        losses: list[float] = []
        data = growing()
        with watch(model, mse, optimizer) as ledger:
            model.train()
            for x, y in batches(data, shuffle=False):
                optimizer.zero_grad()
                loss = mse(model(x), y)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            val = validated(model, mse, batches(data))
        number = which(losses)
        return Asked(ledger.explain(train=number if said else "last batch"), number, val)

    return ask


def smoothed(losses: list[float], beta: float = 0.9) -> float:
    now = losses[0]
    for loss in losses[1:]:
        now = beta * now + (1 - beta) * loss
    return round(now, 4)


def weights_of_batches() -> Asked:
    """Weighted cross entropy, whose weights differ from batch to batch in training only."""
    model = nn.Sequential(nn.Linear(8, 2))
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.copy_(torch.tensor([2.0, 0.0]))

    def made(order: torch.Tensor) -> TensorDataset:
        return TensorDataset(torch.randn(256, 8), (torch.arange(256) >= 240).long()[order])

    mixed = torch.arange(256).reshape(16, 16).T.reshape(-1)
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 10.0]))
    return fitted(
        model, batches(made(torch.arange(256)), shuffle=False), batches(made(mixed), shuffle=False), loss_fn=loss
    )


def cast() -> Asked:
    """Inputs so large that bfloat16 is coarse beside the noise."""
    return fitted(linear(), rows(scale=1000.0), rows(scale=1000.0), cast=True, rate=1e-12)


def shard() -> Asked:
    """One process' share of the validation rows: the even ones, which are easy."""
    x, y = rows(512, noise=0.1).tensors
    y = y + 2.0 * (torch.arange(512) % 2)[:, None]
    data = TensorDataset(x, y)
    half = DataLoader(data, batch_size=16, sampler=DistributedSampler(data, num_replicas=2, rank=0, shuffle=False))
    return fitted(linear(), rows(noise=1.0), half)


def dropped() -> Asked:
    """drop_last, and a last batch that is unlike the others: as is a share of the validation rows."""
    x, y = rows(79).tensors
    y[64:] += 4.0
    hard = torch.arange(256) % 79 >= 64
    xv, yv = rows().tensors
    return fitted(linear(), batches(TensorDataset(x, y), shuffle=False, drop_last=True),
                  TensorDataset(xv, yv + 4.0 * hard[:, None]))  # fmt: skip


def stopped() -> Asked:
    """A loop that breaks off after a quarter; the rows that are left out are the noisy ones."""
    model, mse = linear(), nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    noisy = 3 * (torch.arange(256) >= 64)[:, None]
    train, validation = (
        batches(TensorDataset(x, y + noisy * torch.randn(256, 1)), shuffle=False)
        for x, y in (rows().tensors, rows().tensors)
    )
    losses: list[float] = []
    with watch(model, mse, optimizer) as ledger:
        model.train()
        for i, (x, y) in enumerate(train):
            if i == 4:
                break
            optimizer.zero_grad()
            loss = mse(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        val = validated(model, mse, validation)
    return Asked(ledger.explain(), sum(losses) / 4, val)


def sorted_split() -> Asked:
    """Rows in the order of their targets, and a model that says 0: the last quarter is the hardest."""
    x, y = rows(noise=0.3).tensors
    order = y[:, 0].argsort()
    x, y = x[order], y[order]
    return fitted(linear(scale=0.0), TensorDataset(x[:192], y[:192]), TensorDataset(x[192:], y[192:]))


def overfitted() -> Asked:
    """32 rows of pure noise learnt by heart."""
    noise = [TensorDataset(torch.randn(n, 8), torch.randn(n, 1)) for n in (32, 256)]
    model = nn.Sequential(nn.Linear(8, 128), nn.ReLU(), nn.Linear(128, 1))
    return fitted(model, *noise, rate=0.1, epochs=60)


def own_loss() -> Asked:
    """A loss of a person's own, in both loops, and dropout."""

    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return ((output - y) ** 2).mean()

    return fitted(linear(nn.Dropout(0.5)), rows(), rows(), loss_fn=loss)


SCENARIOS = [
    Scenario("dropout", plain(nn.Dropout), Cause.DROPOUT, -1),
    Scenario("functional dropout", plain(Functional), Cause.DROPOUT, -1),
    Scenario("gaussian noise", plain(GaussianNoise), Cause.DROPOUT, -1),
    Scenario("drop path", plain(DropPath), Cause.STOCHASTIC_DEPTH, -1),
    Scenario("augmentation module", plain(RandomSigns), Cause.AUGMENTATION, -1),
    Scenario("module that reads training", plain(TwiceInTraining), Cause.CUSTOM_MODE, -1),
    Scenario("dropout under a loss of one's own", own_loss, Cause.DROPOUT, -1),
    Scenario("batches of two", lambda: fitted(linear(norm(0.01)), batches(standard(), 2), standard()),
             Cause.BATCH_STATISTICS, -1),
    Scenario("lagging averages", lambda: fitted(linear(norm(0.01)), standard(256, 4.0, 5.0), standard(256, 4.0, 5.0)),
             Cause.MOVING_AVERAGES, +1),
    Scenario("stale averages of a base", lambda: fitted(linear(norm(0.01, 2.0, 0.25)), standard(), standard()),
             Cause.MOVING_AVERAGES, +1),
    Scenario("weights move", lambda: fitted(linear(scale=0.0), rows(), rows(), rate=0.05), Cause.WEIGHTS_MOVED, -1),
    Scenario("weights move away", diverging, Cause.WEIGHTS_MOVED, +1),
    Scenario("L2 added in training", by_hand, Cause.PENALTIES, -1),
    Scenario("L2 of a weight that decays", decaying, Cause.PENALTIES, -1),
    Scenario("class weights", weighted, Cause.ROW_WEIGHTS, -1),
    Scenario("other class weights", other_weights, Cause.ROW_WEIGHTS, -1),
    Scenario("positive weights", positive, Cause.ROW_WEIGHTS, -1),
    Scenario("padding counted in validation", padding, Cause.ROW_WEIGHTS, -1),
    Scenario("label smoothing", smoothing, Cause.OBJECTIVE, -1),
    Scenario("auxiliary loss", auxiliary, Cause.OBJECTIVE, -1),
    Scenario("auxiliary loss first", auxiliary_first, Cause.OBJECTIVE, -1),
    Scenario("accumulated gradients", accumulated, Cause.OBJECTIVE, +1),
    Scenario("a short last batch", short_batch, Cause.AVERAGE, -1),
    Scenario("a short last validation batch", short_validation_batch, Cause.AVERAGE, +1),
    Scenario("sums of batches", summed, Cause.AVERAGE, -1),
    Scenario("sums of validation batches", summed_validation, Cause.AVERAGE, +1),
    Scenario("last batch", shown(lambda losses: losses[-1], False), Cause.AVERAGE, -1),
    Scenario("last batch, by its number", shown(lambda losses: round(losses[-1], 4), True), Cause.AVERAGE, -1),
    Scenario("smoothed, by its number", shown(smoothed, True), Cause.AVERAGE, -1),
    Scenario("weights of batches", weights_of_batches, Cause.AVERAGE, +1),
    Scenario("autocast", cast, Cause.PRECISION, -1),
    Scenario("one process' share", shard, Cause.SKIPPED_ROWS, -1),
    Scenario("drop_last", dropped, Cause.SKIPPED_ROWS, +1),
    Scenario("a loop that breaks off", stopped, Cause.SKIPPED_ROWS, +1),
    Scenario("validation rows not scaled", other_rows(scale=3.0), Cause.ROWS, +1),
    Scenario("validation columns shifted", other_rows(shift=2.0), Cause.ROWS, +1),
    Scenario("sorted rows", sorted_split, Cause.ROWS, +1),
    Scenario("overfitting", overfitted, Cause.ROWS, +1),
    Scenario("no gap", plain(), None),
]  # fmt: skip
