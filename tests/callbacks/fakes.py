"""A model and an optimizer that only remember: what callbacks may touch, without training anything."""

from __future__ import annotations

from typing import Any

import numpy as np


class FakeOptimizer:
    def __init__(self, rate: float = 1.0):
        self.learning_rate = rate


class FakeModel:
    """Its one weight is the number of the epoch it is in, so that a restored weight tells where it came from."""

    def __init__(self, rate: float = 1.0):
        self.optimizer = FakeOptimizer(rate)
        self.stop_training = False
        self.weight = -1.0
        self.saved: list[tuple[str, float]] = []
        self.saved_whole: list[tuple[str, float]] = []
        self.metrics: list[Any] = []

    def get_weights(self) -> list[np.ndarray]:
        return [np.asarray(self.weight)]

    def set_weights(self, weights: list[np.ndarray]) -> None:
        self.weight = float(weights[0])

    def save_weights(self, path: str, overwrite: bool = True) -> None:
        self.saved.append((path, self.weight))

    def save(self, path: str, overwrite: bool = True) -> None:
        self.saved_whole.append((path, self.weight))


def drive(callback: Any, epochs: list[dict[str, float]], rate: float = 1.0) -> tuple[FakeModel, list[dict[str, Any]]]:
    """Run ``callback`` through epochs with these logs, as fit would; returns the model and what each epoch left."""
    model, left = FakeModel(rate), []
    callback.set_model(model)
    callback.on_train_begin({})
    for epoch, values in enumerate(epochs):
        callback.on_epoch_begin(epoch, {})
        model.weight = float(epoch)
        logs = dict(values)
        callback.on_epoch_end(epoch, logs)
        left.append({"logs": logs, "rate": model.optimizer.learning_rate, "stop": model.stop_training})
        if model.stop_training:
            break
    callback.on_train_end({})
    return model, left
