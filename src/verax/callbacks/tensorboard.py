"""TensorBoard: the numbers of a fit, its weights and its profile as files that TensorBoard shows."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from verax.callbacks.base import Callback, Logs
from verax.errors import InputError, MissingExtraError

__all__ = ["TensorBoard"]


#: So many pictures of a weight at most, as TensorFlow writes.
_PICTURES = 3


class TensorBoard(Callback):
    """Write ``log_dir/train`` and ``log_dir/validation`` for ``tensorboard --logdir log_dir``.

    Scalars: ``epoch_<name>`` of every number of the logs (a ``val_`` number under its plain name in ``validation``, so
    that both curves stand in one picture), ``epoch_learning_rate``, and ``evaluation_<name>_vs_iterations``.

    Args:
        log_dir: The folder; it is made.
        histogram_freq: Every so many epochs a histogram of each weight; 0: none.
        write_graph: Whether the model's configuration is written, for the graph page.
        write_images: With the histograms, weights as pictures too.
        write_steps_per_second: Also ``epoch_steps_per_second``, and ``batch_steps_per_second`` after each compiled
            chunk of steps.
        update_freq: ``"epoch"``; or ``"batch"``, or a number n: ``batch_<name>``, the numbers of the epoch so far,
            after every n-th batch.
        profile_batch: A batch (from 1) or a pair (first, last): what the device does in them is recorded for the
            profile page; ``fit`` then runs step by step. 0: nothing.
        embeddings_freq: Every so many epochs the tables of ``Embedding`` layers, for the projector page; 0: none.
        embeddings_metadata: A file with a line for each row of the table; or layer name -> file.

    Raises:
        MissingExtraError: tensorboardX, which writes the files, is not installed.
        InputError: For an ``update_freq`` or a ``profile_batch`` that is neither.

    Differs from Keras: TensorFlow is not needed; steps per second are those of a chunk of steps; the projector gets the
    tables themselves, and no checkpoint beside them; numbers of batches are written without slowing the steps down.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: str | int = "epoch",
        profile_batch: int | tuple[int, int] = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: str | Mapping[str, str] | None = None,
    ):
        self._open = _writer_class()
        self.log_dir = os.fspath(log_dir)
        self.histogram_freq = histogram_freq
        self.write_graph = write_graph
        self.write_images = write_images
        self.write_steps_per_second = write_steps_per_second
        self.update_freq = 1 if update_freq == "batch" else update_freq
        if self.update_freq != "epoch" and (isinstance(self.update_freq, str) or self.update_freq < 1):
            raise InputError(
                "TensorBoard writes numbers of batches every update_freq batches.",
                received=f"update_freq={update_freq!r}",
                do="Pass 'epoch', 'batch' or a positive integer.",
            )
        self.profile_batch = _pair(profile_batch)
        self.embeddings_freq = embeddings_freq
        self.embeddings_metadata = embeddings_metadata
        self.replay = self.profile_batch is None  # a profile begins and ends between two batches
        self._writers: dict[str, Any] = {}
        self._batch = self._tested = self._epoch_began_at = self._chunk = 0
        self._tracing = self._testing = self._fits = False
        self._epoch_clock = self._chunk_clock = 0.0

    def hears(self, hook: str) -> bool:
        """Batches are heard where their numbers are written, or the device is watched."""
        if hook == "on_train_batch_begin":
            return self.profile_batch is not None
        if hook == "on_train_batch_end":
            return self.update_freq != "epoch" or self.profile_batch is not None
        return super().hears(hook)

    def due(self) -> bool:
        """A chunk's numbers are not needed."""
        return False

    # ---- what happens --------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Any = None) -> None:
        """Write the model's configuration."""
        self._batch, self._fits = 0, True
        if self.write_graph:
            self._write_model()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Begin to count."""
        self._epoch_began_at, self._chunk = self.model.steps_trained, 0
        self._epoch_clock = self._chunk_clock = time.perf_counter()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Begin to watch the device."""
        if self.profile_batch is not None and self._batch + 1 == self.profile_batch[0]:
            jax.profiler.start_trace(os.path.join(self.log_dir, "train"))
            self._tracing = True

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Write the numbers so far; end watching the device."""
        self._batch += 1
        if self.update_freq != "epoch" and self._batch % int(self.update_freq) == 0:
            self._scalars("train", {f"batch_{name}": value for name, value in Logs.of(logs).items()}, self._batch)
        if self.profile_batch is not None and self._batch >= self.profile_batch[1]:
            self._end_trace()

    def on_chunk_end(self, done: int, logs: Any = None) -> None:
        """Write how fast the chunk was."""
        if self._testing or not self.write_steps_per_second:
            return
        now = time.perf_counter()
        speed = (done - self._chunk) / max(now - self._chunk_clock, 1e-9)
        self._scalars("train", {"batch_steps_per_second": speed}, self.model.steps_trained)
        self._chunk, self._chunk_clock = done, now

    def on_test_begin(self, logs: Any = None) -> None:
        """Chunks that are measured are not counted."""
        self._testing = True

    def on_test_end(self, logs: Any = None) -> None:
        """Write what was measured, over the steps trained."""
        self._testing = False
        named = {f"evaluation_{k.removeprefix('val_')}_vs_iterations": v for k, v in Logs.of(logs).items()}
        self._scalars("validation", named, self.model.steps_trained)
        if not self._fits:
            self._close()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write the numbers of the epoch, and what else is due."""
        numbers = Logs.of(logs)
        train = {name: value for name, value in numbers.items() if not name.startswith("val_")}
        train["learning_rate"] = self.model.learning_rate
        if self.write_steps_per_second:
            steps = self.model.steps_trained - self._epoch_began_at
            train["steps_per_second"] = steps / max(time.perf_counter() - self._epoch_clock, 1e-9)
        self._scalars("train", {f"epoch_{name}": value for name, value in train.items()}, epoch)
        validation = {f"epoch_{k.removeprefix('val_')}": v for k, v in numbers.items() if k.startswith("val_")}
        self._scalars("validation", validation, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._write_weights(epoch)
        if self.embeddings_freq and epoch % self.embeddings_freq == 0:
            self._write_embeddings(epoch)

    def on_train_end(self, logs: Any = None) -> None:
        """Close the files."""
        self._end_trace()
        self._fits = False
        self._close()

    # ---- files ---------------------------------------------------------------------------------------------------

    def _writer(self, part: str) -> Any:
        if part not in self._writers:
            self._writers[part] = self._open(os.path.join(self.log_dir, part))
        return self._writers[part]

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _scalars(self, part: str, numbers: Mapping[str, Any], step: int) -> None:
        for name, value in numbers.items():
            if np.ndim(value) == 0:
                self._writer(part).add_scalar(name, float(value), step)

    def _write_model(self) -> None:
        """The configuration, where it can be had: a layer may hold what JSON has no form for."""
        from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata  # pyright: ignore
        from tensorboardX.proto.tensor_pb2 import TensorProto  # pyright: ignore
        from tensorboardX.proto.types_pb2 import DT_STRING  # pyright: ignore

        with contextlib.suppress(InputError, TypeError):
            text = self.model.to_json().encode()
            metadata = SummaryMetadata(
                plugin_data=SummaryMetadata.PluginData(plugin_name="graph_keras_model", content=b"1")
            )
            value = Summary.Value(
                tag="keras", metadata=metadata, tensor=TensorProto(dtype=DT_STRING, string_val=[text])
            )
            self._writer("train").file_writer.add_summary(Summary(value=[value]), 0)

    def _write_weights(self, epoch: int) -> None:
        writer = self._writer("train")
        for variable in self.model.weights:
            values = np.asarray(variable.own()).astype(np.float32)
            writer.add_histogram(f"{variable.path}/histogram", values, epoch)
            pictures = _pictures(values) if self.write_images else None
            for picture in [] if pictures is None else pictures[:_PICTURES]:
                writer.add_image(f"{variable.path}/image", picture, epoch, dataformats="HWC")
        writer.flush()

    def _write_embeddings(self, epoch: int) -> None:
        for layer in self.model.layers:
            table: Any = getattr(layer, "embeddings", None)
            if not hasattr(table, "own"):
                continue
            files = self.embeddings_metadata
            file = files.get(layer.name) if isinstance(files, Mapping) else files
            names = Path(file).read_text().splitlines() if file else None
            values = np.asarray(table.own()).astype(np.float32)
            self._writer("train").add_embedding(values, metadata=names, global_step=epoch, tag=layer.name)

    def _end_trace(self) -> None:
        if self._tracing:
            self._tracing = False
            jax.profiler.stop_trace()


def _writer_class() -> Any:
    try:
        from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]
    except ImportError:
        asked = "callbacks.TensorBoard writes its files with tensorboardX."
        raise MissingExtraError.of("tensorboardX", extra="tensorboard", asked=asked) from None
    return SummaryWriter


