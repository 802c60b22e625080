"""However a loop comes by its batches, and whichever way validation is given: what is heard is what was printed."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.torch_watch.scenarios import TwoHeads, batches, linear, rows, validated
from verax.errors import DataError, StateError
from verax.ledger import Cause, Gap
from verax.torch import watch


def trained(model: nn.Module, train, loss_fn=None, rate: float = 1e-4, epochs: int = 1, validation=None):
    """A ledger that heard a loop, and the mean of its last epoch's losses."""
    loss_fn = loss_fn or nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    losses: list[float] = []
    with watch(model, loss_fn, optimizer) as ledger:
        for _ in range(epochs):
            model.train()
            losses = []
            for x, y in train:
                optimizer.zero_grad()
                loss = loss_fn(model(x), y)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            if validation is not None:
                validated(model, loss_fn, validation)
    return ledger, sum(losses) / len(losses)


def same(gap: Gap, train: float, validation: float) -> None:
    """Both numbers are the printed ones, and all adds up."""
    assert gap.train.value == pytest.approx(train, rel=1e-6)
    assert gap.validation.value == pytest.approx(validation, rel=1e-6)
    assert abs(gap.residual) <= 1e-9
    assert gap.grade == "full"


WAYS = {
    "a loader": lambda data: batches(data, 40, shuffle=False),
    "a shuffled loader": lambda data: batches(data, 50),
    "tensors": lambda data: data.tensors,
    "a list of tensors' batches": lambda data: [tuple(t[i : i + 50] for t in data.tensors) for i in range(0, 200, 50)],
    "a list of mappings": lambda data: [dict(zip("xy", data.tensors, strict=True))],
    "numpy arrays": lambda data: [tuple(t.numpy() for t in data.tensors)],
    "a loader of numpy rows": lambda data: DataLoader([(x.numpy(), y.numpy()) for x, y in data], batch_size=40),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [25, 200], ids=["batches", "whole"])
def test_validation_is_given_after_the_loop(way: str, size: int):
    torch.manual_seed(0)
    model, data = linear(nn.Dropout(0.5)), rows(200)
    ledger, train = trained(model, batches(rows(200), size, shuffle=False))
    model.eval()
    with torch.no_grad():
        expected = F.mse_loss(model(data.tensors[0]), data.tensors[1]).item()
    gap = ledger.explain(WAYS[way](data))
    same(gap, train, expected)
    assert gap.validation.facts.rows.count == 200
    assert max(gap.by_cause(), key=lambda cause: abs(gap.by_cause()[cause])) is Cause.DROPOUT


