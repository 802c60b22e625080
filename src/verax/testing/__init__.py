"""Checks for a layer, loss, metric or probe that somebody wrote: what the rest of Verax relies on, tried out.

Each check tries all it knows and then names every fault at once, with what to do about it.
"""

from __future__ import annotations

from verax.testing.faults import CheckError
from verax.testing.layers import check_layer
from verax.testing.losses import check_loss
from verax.testing.metrics import check_metric
from verax.testing.probes import check_probe

__all__ = ["CheckError", "check_layer", "check_loss", "check_metric", "check_probe"]