def _pair(profile: Any) -> tuple[int, int] | None:
    """The first and the last batch to record, from 1; None for none."""
    if isinstance(profile, str) and profile:
        profile = profile.split(",")
    pair = tuple(int(n) for n in profile) if isinstance(profile, (list, tuple)) else (int(profile or 0),) * 2
    if len(pair) != 2 or pair[0] < 0 or pair[1] < pair[0]:
        raise InputError(
            "TensorBoard records what the device does in some batches.",
            received=f"profile_batch={profile!r}",
            because="it is a batch, or the first and the last one, counted from 1",
            do="Pass profile_batch=(10, 20), or 0 for nothing.",
        )
    return (pair[0], pair[1]) if pair[0] else None


def _pictures(weight: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """A weight as grey pictures (n, height, width, 1) from 0 to 1; None where it has too many axes."""
    squeezed = np.squeeze(weight)
    if squeezed.ndim == 1:
        shown = squeezed[None, :, None, None]
    elif squeezed.ndim == 2:
        shown = (squeezed.T if squeezed.shape[0] > squeezed.shape[1] else squeezed)[None, :, :, None]
    elif squeezed.ndim == 3:
        shown = np.moveaxis(squeezed, -1, 0)[..., None]
    else:
        return None
    low, high = shown.min(), shown.max()
    return (shown - low) / (high - low) if high > low else np.zeros_like(shown)
