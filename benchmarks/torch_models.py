"""The works in PyTorch alone: the same models, trained by a loop as its users write it, in channels_last memory."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.models import MOBILENET, Data, Work, batches

__all__ = ["TorchWork"]

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Images(nn.Module):
    """Rows come as (height, width, channels): a permuted view of them is PyTorch's channels_last."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 3, 1, 2)


class Residual(nn.Module):
    def __init__(self, inner: nn.Module, project: nn.Module | None = None, after: nn.Module | None = None) -> None:
        super().__init__()
        self.inner, self.project, self.after = inner, project or nn.Identity(), after or nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.project(x) + self.inner(x))


def mlp(width: int, depth: int) -> nn.Module:
    sizes = [20] + [width] * depth
    hidden = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(width, 1))


def convnet() -> nn.Module:
    return nn.Sequential(
        Images(),
        *(nn.Conv2d(1, 64, 3), nn.ReLU(), nn.BatchNorm2d(64), nn.MaxPool2d(2), nn.Dropout(0.25)),
        *(nn.Conv2d(64, 128, 3), nn.ReLU(), nn.BatchNorm2d(128), nn.MaxPool2d(2), nn.Dropout(0.25)),
        *(nn.Conv2d(128, 128, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(128), nn.Flatten()),
        *(nn.Linear(3200, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)),
    )


def resnet50(**_: Any) -> nn.Module:
    def conv(inside: int, filters: int, size: int = 1, stride: int = 1) -> list[nn.Module]:
        convolution = nn.Conv2d(inside, filters, size, stride, size // 2)
        return [convolution, nn.BatchNorm2d(filters, 1.001e-5, 0.01)]

    layers: list[nn.Module] = [Images(), *conv(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    inside = 64
    for filters, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for i in range(blocks):
            stride = 2 if i == 0 and filters > 64 else 1
            inner = nn.Sequential(
                *(*conv(inside, filters, 1, stride), nn.ReLU(inplace=True)),
                *(*conv(filters, filters, 3), nn.ReLU(inplace=True)),
                *conv(filters, 4 * filters),
            )
            project = nn.Sequential(*conv(inside, 4 * filters, 1, stride)) if i == 0 else None
            layers.append(Residual(inner, project, nn.ReLU(inplace=True)))
            inside = 4 * filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inside, 1000))


def mobilenet() -> nn.Module:
    def conv(inside: int, filters: int, size: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
        convolution = nn.Conv2d(inside, filters, size, stride, size // 2, groups=groups, bias=False)
        return [convolution, nn.BatchNorm2d(filters, 1e-3, 0.01)]

    layers: list[nn.Module] = [Images(), *conv(3, 32, 3, 2), nn.ReLU6(inplace=True)]
    inside = 32
    for expand, filters, blocks, first in MOBILENET:
        for i in range(blocks):
            stride, hidden = first if i == 0 else 1, expand * inside
            inner = [*conv(inside, hidden), nn.ReLU6(inplace=True)] if expand > 1 else []
            inner += [*conv(hidden, hidden, 3, stride, hidden), nn.ReLU6(inplace=True), *conv(hidden, filters)]
            block = nn.Sequential(*inner)
            layers.append(Residual(block) if stride == 1 and inside == filters else block)
            inside = filters
    head = [*conv(inside, 1280), nn.ReLU6(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 100)]
    return nn.Sequential(*layers, *head)


class Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(32, 128, batch_first=True), nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, length, width = x.shape
        q, k, v = self.qkv(x).view(rows, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(rows, length, width))


class Average(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(1)


def transformer(depth: int = 6, width: int = 256, heads: int = 8, *_: int) -> nn.Module:
    def block() -> list[nn.Module]:
        attend = nn.Sequential(nn.LayerNorm(width, 1e-3), Attention(width, heads))
        feed = (nn.LayerNorm(width, 1e-3), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        return [Residual(attend), Residual(nn.Sequential(*feed))]

    blocks = [m for _ in range(depth) for m in block()]
    return nn.Sequential(nn.Embedding(1000, width), *blocks, nn.LayerNorm(width, 1e-3), Average(), nn.Linear(width, 10))


MODELS: dict[str, Callable[..., nn.Module]] = {
    "logistic": lambda *_: nn.Linear(20, 1),
    "wide": lambda: nn.Sequential(nn.Linear(20, 1000), nn.ReLU(), nn.Linear(1000, 1)),
    "convnet": convnet,
    "resnet50": lambda *_: resnet50(),
    "resnet50_predict": resnet50,
    "lstm": Lstm,
    "transformer": transformer,
    "mobilenet": mobilenet,
    "generator": lambda: mlp(128, 2),
    "mlp": mlp,
}

#: On logits: the loss, and how many rows are right.
LOSSES: dict[str, tuple[Callable[..., torch.Tensor], Callable[..., torch.Tensor]]] = {
    "binary_crossentropy": (F.binary_cross_entropy_with_logits, lambda out, y: ((out > 0) == (y > 0.5)).sum()),
    "sparse_categorical_crossentropy": (F.cross_entropy, lambda out, y: (out.argmax(1) == y).sum()),
    "mse": (F.mse_loss, lambda out, y: out.new_zeros(())),
}

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": lambda p: torch.optim.Adam(p, 1e-3, eps=1e-7),
    "sgd": lambda p: torch.optim.SGD(p, 0.1),
    "momentum": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9),
}


class TorchWork:
    """A work's model and data; ``call()`` is what the others' ``fit`` or ``predict`` does."""

    def __init__(self, name: str, work: Work, data: Data, *, compiling: bool) -> None:
        kind, *sizes = name.split(":")
        self.work, self.host = work, data
        self.model = MODELS[kind](*(int(s) for s in sizes if s.isdigit()))
        self.model = self.model.to(device=DEVICE, memory_format=torch.channels_last)
        self.optimizer = OPTIMIZERS[work.optimizer](self.model.parameters())
        self.loss, self.right = LOSSES[work.loss]
        self.data = self._tensors(*data)
        self.forward: Callable[..., torch.Tensor] = self.model
        self.chosen = "eager"
        self.call()
        if compiling:
            self._choose()

    def call(self) -> None:
        """Train for the call's epochs, or predict."""
        if self.work.call == "predict":
            self._predict()
            return
        for _ in range(self.work.epochs):
            self._epoch()

    def _tensors(self, x: Any, y: Any) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = torch.from_numpy(x).to(DEVICE), torch.from_numpy(y).to(DEVICE)
        if y.dtype.is_floating_point:
            return x, y.reshape(len(y), 1)
        return x, y.long()

    def _choose(self) -> None:
        """Keep the faster of eager and compiled; where compiling fails (it wants a C++ compiler), eager."""
        eager = min(self._seconds() for _ in range(2))
        try:
            self.forward = torch.compile(self.model)
            self.call()
            found = min(self._seconds() for _ in range(2))
        except Exception as error:
            self.chosen, found = f"eager (torch.compile failed: {type(error).__name__})", float("inf")
        if found < eager:
            self.chosen = "compiled"
        else:
            self.forward = self.model

    def _seconds(self) -> float:
        began = time.perf_counter()
        self.call()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    def _autocast(self) -> Any:
        return torch.autocast(DEVICE, torch.bfloat16, enabled=self.work.policy == "mixed_bfloat16")

    def _batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        x, y = self.data
        if self.work.call == "generator":
            stream = batches(self.host, self.work.batch)
            for _ in range(len(x) // self.work.batch):
                yield self._tensors(*next(stream))
        else:
            for rows in torch.randperm(len(x), device=x.device).split(self.work.batch):
                yield x[rows], y[rows]

    def _epoch(self) -> None:
        self.model.train()
        total = right = torch.zeros((), device=DEVICE)
        seen = 0
        for x, y in self._batches():
            self.optimizer.zero_grad(set_to_none=True)
            with self._autocast():
                out = self.forward(x)
                loss = self.loss(out, y)
            loss.backward()
            self.optimizer.step()
            with torch.no_grad():
                total = total + loss * len(x)
                if self.work.metrics:
                    right = right + self.right(out, y)
            seen += len(x)
        print(f"loss {total.item() / seen:.4f} accuracy {right.item() / seen:.4f}")

    def _predict(self) -> Any:
        self.model.eval()
        with torch.inference_mode(), self._autocast():
            return torch.cat([self.forward(x).softmax(1) for x in self.data[0].split(self.work.batch)]).cpu().numpy()
