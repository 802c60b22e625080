"""How each network of ``applications`` begins and ends: its arguments checked, its image, its head, its weights."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from verax import activations, layers
from verax.applications import imagenet_utils
from verax.errors import InputError, ShapeError, UnknownNameError, VeraxWarning
from verax.frame.settings import image_data_format
from verax.frame.symbolic import SymbolicTensor, is_symbolic
from verax.model.model import Model
from verax.utils.files import get_file, keras_home
from verax.utils.tensors import get_source_inputs

__all__ = [
    "Application",
    "Network",
    "WeightFile",
    "WeightFiles",
    "Weights",
    "application",
    "channel_axis",
    "documented",
    "preprocessing",
    "shared",
    "weight_files",
]

#: Where the Keras project keeps the weights.
STORE = "https://storage.googleapis.com/tensorflow/keras-applications/"

Weights = str | os.PathLike[str] | None


# ---- files of weights ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WeightFile:
    """A file of weights: its name in the cache, its address, and its hash (None where nobody has published one)."""

    name: str
    address: str
    file_hash: str | None = None

    def fetched(self) -> str:
        """Where it is, fetched if need be.

        Raises:
            DownloadError: It could not be fetched; the message says which file to put where.
        """
        theirs = keras_home() / "models" / self.name
        if self.file_hash is None and theirs.is_file():  # with a hash, get_file looks there itself
            return str(theirs)
        return get_file(self.name, self.address, file_hash=self.file_hash, cache_subdir="models")


@dataclass(frozen=True)
class WeightFiles:
    """The weights of a network with its head, and without."""

    top: WeightFile
    no_top: WeightFile


def weight_files(
    folder: str,
    stem: str,
    hashes: tuple[str | None, str | None],
    *,
    ends: tuple[str, str] = ("_weights_tf_dim_ordering_tf_kernels.h5", "_weights_tf_dim_ordering_tf_kernels_notop.h5"),
    kept_as: str | None = None,
    store: str = STORE,
) -> WeightFiles:
    """The two files of a network, by the pattern of their names.

    Args:
        folder: The folder in the store; "" for the store itself.
        stem: How both names begin.
        hashes: With the head, without.
        ends: How the names end: with the head, without.
        kept_as: How the names begin in the cache, where that is another beginning.
        store: The address of the store.
    """
    address = f"{store}{folder}/" if folder else store
    kept = stem if kept_as is None else kept_as
    top, no_top = (WeightFile(kept + end, address + stem + end, found) for end, found in zip(ends, hashes, strict=True))
    return WeightFiles(top, no_top)


# ---- a network -------------------------------------------------------------------------------------------------------


class Network:
    """A network while it is made: its checked arguments, its image, its head and its end.

    ::

        net = Network("ResNet50", include_top=..., ..., name="resnet50")
        net.weights_from(files)
        x = ...(net.image)
        return net.finish(net.head(x, names=("avg_pool", "max_pool")))

    Args:
        function: The name of the function that was called, for messages.
        include_top, weights, input_tensor, input_shape, pooling, classes, classifier_activation, name: As in every
            function of ``applications``.
        default_size: The height and width of an image where nothing else is said; None where the head takes any size.
        min_size: The least height and width.
        channels_first: Whether it runs on images with the channels first.

    Raises:
        InputError: An argument that does not fit; nothing has been made by then.
    """

    def __init__(
        self,
        function: str,
        *,
        include_top: bool,
        weights: Weights,
        input_tensor: Any,
        input_shape: Any,
        pooling: str | None,
        classes: int,
        classifier_activation: Any,
        name: str | None,
        default_size: int | None = 224,
        min_size: int = 32,
        channels_first: bool = True,
    ):
        self.asked = f"{function} was to be made."
        self.include_top, self.weights, self.pooling, self.classes = bool(include_top), weights, pooling, classes
        self.classifier_activation, self.input_tensor, self.name = classifier_activation, input_tensor, name
        self._check(channels_first)
        self.input_shape = self._shape(input_shape, default_size, min_size)
        self.image: SymbolicTensor = layers.Input(self.input_shape) if input_tensor is None else input_tensor
        self._file: str | None = None

    @property
    def pretrained(self) -> bool:
        """Whether ImageNet's weights are asked for."""
        return isinstance(self.weights, str) and self.weights == "imagenet"

    def _check(self, channels_first: bool) -> None:
        if not channels_first and image_data_format() == "channels_first":
            raise InputError(
                self.asked,
                received="images with channels first",
                because="it is defined for channels last only",
                do="Call verax.config.set_image_data_format('channels_last').",
            )
        if not (self.weights is None or self.pretrained or _exists(self.weights)):
            raise InputError(
                self.asked,
                received=f"weights={self.weights!r}",
                because="there is no such file",
                do="Pass weights=None, weights='imagenet', or the path of a file of weights.",
            )
        if self.pooling not in (None, "avg", "max"):
            raise UnknownNameError.among("pooling", self.pooling, ["avg", "max"])
        if isinstance(self.classes, bool) or not isinstance(self.classes, int) or self.classes < 1:
            because = "it is a number of classes"
            raise InputError(self.asked, received=f"classes={self.classes!r}", because=because, do="Pass 10, or so.")
        if self.pretrained and self.include_top and self.classes != 1000:
            raise InputError(
                self.asked,
                received=f"classes={self.classes} with weights='imagenet' and include_top=True",
                because="the head with these weights tells 1000 classes apart",
                do="Pass include_top=False, and put a Dense layer of your own on top; or classes=1000.",
            )
        if self.weights is not None and self.include_top:
            activation = activations.get(self.classifier_activation)
            if activation not in (activations.softmax, activations.linear):
                raise InputError(
                    self.asked,
                    received=f"classifier_activation={self.classifier_activation!r} with weights={self.weights!r}",
                    because="the head was trained with softmax",
                    do="Pass 'softmax', or None for logits.",
                )
        if self.input_tensor is not None and not is_symbolic(self.input_tensor):
            raise InputError(
                self.asked,
                received=f"input_tensor of type {type(self.input_tensor).__name__}",
                because="it is a symbolic tensor",
                do="Pass verax.Input((224, 224, 3)), and call the model on your array.",
            )

    def _shape(self, shape: Any, default: int | None, least: int) -> tuple[int | None, ...]:
        """The shape of one image: what is asked for, or the default; unknown sizes where no head needs them."""
        first = image_data_format() == "channels_first"

        def of(channels: int | None, size: int | None) -> tuple[int | None, ...]:
            return (channels, size, size) if first else (size, size, channels)

        one_size = self.include_top and default is not None
        if shape is None:
            return of(3, default if one_size else None)
        shape = tuple(shape)
        received = f"input_shape={shape}"
        if len(shape) != 3 or not all(n is None or (isinstance(n, int) and not isinstance(n, bool)) for n in shape):
            raise ShapeError(
                self.asked,
                received=received,
                because="it has the height, the width and the channels of one image, without the batch",
                do=f"Pass input_shape={of(3, default)}.",
            )
        channels, sizes = (shape[0], shape[1:]) if first else (shape[-1], shape[:2])
        if self.pretrained and (channels != 3 or (one_size and shape != of(3, default))):
            because = f"ImageNet's weights are for {of(3, default) if one_size else 'images of 3 channels'}"
            do = "Leave input_shape out." if channels == 3 else "Pass weights=None, or make 3 channels of the image."
            raise ShapeError(self.asked, received=received, because=because, do=do)
        if any(n is not None and n < least for n in sizes):
            because = f"its image is at least {least} high and {least} wide"
            raise ShapeError(
                self.asked, received=received, because=because, do="Enlarge the images with layers.Resizing."
            )
        if one_size and None in shape:
            because = "the head (include_top=True) needs a size that is known"
            raise ShapeError(
                self.asked, received=received, because=because, do=f"Pass input_shape={of(channels, default)}."
            )
        if channels not in (1, 3):
            text = f"{self.asked} An image has 1 or 3 channels as a rule, and input_shape={shape} has {channels}."
            warnings.warn(text, VeraxWarning, stacklevel=4)
        return shape

    def weights_from(self, files: WeightFiles) -> None:
        """Fetch the weights that are asked for: before the network is made, so that it fails soon or not at all."""
        if self.pretrained:
            self._file = (files.top if self.include_top else files.no_top).fetched()

    def head(self, x: Any, *, names: tuple[str | None, str | None] = (None, None), gap: str | None = "avg_pool") -> Any:
        """The usual head: the mean over height and width, and the classes; or ``pooling`` where there is no head.

        Args:
            x: Features, with the axes of an image.
            names: Of the layers that pool without a head, by "avg" and by "max"; None to let them be numbered.
            gap: The name of the layer that pools in the head.
        """
        if not self.include_top:
            return self.pooled(x, names=names)
        return self.classified(layers.GlobalAveragePooling2D(name=gap)(x))

    def pooled(self, x: Any, *, names: tuple[str | None, str | None] = (None, None)) -> Any:
        """What ``pooling`` asks for, of a network without its head."""
        if self.pooling == "avg":
            return layers.GlobalAveragePooling2D(name=names[0])(x)
        if self.pooling == "max":
            return layers.GlobalMaxPooling2D(name=names[1])(x)
        return x

    def classified(self, x: Any, *, name: str = "predictions", **arguments: Any) -> Any:
        """The last layer: a score for each class.

        Args:
            x: Features (batch, features).
            name: Of the layer.
            arguments: Further ones of ``Dense``.
        """
        return layers.Dense(self.classes, activation=self.classifier_activation, name=name, **arguments)(x)

    def finish(self, x: Any) -> Model:
        """The model from its image, or from what the image was made of, to ``x``; with its weights."""
        inputs = self.image if self.input_tensor is None else get_source_inputs(self.input_tensor)
        model = Model(inputs, x, name=self.name)
        if self.pretrained:
            assert self._file is not None, "weights_from comes first"
            model.load_weights(self._file)
        elif self.weights is not None:
            model.load_weights(self.weights)
        return model


