"""Callbacks: what may be done, or noted, between the steps and the epochs of a run."""

from __future__ import annotations

from verax.callbacks.backup import BackupAndRestore
from verax.callbacks.base import Callback, CallbackList, Logs
from verax.callbacks.checkpoint import ModelCheckpoint
from verax.callbacks.csv_logger import CSVLogger
from verax.callbacks.early_stopping import EarlyStopping
from verax.callbacks.history import History
from verax.callbacks.lambda_callback import LambdaCallback
from verax.callbacks.monitor import MonitorCallback
from verax.callbacks.orbax_checkpoint import OrbaxCheckpoint
from verax.callbacks.progress import ProgbarLogger, ProgressLine
from verax.callbacks.remote_monitor import RemoteMonitor
from verax.callbacks.schedule import LearningRateScheduler, ReduceLROnPlateau
from verax.callbacks.swap_ema import SwapEMAWeights
from verax.callbacks.tensorboard import TensorBoard
from verax.callbacks.terminate_on_nan import TerminateOnNaN

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "Logs",
    "ModelCheckpoint",
    "MonitorCallback",
    "OrbaxCheckpoint",
    "ProgbarLogger",
    "ProgressLine",
    "ReduceLROnPlateau",
    "RemoteMonitor",
    "SwapEMAWeights",
    "TensorBoard",
    "TerminateOnNaN",
]
