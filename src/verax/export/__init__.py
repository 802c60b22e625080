"""Models as files that predict by themselves: ``model.export`` writes one, ``load_exported`` serves it."""

from __future__ import annotations

from verax.export.archive import ExportArchive
from verax.export.exported import Endpoint, ExportedModel, load_exported

__all__ = ["Endpoint", "ExportArchive", "ExportedModel", "load_exported"]