def _exists(path: Any) -> bool:
    return isinstance(path, (str, os.PathLike)) and Path(path).exists()


def channel_axis() -> int:
    """Where the channels of a batch of images stand, by the global setting.

    >>> channel_axis()
    3
    """
    return 1 if image_data_format() == "channels_first" else 3


# ---- the functions of a family ---------------------------------------------------------------------------------------


class Application(Protocol):
    """A function that makes a network, with the arguments most of them have."""

    __name__: str

    def __call__(
        self,
        include_top: bool = True,
        weights: Weights = "imagenet",
        input_tensor: Any = None,
        input_shape: Any = None,
        pooling: str | None = None,
        classes: int = 1000,
        classifier_activation: Any = "softmax",
        name: str = ...,
    ) -> Model:
        """Make the network."""
        ...


_SHARED = (
    "include_top", "weights", "input_tensor", "input_shape", "pooling", "classes", "classifier_activation", "name"
)  # fmt: skip
ARGUMENTS = """
    Args:
        include_top: Whether the network has its head, which tells ``classes`` apart.
        weights: ``"imagenet"`` for weights trained on ImageNet, which are fetched once (offline, the error says which
            file to put where); the path of a file of weights; None for weights at random.
        input_tensor: A symbolic tensor to begin at, in the place of an ``Input`` of its own.
        input_shape: The shape of one image: (height, width, channels), or (channels, height, width) where the global
            data format says so. The default is {default}; without the head, sizes may be None.
        pooling: Without the head: None for features with the axes of an image, ``"avg"`` for their mean and ``"max"``
            for their maximum over height and width. Not used with the head.
        classes: How many classes the head tells apart; 1000 for ImageNet's weights.
        classifier_activation: Of the head's last layer; None for logits.
{further}        name: Of the model.

    Returns:
        A model: images (batch, height, width, channels), made ready by ``preprocess_input`` of this module, to (batch,
        classes) or to features.

    Raises:
        InputError: An argument that does not fit; a shape that does not, below {least} x {least} for example.
        DownloadError: ImageNet's weights could not be fetched.
    """


