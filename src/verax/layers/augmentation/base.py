"""What every layer that changes images gets for nothing: one image or a batch, channels, dtypes, modes, draws."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any, ClassVar, Unpack, cast

import jax
import jax.numpy as jnp

from verax.errors import InputError, ShapeError
from verax.frame.frame import call
from verax.frame.mode import Mode
from verax.frame.policy import is_float
from verax.frame.seeds import next_key
from verax.layers.base import Layer, LayerArguments, check_seed, image_format

__all__ = [
    "BaseAugmentation",
    "DataLayer",
    "ImageArguments",
    "between",
    "happens",
    "interval",
    "limits",
    "of_each",
    "ready",
]


#: What of a dictionary goes along with a change.
ENTRIES = ("images", "labels", "segmentation_masks")


class ImageArguments(LayerArguments, total=False):
    """What every image layer's constructor takes besides its own arguments: ``data_format`` and those of ``Layer``."""

    data_format: str | None


class DataLayer(Layer):
    """A layer for data: called on arrays, outside of a model, it runs in training mode unless it is told otherwise."""

    def _call_eagerly(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        training = kwargs.pop("training", None)
        return super()._call_eagerly(args, {**kwargs, "training": True if training is None else training})


class BaseAugmentation(DataLayer):
    """A change of images that is drawn for each image in training, and is not made in inference.

    A layer says how it draws (``draw``) and what it does (``change``), both of a batch with its channels last, in the
    dtype the layer computes in. From this base come single images, ``data_format``, dtypes (integers become floats in
    both modes), the mode, the key, and dictionaries of data: ``{"images", "labels", "segmentation_masks"}``, whose
    labels and masks go with the images (``change_labels``, ``change_masks``).

    A layer of which ``always`` is true draws nothing and does the same in both modes.

    Called outside of a model a layer augments unless ``training=False`` is said, as in Keras: ``RandomFlip()(images)``.

    Differs from Keras: images come out as floats from every layer and in both modes, also where Keras leaves integers;
    a dictionary that is given is not changed; ``model(images)`` runs in inference, and ``model(images, training=True)``
    augments. Bounding boxes are not moved: a dictionary with them is refused.

    Args:
        seed: Another seed gives other draws for the same key of the pass.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
    """

    # Labels keep their precision; images are cast below.
    autocast = False
    always: ClassVar[bool] = False
    #: Whether labels come out as floats, in both modes.
    mixes_labels: ClassVar[bool] = False

    def __init__(self, *, seed: int | None = None, data_format: str | None = None, **kwargs: Unpack[LayerArguments]):
        super().__init__(**kwargs)
        self.seed = check_seed(self, seed)
        self.data_format = image_format(data_format)

    # ---- what a layer says ---------------------------------------------------------------------------------------

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        """What is drawn for images of ``shape`` (batch, height, width, channels): arrays with the batch axis first."""
        return ()

    def change(self, images: jax.Array, drawn: Any) -> jax.Array:
        """The changed images (batch, height, width, channels)."""
        return images

    def change_masks(self, masks: jax.Array, drawn: Any) -> jax.Array:
        """The segmentation masks (batch, height, width, channels) of the changed images."""
        return masks

    def change_labels(self, labels: jax.Array, drawn: Any) -> jax.Array:
        """The labels (batch, ...) of the changed images."""
        return labels

    def plain(self, images: jax.Array, *, masks: bool = False) -> jax.Array:
        """Images or masks (batch, height, width, channels) in inference."""
        return images

    def cast(self, images: jax.Array) -> jax.Array:
        """Images in the dtype the layer computes in."""
        return images.astype(self.compute_dtype)

    def _call_eagerly(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if len(args) != 1 or kwargs.keys() - {"training"} or self.variables:
            return super()._call_eagerly(args, kwargs)
        given = dict(cast("Mapping[str, Any]", args[0])) if isinstance(args[0], Mapping) else {"images": args[0]}
        self._check(given)
        mode = Mode.INFER if kwargs.get("training") in (False, 0) else Mode.TRAIN
        arrays = {k: v for k, v in given.items() if k in ENTRIES}
        result = {**given, **_program(self)(arrays, next_key() if mode is Mode.TRAIN else None, mode)}
        return result if isinstance(args[0], Mapping) else result["images"]

    # ---- what it gets --------------------------------------------------------------------------------------------

    def call(self, data: Any) -> Any:
        """Change images, or a dictionary of them and what belongs to them."""
        given = dict(cast("Mapping[str, Any]", data)) if isinstance(data, Mapping) else {"images": data}
        self._check(given)
        given = {k: jnp.asarray(v) if k in ENTRIES else v for k, v in given.items()}
        given["images"] = self.cast(given["images"])
        if self.mixes_labels and "labels" in given and not is_float(given["labels"].dtype):
            given["labels"] = given["labels"].astype("float32")
        if self.always:
            result = self._changed(given, ())
        else:
            result = self.by_mode(
                "augmentation", train=lambda: self._augmented(given), infer=lambda: self._plain(given)
            )
        return result if isinstance(data, Mapping) else result["images"]

    def _check(self, given: Mapping[str, Any]) -> None:
        called = f"{type(self).__name__} {self.name!r} was called."
        if "images" not in given:
            because = 'the images of a dictionary are its entry "images"'
            raise InputError(called, received=f"a dictionary with {sorted(given)}", because=because)
        if "bounding_boxes" in given:
            raise InputError(
                called,
                received='a dictionary with "bounding_boxes"',
                because="boxes are not moved with the images",
                do='Leave them out, or give them as "segmentation_masks".',
            )
        shape = tuple(jnp.shape(given["images"]))
        if len(shape) not in (3, 4):
            raise ShapeError(
                called,
                received=f"images of shape {shape}",
                because="one image has 3 axes, a batch of images 4",
                do="Add the channel axis: x[..., None].",
            )

    def _augmented(self, given: dict[str, Any]) -> dict[str, Any]:
        key = self.draw_key(self.seed)
        images = given["images"]
        shape = jax.eval_shape(lambda x: self._in(x, images.ndim), images).shape
        return self._changed(given, self.draw(key, shape))

    def _plain(self, given: dict[str, Any]) -> dict[str, Any]:
        rank, result = given["images"].ndim, dict(given)
        for entry in given.keys() & {"images", "segmentation_masks"}:
            images = self.plain(self._in(given[entry], rank), masks=entry != "images")
            result[entry] = self._out(images, rank)
        return result

    def _changed(self, given: dict[str, Any], drawn: Any) -> dict[str, Any]:
        rank = given["images"].ndim
        result = dict(given)
        result["images"] = self._out(self.change(self._in(given["images"], rank), drawn), rank)
        if "segmentation_masks" in given:
            masks = given["segmentation_masks"]
            result["segmentation_masks"] = self._out(self.change_masks(self._in(masks, rank), drawn), rank)
        if "labels" in given:
            labels = given["labels"]
            result["labels"] = (
                self.change_labels(labels, drawn) if rank == 4 else self.change_labels(labels[None], drawn)[0]
            )
        return result

    def _in(self, images: jax.Array, rank: int) -> jax.Array:
        images = images if rank == 4 else images[None]
        return jnp.moveaxis(images, 1, -1) if self.data_format == "channels_first" else images

    def _out(self, images: jax.Array, rank: int) -> jax.Array:
        images = jnp.moveaxis(images, -1, 1) if self.data_format == "channels_first" else images
        return images if rank == 4 else images[0]


#: layer -> the program it runs as outside of a model: data are changed batch after batch.
_programs: weakref.WeakKeyDictionary[BaseAugmentation, Any] = weakref.WeakKeyDictionary()


def _program(layer: BaseAugmentation) -> Any:
    if layer not in _programs:
        found = weakref.ref(layer)  # a program that held its layer would keep both for ever

        def run(arrays: dict[str, jax.Array], key: jax.Array | None, mode: Mode) -> Any:
            return call(cast("Layer", found()), {}, {}, (arrays,), mode=mode, key=key).output

        _programs[layer] = jax.jit(run, static_argnums=2)
    return _programs[layer]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def ready(layer: BaseAugmentation) -> BaseAugmentation:
    """A layer that is a step of another one, which calls its ``draw`` and ``change``: it has nothing to build."""
    layer.built = True
    return layer


def interval(
    value: Any, argument: str, low: float = 0.0, high: float = 1.0, *, single: str = "around"
) -> tuple[float, float]:
    """The interval a number is drawn from, checked to lie within [low, high].

    Args:
        value: Two numbers; or one number f, which stands for what ``single`` says.
        argument: For messages.
        low, high: The bounds.
        single: ``"around"``: from -f (or ``low``, if that is more) to f. ``"exact"``: f itself.

    >>> interval(0.2, "factor", -1.0), interval(0.2, "factor"), interval((0.5, 0.1), "factor")
    ((-0.2, 0.2), (0.0, 0.2), (0.1, 0.5))
    """
    if _is_number(value) and low <= value <= high:
        size = float(abs(value))
        return (size, size) if single == "exact" else (max(-size, float(low)), size)
    pair = list(cast("Any", value)) if isinstance(value, (list, tuple)) else []
    if len(pair) == 2 and all(_is_number(v) and low <= v <= high for v in pair):
        return float(min(pair)), float(max(pair))
    raise InputError(
        f"{argument} was given.",
        received=repr(value),
        because=f"it is a number from {low:g} to {high:g}, or two of them to draw between",
    )


def limits(value_range: Any) -> tuple[float, float]:
    """The smallest and the largest value of pixels, checked."""
    pair = list(cast("Any", value_range)) if isinstance(value_range, (list, tuple)) else []
    if len(pair) != 2 or not all(map(_is_number, pair)) or pair[0] == pair[1]:
        raise InputError(
            "value_range was given.",
            received=repr(value_range),
            because="it is the smallest and the largest value of pixels, such as (0, 255)",
        )
    return float(min(pair)), float(max(pair))


def between(key: jax.Array, count: int, bounds: tuple[float, float]) -> jax.Array:
    """``count`` uniform draws between two numbers, (count,) float32; exactly that number where both are one."""
    low, high = bounds
    if low == high:
        return jnp.full(count, low, "float32")
    return jax.random.uniform(key, (count,), "float32", low, high)


def happens(key: jax.Array, count: int, probability: tuple[float, float]) -> jax.Array:
    """Whether something happens to each image, (count,): its probability is drawn from an interval first."""
    one, other = jax.random.split(key)
    return jax.random.uniform(one, (count,)) < between(other, count, probability)


def of_each(values: jax.Array, images: jax.Array) -> jax.Array:
    """One number for each image, as (batch, 1, 1, 1), in the dtype of floats images have (booleans stay)."""
    values = values.reshape(-1, 1, 1, 1)
    return values if values.dtype == bool else values.astype(images.dtype)
