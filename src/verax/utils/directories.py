"""Datasets of the files in a directory: images and texts, a subdirectory a class."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from verax.errors import DataError, InputError, UnknownNameError
from verax.frame.seeds import next_seed
from verax.utils.images import COLORS, in_color, pillow
from verax.utils.resampling import INTERPOLATIONS, crop_to_ratio, pad_to_ratio, resize
from verax.utils.row_dataset import RowDataset

__all__ = ["image_dataset_from_directory", "text_dataset_from_directory"]

_IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")


@dataclass(frozen=True)
class _Files:
    """Files and the numbers of their classes."""

    paths: list[str]
    labels: np.ndarray[Any, Any] | None
    class_names: list[str] | None

    def cut(self, start: int, stop: int) -> _Files:
        return _Files(
            self.paths[start:stop], None if self.labels is None else self.labels[start:stop], self.class_names
        )


def image_dataset_from_directory(
    directory: str | Path,
    labels: Any = "inferred",
    label_mode: str | None = "int",
    class_names: Sequence[str] | None = None,
    color_mode: str = "rgb",
    batch_size: int | None = 32,
    image_size: int | tuple[int, int] = (256, 256),
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    interpolation: str = "bilinear",
    follow_links: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    data_format: str | None = None,
    verbose: bool = True,
) -> Any:
    """A dataset of the images (bmp, gif, jpeg, png) in a directory, read when they are needed.

    Batches are ``(images, labels)``, or ``images``: float32 (batch, height, width, channels) from 0 to 255; labels
    int32 (batch,) for ``"int"``, float32 (batch, classes) for ``"categorical"``, float32 (batch, 1) for ``"binary"``.

    Args:
        directory: Holds a directory for each class; or, unless labels are inferred, files at any depth.
        labels: ``"inferred"`` from the directories, None, or the number of each file's class in the order of
            ``os.walk``, sorted.
        label_mode: ``"int"``, ``"categorical"``, ``"binary"`` (of two classes), or None for images alone.
        class_names: The directories that are classes, in the order of their numbers; all of them, sorted, when None.
        color_mode: ``"rgb"``, ``"rgba"`` or ``"grayscale"``.
        batch_size: Images in a batch; None for single images.
        image_size: Height and width of every image.
        shuffle: Whether files come in another order than sorted, and in a new one each epoch.
        seed: Of the orders.
        validation_split: The fraction of files, the last ones, that are for validation.
        subset: ``"training"``, ``"validation"``, or ``"both"`` for the two datasets; the one for validation is not
            shuffled again.
        interpolation: As in ``verax.preprocessing.image.smart_resize``.
        follow_links: Whether to go into directories that are links.
        crop_to_aspect_ratio, pad_to_aspect_ratio: Whether to cut the middle out of an image, or to put black around it,
            so that it has the ratio of ``image_size``, rather than distort it.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
        verbose: Whether to print how many files were found.

    Returns:
        A ``RowDataset``, which ``fit``, ``evaluate``, ``predict`` and ``adapt`` take: with ``class_names``,
        ``file_paths``, ``map(function)``, ``len`` (batches) and ``workers``, how many threads read ahead in training.

    Differs from Keras: there is one kind of dataset (no ``format``); all rows are shuffled each epoch, not a buffer of
    them, and in an order that ``fit`` can repeat to explain its numbers.
    """
    asked = "image_dataset_from_directory reads images."
    if color_mode not in COLORS:
        raise UnknownNameError.among("color_mode", color_mode, COLORS)
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(size) != 2 or any(not isinstance(n, int) or n < 1 for n in size):
        raise InputError(asked, received=f"image_size={image_size!r}", because="it is a height and a width")
    interpolation = interpolation.lower()
    if interpolation not in INTERPOLATIONS:
        raise UnknownNameError.among("interpolation", interpolation, INTERPOLATIONS)
    if data_format not in (None, "channels_last", "channels_first"):
        raise UnknownNameError.among("data_format", data_format, ["channels_last", "channels_first"])
    if crop_to_aspect_ratio and pad_to_aspect_ratio:
        received = "crop_to_aspect_ratio=True, pad_to_aspect_ratio=True"
        raise InputError(asked, received=received, because="either does away with the need of the other")
    module = pillow(asked)
    fit_ratio = crop_to_ratio if crop_to_aspect_ratio else pad_to_ratio if pad_to_aspect_ratio else None

    def load(path: str) -> np.ndarray[Any, Any]:
        with module.open(path) as image:
            array = np.asarray(in_color(image, color_mode), np.float32)
        array = array[:, :, None] if array.ndim == 2 else array
        array = resize(array if fit_ratio is None else fit_ratio(array, size), size, interpolation)
        return array.transpose(2, 0, 1) if data_format == "channels_first" else array

    return _dataset(
        asked,
        lambda paths: np.stack([load(path) for path in paths]),
        _IMAGES,
        directory,
        (labels, label_mode, class_names),
        batch_size,
        (shuffle, seed, validation_split, subset),
        follow_links=follow_links,
        verbose=verbose,
        workers=min(8, os.cpu_count() or 1),
    )


def text_dataset_from_directory(
    directory: str | Path,
    labels: Any = "inferred",
    label_mode: str | None = "int",
    class_names: Sequence[str] | None = None,
    batch_size: int | None = 32,
    max_length: int | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    follow_links: bool = False,
    verbose: bool = True,
) -> Any:
    """A dataset of the text files (.txt, UTF-8) in a directory, read when they are needed.

    Batches are ``(texts, labels)``, or ``texts``: an array of strings (batch,). A layer makes numbers of them:
    ``dataset.map(lambda texts, labels: (vectorize(texts), labels))``.

    Args:
        max_length: At most so many characters of a text.
        directory, labels, label_mode, class_names, batch_size, shuffle, seed, validation_split, subset, follow_links,
            verbose: As in ``image_dataset_from_directory``, which also says what is returned.
    """

    def load(path: str) -> str:
        return Path(path).read_text(encoding="utf-8")[:max_length]

    def read(paths: Sequence[str]) -> np.ndarray[Any, Any]:
        made = np.empty(len(paths), object)
        made[:] = [load(path) for path in paths]
        return made

    return _dataset(
        "text_dataset_from_directory reads texts.",
        read,
        (".txt",),
        directory,
        (labels, label_mode, class_names),
        batch_size,
        (shuffle, seed, validation_split, subset),
        follow_links=follow_links,
        verbose=verbose,
    )


def _dataset(
    asked: str,
    read: Callable[[Sequence[str]], Any],
    endings: tuple[str, ...],
    directory: str | Path,
    labelled: tuple[Any, str | None, Sequence[str] | None],
    batch_size: int | None,
    split: tuple[bool, int | None, float | None, str | None],
    *,
    follow_links: bool,
    verbose: bool,
    workers: int = 1,
) -> Any:
    labels, label_mode, class_names = labelled
    shuffle, seed, fraction, subset = split
    _check_split(asked, fraction, subset, shuffle, seed)
    if label_mode not in ("int", "categorical", "binary", None):
        raise UnknownNameError.among("label_mode", label_mode, ["int", "categorical", "binary"])
    if label_mode is None:
        labels = None
    files = _find(asked, Path(directory), labels, class_names, endings, follow_links=follow_links)
    classes = files.class_names or []
    if verbose:
        belonging = "" if files.labels is None else f" belonging to {len(classes)} classes"
        print(f"Found {len(files.paths)} files{belonging}.")
    if label_mode == "binary" and files.labels is not None and len(classes) != 2:
        received = f"{len(classes)} classes: {', '.join(classes[:5])}"
        raise InputError(asked, received=received, because="label_mode='binary' is for two classes")
    seed = next_seed("datasets") if seed is None else seed
    if shuffle:
        files = _shuffled(files, seed)

    def made(part: _Files, again: bool) -> RowDataset:
        if not part.paths:
            because = f"there is none of {', '.join(endings)}" if fraction is None else "the subset would be empty"
            raise DataError(asked, received=f"no file in {str(directory)!r}", because=because)
        targets = None if part.labels is None else _targets(asked, part.labels, str(label_mode), len(classes))

        def rows(index: np.ndarray[Any, Any]) -> tuple[Any, ...]:
            x = read([part.paths[i] for i in index.tolist()])
            return (x,) if targets is None else (x, targets[index])

        return RowDataset(
            rows,
            len(part.paths),
            batch_size=batch_size,
            shuffle=again,
            seed=seed,
            workers=workers,
            class_names=part.class_names,
            file_paths=part.paths,
        )

    if fraction is None:
        return made(files, shuffle)
    at = len(files.paths) - int(fraction * len(files.paths))
    parts = {"training": (files.cut(0, at), shuffle), "validation": (files.cut(at, len(files.paths)), False)}
    if verbose:
        for name in parts if subset == "both" else (str(subset),):
            print(f"Using {len(parts[name][0].paths)} files for {name}.")
    if subset == "both":
        return [made(*parts["training"]), made(*parts["validation"])]
    part, _ = parts[str(subset)]
    return made(part, shuffle)


def _check_split(asked: str, fraction: float | None, subset: str | None, shuffle: bool, seed: int | None) -> None:
    if subset not in ("training", "validation", "both", None):
        raise UnknownNameError.among("subset", subset, ["training", "validation", "both"])
    if (fraction is None) != (subset is None):
        received = f"validation_split={fraction!r}, subset={subset!r}"
        raise InputError(asked, received=received, because="one is of no use without the other", do="Pass both.")
    if fraction is not None and not 0 < fraction < 1:
        received = f"validation_split={fraction!r}"
        raise InputError(asked, received=received, because="it is a fraction of the files, between 0 and 1")
    if fraction is not None and shuffle and seed is None and subset != "both":
        because = "the files for training and for validation would be drawn from different orders, and overlap"
        raise InputError(asked, received="seed=None", because=because, do="Pass the same seed both times.")


def _find(
    asked: str,
    directory: Path,
    labels: Any,
    class_names: Sequence[str] | None,
    endings: tuple[str, ...],
    *,
    follow_links: bool,
) -> _Files:
    """The files of a directory, sorted, with their classes."""
    if not directory.is_dir():
        because = "there is no such directory"
        raise InputError(asked, received=f"directory={str(directory)!r}", because=because)
    if isinstance(labels, str) and labels == "inferred":
        found = sorted(p.name for p in directory.iterdir() if p.is_dir() and not p.name.startswith("."))
        names = found if class_names is None else list(class_names)
        missing = [name for name in names if name not in found]
        if missing:
            because = f"the directories are {found}"
            raise InputError(asked, received=f"class_names with {missing[0]!r}", because=because)
        groups = [_walk(directory / name, endings, follow_links=follow_links) for name in names]
        numbers = np.repeat(np.arange(len(groups), dtype=np.int32), [len(group) for group in groups])
        return _Files([path for group in groups for path in group], numbers, names)
    if class_names is not None:
        because = "they name the directories labels are inferred from"
        raise InputError(asked, received=f"class_names with labels={labels!r}", because=because, do="Leave them out.")
    paths = _walk(directory, endings, follow_links=follow_links)
    if labels is None:
        return _Files(paths, None, None)
    if isinstance(labels, str) or not hasattr(labels, "__len__"):
        because = "labels are 'inferred', None, or a whole number for each file"
        raise InputError(asked, received=f"labels={labels!r}", because=because)
    if len(labels) != len(paths):
        because = f"{len(paths)} files were found"
        raise InputError(asked, received=f"{len(labels)} labels", because=because, do="Pass one for each file.")
    given = np.asarray(labels, np.int32)
    return _Files(paths, given, [str(label) for label in sorted(set(given.tolist()))])


def _walk(directory: Path, endings: tuple[str, ...], *, follow_links: bool) -> list[str]:
    folders = sorted(os.walk(directory, followlinks=follow_links), key=lambda entry: entry[0])
    return [
        os.path.join(root, name)
        for root, _, names in folders
        for name in sorted(names)
        if name.lower().endswith(endings)
    ]


def _shuffled(files: _Files, seed: int) -> _Files:
    # Keras' generator: the same seed holds the same files out for validation.
    order = np.arange(len(files.paths))
    np.random.RandomState(seed).shuffle(order)
    labels = None if files.labels is None else files.labels[order]
    return _Files([files.paths[i] for i in order.tolist()], labels, files.class_names)


def _targets(asked: str, labels: np.ndarray[Any, Any], mode: str, classes: int) -> np.ndarray[Any, Any]:
    if mode == "int":
        return labels
    if labels.min() < 0 or labels.max() >= classes:
        received = f"labels from {labels.min()} to {labels.max()}"
        because = f"the {classes} classes have the numbers 0 to {classes - 1}"
        raise InputError(asked, received=received, because=because, do="Number the classes from 0.")
    if mode == "binary":
        return labels.astype(np.float32)[:, None]
    return np.eye(classes, dtype=np.float32)[labels]