_Function = TypeVar("_Function", bound=Callable[..., Model])


def documented(default_size: int | None = 224, min_size: int = 32, **further: str) -> Callable[[_Function], _Function]:
    """Add to a function's docstring what the arguments are that all functions share.

    Args:
        default_size, min_size: As in :class:`Network`.
        further: What the arguments are that only this function has, by their names.
    """
    default = f"({default_size or 'None'}, {default_size or 'None'}, 3)"
    lines = "".join(f"        {name}: {text}\n" for name, text in further.items())
    arguments = ARGUMENTS.format(default=default, least=min_size, further=lines)

    def decorated(function: _Function) -> _Function:
        function.__doc__ = f"{(function.__doc__ or '').rstrip()}\n{arguments}"
        return function

    return decorated


def shared(scope: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that all functions share, from a function's ``locals()``: so it hands them on to ``Network``."""
    return {name: scope[name] for name in _SHARED}


def application(
    name: str, files: WeightFiles, *, default_size: int = 224, min_size: int = 32, channels_first: bool = True
) -> Callable[[Callable[[Network], Any]], Application]:
    """Make the public function of a network of what it does between its image and its head.

    The decorated function takes a :class:`Network` and returns its last tensor. Its docstring is the public one, and
    the arguments' are added.

    Args:
        name: The name of the model.
        files: ImageNet's weights.
        default_size, min_size, channels_first: As in :class:`Network`.
    """
    label = name

    def decorated(body: Callable[[Network], Any]) -> Application:
        def make(
            include_top: bool = True,
            weights: Weights = "imagenet",
            input_tensor: Any = None,
            input_shape: Any = None,
            pooling: str | None = None,
            classes: int = 1000,
            classifier_activation: Any = "softmax",
            name: str = label,
        ) -> Model:
            further: dict[str, Any] = {"default_size": default_size, "min_size": min_size}
            net = Network(body.__name__, **shared(locals()), **further, channels_first=channels_first)
            net.weights_from(files)
            return net.finish(body(net))

        make.__name__ = make.__qualname__ = body.__name__
        make.__module__, make.__doc__ = body.__module__, body.__doc__
        return documented(default_size, min_size)(make)

    return decorated


def preprocessing(mode: str | None) -> Callable[..., Any]:
    """The ``preprocess_input`` of a family: of ``imagenet_utils`` in one mode, or (None) one that does nothing."""

    def preprocess_input(x: Any, data_format: str | None = None) -> Any:
        return x if mode is None else imagenet_utils.preprocess_input(x, data_format=data_format, mode=mode)

    preprocess_input.__doc__ = (
        "What is passed, as it is: the network makes pixels from 0 to 255 ready itself."
        if mode is None
        else f'Pixels from 0 to 255, made ready: ``imagenet_utils.preprocess_input(x, mode="{mode}")``.'
    )
    return preprocess_input
