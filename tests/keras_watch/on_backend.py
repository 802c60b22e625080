"""The planted causes on whatever backend KERAS_BACKEND names: run by a test in a process of its own."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np

import verax
from tests.keras_watch.scenarios import SCENARIOS, linear, rows
from verax.ledger.verdict import Kind

__all__ = ["main"]


def main() -> None:
    """Print, as JSON, what each scenario came to, and whether a watched fit is the same fit."""
    warnings.simplefilter("ignore")
    import keras

    found: dict[str, Any] = {}
    for scenario in SCENARIOS:
        keras.utils.set_random_seed(0)
        gap = scenario.ask(keras, np.random.default_rng(0))
        amounts = gap.by_cause()
        largest = max(amounts, key=lambda cause: abs(amounts[cause]))
        found[scenario.name] = {
            "largest": largest.name,
            "wanted": scenario.cause and scenario.cause.name,
            "sign": amounts[largest] * scenario.sign > 0,
            "none": gap.verdict.kind is Kind.NONE,
            "grade": gap.grade,
            "residual": abs(gap.residual) <= 1e-6 * max(abs(link.after.value) for link in gap.links),
        }
    ends = []
    for watched in (True, False):
        keras.utils.set_random_seed(1)
        model = linear(keras, keras.layers.Dropout(0.3), keras.layers.BatchNormalization(), rate=0.01)
        why = [verax.keras.Explain(verbose=0, explain="epoch")] if watched else []
        rng = np.random.default_rng(0)
        data = rows(rng)
        histories = [model.fit(*data, validation_data=data, verbose=0, epochs=2, callbacks=why).history]
        histories.append(model.fit(*data, validation_data=data, verbose=0).history)
        ends.append((histories, [v.numpy().tolist() for v in model.variables]))
    print(json.dumps({"found": found, "same": ends[0] == ends[1]}))


if __name__ == "__main__":
    main()
