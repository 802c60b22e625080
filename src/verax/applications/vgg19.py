"""VGG19, under Keras' name of its module."""

from __future__ import annotations

from verax.applications.vgg import VGG19, decode_predictions, preprocess_input

__all__ = ["VGG19", "decode_predictions", "preprocess_input"]