@pytest.mark.parametrize("n", [256, 2400])
@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("loaders", [True, False], ids=["loaders", "slices"])
def test_validation_is_heard(n: int, epochs: int, loaders: bool):
    """More batches than are kept, several epochs, with and without loaders: the last epoch's numbers."""
    torch.manual_seed(0)
    model = linear(nn.Dropout(0.5))
    parts: list = [rows(n), rows(n // 2)]
    slices = [[tuple(t[i : i + 16] for t in d.tensors) for i in range(0, len(d), 16)] for d in parts]
    train, validation = [batches(d) for d in parts] if loaders else slices
    ledger, number = trained(model, train, epochs=epochs, validation=validation)
    gap = ledger.explain()
    same(gap, number, validated(model, F.mse_loss, validation))
    assert (gap.train.facts.rows.count, gap.validation.facts.rows.count) == (n, n // 2)
    assert ledger.epochs == epochs
    assert bool(gap.sample) == (n > 1024)


@pytest.mark.parametrize("seed", range(6))
def test_each_new_pass_is_sampled_anew(seed: int):
    """The first batch of a pass is kept, however long the pass before it was."""
    torch.manual_seed(seed)
    model = linear()
    ledger, _ = trained(model, batches(rows(150 + seed), 1), epochs=3, validation=batches(rows(130), 1))
    recorder = ledger._recorder
    assert len(recorder.training.kept) == len(recorder.validation.kept) == 64
    assert len({step.number for step in recorder.training.kept}) == 64
    assert recorder.training.steps == 150 + seed


def test_the_same_rows_differ_by_nothing():
    """Validation on the training rows, at weights that stand still: heard, and measured again, to rounding."""
    data = rows(256)
    ledger, number = trained(linear(), batches(data, shuffle=False), rate=0.0, validation=batches(data, 64))
    for given in (None, data.tensors, batches(data, 32)):
        gap = ledger.explain(given)
        assert abs(gap.by_cause()[Cause.ROWS]) <= 1e-6 * number
    assert gap.verdict.kind == "none"


def test_rows_that_are_given_are_those_that_are_measured():
    """Another loader than the one that was heard is measured, by the loss of the validation that was heard."""
    train, validation = rows(), batches(rows())
    model = linear(nn.Dropout(0.5))
    ledger, number = trained(model, batches(train), validation=validation)
    same(ledger.explain(validation), number, validated(model, F.mse_loss, validation))
    gap = ledger.explain(batches(train))
    same(gap, number, validated(model, F.mse_loss, batches(train)))
    assert abs(gap.by_cause()[Cause.ROWS]) <= 1e-6
    assert not gap.notes


def test_what_was_heard_is_what_is_measured_again():
    """Nothing is random in it: what a loop was heard to show is what is measured afterwards, if averaged as there."""
    found = []
    for heard in (True, False):
        torch.manual_seed(7)
        train, data, model = rows(), rows(130), linear(nn.BatchNorm1d(8))
        validation = batches(data, shuffle=False)  # its last batch has two rows
        ledger, _ = trained(model, batches(train, shuffle=False), validation=validation if heard else None)
        gap = ledger.explain() if heard else ledger.explain(validation, validation="mean of batches")
        found.append((gap.validation.value, gap.by_cause()))
        assert gap.validation.value == pytest.approx(validated(model, F.mse_loss, validation), rel=1e-6)
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-7)
    assert found[0][1] == pytest.approx(found[1][1], abs=1e-7)
    whole = F.mse_loss(model(data.tensors[0]), data.tensors[1]).item()
    assert ledger.explain(validation).validation.value == pytest.approx(whole, rel=1e-6)  # every row alike


def test_epochs_one_by_one():
    model, mse = linear(nn.Dropout(0.5)), nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    train, validation = batches(rows()), batches(rows())
    with watch(model, mse, optimizer) as ledger:
        for epoch in range(3):
            model.train()
            losses = []
            for x, y in train:
                optimizer.zero_grad()
                loss = mse(model(x), y)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            gap = ledger.epoch(train, validation)
            assert model.training
            same(gap, sum(losses) / len(losses), validated(model, mse, validation))
            assert gap.validation.facts.params == f"the end of epoch {epoch + 1}"
    assert len(ledger.gaps) == 3
    assert ledger.explain(validation).train.value == ledger.gaps[-1].train.value


def test_epochs_of_slices_one_by_one():
    """Without loaders an epoch ends where it is said to."""
    model = linear()
    x, y = rows().tensors
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    with watch(model, F.mse_loss, optimizer) as ledger:
        for _ in range(3):
            for i in range(0, 256, 16):
                loss = F.mse_loss(model(x[i : i + 16]), y[i : i + 16])
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
            gap = ledger.epoch(val_loader=rows().tensors)
            assert gap.train.facts.rows.count == 256
    assert ledger.epochs == 3


def test_a_model_that_trains_in_evaluation_mode():
    """As people fine-tune: nothing of the mode is a cause, and training is not taken for validation."""
    model = linear(nn.Dropout(0.5)).eval()
    mse, optimizer, train = nn.MSELoss(), torch.optim.SGD(model.parameters(), lr=1e-4), batches(rows())
    with watch(model, mse, optimizer) as ledger:
        losses = []
        for x, y in train:
            optimizer.zero_grad()
            loss = mse(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    validation = batches(rows())
    with pytest.raises(StateError, match="no validation was heard"):
        ledger.explain()
    gap = ledger.explain(validation)
    same(gap, sum(losses) / 16, validated(model, mse, validation))
    assert Cause.DROPOUT not in gap.by_cause()


def test_the_mnist_example():
    """The commonest program of all: nll_loss, and a test loss of sums divided by the rows."""
    torch.manual_seed(0)
    data = [TensorDataset(torch.randn(n, 8), torch.randint(0, 3, (n,))) for n in (200, 150)]
    train, test = batches(data[0]), batches(data[1], 100)
    model = nn.Sequential(nn.Linear(8, 3), nn.LogSoftmax(dim=1))
    optimizer, losses = torch.optim.Adadelta(model.parameters(), lr=0.1), []
    with watch(model, F.nll_loss, optimizer) as ledger:
        model.train()
        for x, y in train:
            optimizer.zero_grad()
            output = model(x)
            loss = F.nll_loss(output, y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        model.eval()
        test_loss, correct = 0.0, 0
        with torch.no_grad():
            for x, y in test:
                output = model(x)
                test_loss += F.nll_loss(output, y, reduction="sum").item()
                pred = output.argmax(dim=1, keepdim=True)
                correct += pred.eq(y.view_as(pred)).sum().item()
        test_loss /= len(test.dataset)
    gap = ledger.explain()
    same(gap, sum(losses) / len(losses), test_loss)
    assert abs(gap.by_cause()[Cause.AVERAGE]) < 0.05
    assert ledger.explain(validation=round(test_loss, 4)).notes == gap.notes


def test_a_gradient_scaler_is_not_in_the_number():
    model, mse = linear(nn.Dropout(0.5)), nn.MSELoss()
    optimizer, train = torch.optim.SGD(model.parameters(), lr=1e-4), batches(rows())
    scaler = torch.amp.GradScaler("cpu", growth_interval=4)
    for look in (True, False):
        losses = []
        with watch(model, mse, optimizer) as ledger:
            for x, y in train:
                optimizer.zero_grad()
                loss = mse(model(x), y)
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
                losses.append(loss.item() if look else loss.detach())
        gap = ledger.explain(batches(rows()))
        assert gap.train.value == pytest.approx(float(sum(losses)) / 16, rel=1e-6)
        assert gap.train.facts.objective == "plain"


@pytest.mark.parametrize("shown", ["loss", "main", "aux"])
def test_what_is_printed_is_what_counts(shown: str):
    """Of a loss of two summands the loop may print either."""
    model, mse = TwoHeads(), nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    printed = []
    with watch(model, mse, optimizer) as ledger:
        for x, y in batches(rows()):
            one, two = model(x)
            main, aux = mse(one, y), mse(two, y)
            loss = main + 0.4 * aux
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            printed.append({"loss": loss, "main": main, "aux": aux}[shown].item())
    gap = ledger.explain(batches(rows()))
    assert gap.train.value == pytest.approx(sum(printed) / 16, rel=1e-6)


@pytest.mark.parametrize(
    "add", [lambda loss, x: loss.item() * len(x), lambda loss, x: loss.detach() * x.size(0)], ids=["item", "detach"]
)
def test_sums_by_rows_are_recognized(add):
    torch.manual_seed(3)
    model, mse = linear(), nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    total = 0.0
    with watch(model, mse, optimizer) as ledger:
        for x, y in batches(rows(250, noise=2.0)):
            optimizer.zero_grad()
            loss = mse(model(x), y)
            loss.backward()
            optimizer.step()
            total += add(loss, x)
    printed = round(float(total) / 250, 5)
    gap = ledger.explain(batches(rows()), train=printed)
    assert gap.train.value == pytest.approx(printed, abs=1e-5)
    assert not gap.notes
    assert Cause.AVERAGE not in gap.by_cause()  # every row has one share


def test_validation_in_the_middle_does_not_end_an_epoch():
    model, mse = linear(nn.Dropout(0.5)), nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    train, validation = batches(rows()), batches(rows())
    with watch(model, mse, optimizer) as ledger:
        for _ in range(2):
            model.train()
            losses = []
            for i, (x, y) in enumerate(train):
                optimizer.zero_grad()
                loss = mse(model(x), y)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                with torch.no_grad():
                    (model(x) - y).abs().mean().item()  # a metric on the side
                if i in (4, 9):
                    validated(model, mse, validation)
                    model.train()
            last = validated(model, mse, validation)
    gap = ledger.explain()
    same(gap, sum(losses) / 16, last)
    assert gap.train.facts.rows.count == 256
    assert ledger.epochs == 2


def test_the_vae_example():
    """Sums over rows of two summands, draws in evaluation mode too; printed by the rows."""

    class VAE(nn.Module):
        def __init__(self):
            super().__init__()
            self.encode, self.decode = nn.Linear(8, 4), nn.Linear(2, 8)

        def forward(self, x):
            mu, logvar = self.encode(x).chunk(2, dim=1)
            return self.decode(mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)), mu, logvar

    def loss_function(x, output, mu, logvar):
        kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        return F.mse_loss(output, x, reduction="sum") + kld

    torch.manual_seed(0)
    model, train, validation = VAE(), batches(rows()), batches(rows(200), 64)
    optimizer, total, val = torch.optim.Adam(model.parameters(), lr=1e-3), 0.0, 0.0
    with watch(model, loss_function, optimizer) as ledger:
        model.train()
        for x, _ in train:
            optimizer.zero_grad()
            loss = loss_function(x, *model(x))
            loss.backward()
            total += loss.item()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            for x, _ in validation:
                val += loss_function(x, *model(x)).item()
    gap = ledger.explain()
    same(gap, total / 256, val / 200)
    assert abs(gap.by_cause().get(Cause.AVERAGE, 0.0)) <= 1e-6
    assert Cause.OBJECTIVE not in gap.by_cause()


def test_steps_of_another_model_are_left_out():
    """The generator's step goes through the discriminator, and is none of its own."""
    generator, model, bce = nn.Linear(4, 8), nn.Linear(8, 1), nn.BCEWithLogitsLoss()
    optimizers = [torch.optim.SGD(m.parameters(), lr=1e-2) for m in (generator, model)]
    losses = []
    with watch(model, bce, optimizers[1]) as ledger:
        for x, _ in batches(rows()):
            optimizers[1].zero_grad()
            fake = generator(torch.randn(len(x), 4))
            loss = bce(model(x), torch.ones(16, 1)) + bce(model(fake.detach()), torch.zeros(16, 1))
            loss.backward()
            optimizers[1].step()
            losses.append(loss.item())
            optimizers[0].zero_grad()
            bce(model(fake), torch.ones(16, 1)).backward()
            optimizers[0].step()
    recorder = ledger._recorder
    assert recorder.training.steps == 16
    assert recorder.training.values.mean() == pytest.approx(sum(losses) / 16, rel=1e-6)
    assert list(recorder.left_out.values()) == [16]


def test_batches_that_the_loop_scales_in_place_are_measured_as_scaled():
    """The loader gives them raw; what the loop did with its batches is done with those of validation."""
    model, mse = linear(), nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    x, y = rows().tensors
    raw = TensorDataset(20 * x + 3, y)
    with watch(model, mse, optimizer) as ledger:
        for a, b in batches(raw):
            a -= 3
            a.div_(20)
            optimizer.zero_grad()
            mse(model(a), b).backward()
            optimizer.step()
    for _ in range(2):
        gap = ledger.explain(batches(raw))
        assert gap.validation.value == pytest.approx(validated(model, mse, batches(TensorDataset(x, y))), rel=1e-4)
        assert abs(gap.total) <= 1e-3
    assert torch.equal(raw.tensors[0], 20 * x + 3)


def test_two_calls_of_the_model_in_a_step():
    """Pairs: neither call is taken for validation, in the first step either."""
    model = linear(nn.Dropout(0.5))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    losses = []
    with watch(model, None, optimizer) as ledger:
        for x, _ in batches(rows()):
            loss = F.mse_loss(model(x), x[:, :1]) + F.l1_loss(model(-x), x[:, :1])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    recorder = ledger._recorder
    assert (recorder.training.steps, recorder.validation.steps) == (16, 0)
    assert recorder.training.values.mean() == pytest.approx(sum(losses) / 16, rel=1e-6)


def test_a_loop_that_calls_parts_of_its_model():
    """Parts are listened to from the first step on; the epoch after it is heard whole."""
    model = nn.ModuleDict({"body": nn.Dropout(0.5), "head": linear()})
    optimizer, train, validation = torch.optim.SGD(model.parameters(), lr=1e-4), batches(rows()), batches(rows())
    with watch(model, F.mse_loss, optimizer) as ledger:
        for _ in range(2):
            model.train()
            losses = []
            for x, y in train:
                optimizer.zero_grad()
                loss = F.mse_loss(model["head"](model["body"](x)), y)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            model.eval()
            with torch.no_grad():
                val = [F.mse_loss(model["head"](model["body"](x)), y).item() for x, y in validation]
    for given in (None, validation):
        gap = ledger.explain(given)
        same(gap, sum(losses) / 16, sum(val) / 16)
        assert max(gap.by_cause(), key=lambda cause: abs(gap.by_cause()[cause])) is Cause.DROPOUT


# ---- wrong ways ------------------------------------------------------------------------------------------------------


def test_no_step_was_heard():
    with watch(linear()) as ledger, pytest.raises(StateError, match="no step of the model was heard"):
        ledger.explain(rows().tensors)


def test_validation_batches_of_another_kind():
    ledger, _ = trained(linear(), batches(rows()))
    with pytest.raises(DataError, match="no tensor like it"):
        ledger.explain([(torch.zeros(4, 8), torch.zeros(4, dtype=torch.long))])
    with pytest.raises(DataError, match="no tensor"):
        ledger.explain(["words"])


def test_a_loss_with_gradients_in_it():
    """A gradient penalty is a summand of the objective; running it again reaches no parameter's gradient."""
    torch.manual_seed(0)
    train, data, model = rows(), rows(), linear(nn.Tanh())
    ledger = watch(model, F.mse_loss)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for x, y in batches(train):
        x.requires_grad_()
        out = model(x)
        (slope,) = torch.autograd.grad(out.sum(), x, create_graph=True)
        optimizer.zero_grad()
        (F.mse_loss(out, y) + 0.5 * slope.square().sum(1).mean()).backward()
        optimizer.step()
    ledger.close()
    before = [p.grad.clone() for p in model.parameters()]
    gap = ledger.explain(batches(data))
    assert gap.grade == "full"
    assert gap.by_cause()[Cause.OBJECTIVE] < 0
    assert all(torch.equal(p.grad, old) for p, old in zip(model.parameters(), before, strict=True))


def test_what_cannot_be_told_apart_is_not():
    """Two halves of a batch, each a loss: which is the plain one is not known."""
    model = nn.Sequential(nn.Linear(8, 1), nn.Dropout(0.5))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def loss(x: torch.Tensor) -> torch.Tensor:
        return sum(model(half).square().mean() for half in x.chunk(2))

    with watch(model) as ledger:
        for x, _ in batches(rows()):
            optimizer.zero_grad()
            loss(x).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            for x, _ in batches(rows()):
                loss(x).item()
    gap = ledger.explain()
    assert gap.grade.startswith("not separated")
    assert abs(gap.residual) < 1e-9
    assert str(gap)
