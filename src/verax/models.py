"""Models, by Keras' module name."""

from __future__ import annotations

from verax.model.cloning import clone_model, model_from_json
from verax.model.files import load_model, save_model
from verax.model.model import Model
from verax.model.sequential import Sequential

__all__ = ["Model", "Sequential", "clone_model", "load_model", "model_from_json", "save_model"]
