"""Verax: deep learning on JAX with the API Keras users know, in which every number says what it measured.

Importing this module loads no other library; the rooms, and JAX with them, open when their names are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from verax._version import __version__

if TYPE_CHECKING:
    from verax import (
        activations,
        applications,
        backend,
        callbacks,
        config,
        constraints,
        datasets,
        distribution,
        dtype_policies,
        errors,
        export,
        initializers,
        keras,
        layers,
        ledger,
        losses,
        metrics,
        mixed_precision,
        models,
        ops,
        optimizers,
        preprocessing,
        random,
        regularizers,
        saving,
        testing,
        torch,
        tree,
        utils,
        watch,
        wrappers,
    )
    from verax._version import version
    from verax.export import load_exported
    from verax.frame.frame import load_values, pure, values
    from verax.frame.lift import lift
    from verax.frame.mode import Mode, ModeMap
    from verax.frame.policy import DTypePolicy
    from verax.frame.remat import RematScope, remat
    from verax.frame.scopes import StatelessScope, device, name_scope
    from verax.frame.symbolic import KerasTensor, SymbolicTensor
    from verax.frame.variable import Variable
    from verax.initializers import Initializer
    from verax.layers import Input, InputSpec, Layer
    from verax.ledger import explain
    from verax.losses import Loss
    from verax.metrics import Metric
    from verax.model.model import Model
    from verax.model.sequential import Sequential
    from verax.optimizers import Optimizer
    from verax.regularizers import Regularizer

_ROOMS = (
    "activations",
    "applications",
    "backend",
    "callbacks",
    "config",
    "constraints",
    "datasets",
    "distribution",
    "dtype_policies",
    "errors",
    "export",
    "initializers",
    "keras",
    "layers",
    "ledger",
    "losses",
    "metrics",
    "mixed_precision",
    "models",
    "ops",
    "optimizers",
    "preprocessing",
    "regularizers",
    "testing",
    "torch",
    "random",
    "tree",
    "saving",
    "utils",
    "watch",
    "wrappers",
)

_NAMES = {
    "DTypePolicy": "verax.frame.policy",
    "Initializer": "verax.initializers",
    "Input": "verax.layers",
    "InputSpec": "verax.layers",
    "KerasTensor": "verax.frame.symbolic",
    "Layer": "verax.layers",
    "Loss": "verax.losses",
    "Metric": "verax.metrics",
    "Mode": "verax.frame.mode",
    "ModeMap": "verax.frame.mode",
    "Model": "verax.model.model",
    "Optimizer": "verax.optimizers",
    "Regularizer": "verax.regularizers",
    "RematScope": "verax.frame.remat",
    "Sequential": "verax.model.sequential",
    "StatelessScope": "verax.frame.scopes",
    "SymbolicTensor": "verax.frame.symbolic",
    "Variable": "verax.frame.variable",
    "device": "verax.frame.scopes",
    "explain": "verax.ledger",
    "lift": "verax.frame.lift",
    "load_exported": "verax.export",
    "load_values": "verax.frame.frame",
    "name_scope": "verax.frame.scopes",
    "pure": "verax.frame.frame",
    "remat": "verax.frame.remat",
    "values": "verax.frame.frame",
    "version": "verax._version",
}

__all__ = ["__version__", *_NAMES, *_ROOMS]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        value = importlib.import_module(f"verax.{name}")
    elif name in _NAMES:
        value = getattr(importlib.import_module(_NAMES[name]), name)
    else:
        raise AttributeError(f"module 'verax' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
