"""Models, by Keras' module name."""

from __future__ import annotations

from verax.model.cloning import clone_model, model_from_json
from verax.model.model import Model
from verax.model.sequential import Sequential

__all__ = ["Model", "Sequential", "clone_model", "model_from_json"]
