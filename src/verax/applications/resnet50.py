"""ResNet50, under Keras' name of its module."""

from __future__ import annotations

from verax.applications.resnet import ResNet50, decode_predictions, preprocess_input

__all__ = ["ResNet50", "decode_predictions", "preprocess_input"]
