"""NASNet-A (Zoph et al., 2018): two kinds of cells found by a search, each fed by the two cells before it."""

from __future__ import annotations

from typing import Any

from verax import layers
from verax.applications.building import Network, WeightFile, WeightFiles, Weights, preprocessing
from verax.applications.imagenet_utils import decode_predictions
from verax.errors import InputError, ShapeError
from verax.model.model import Model

__all__ = ["NASNet", "NASNetLarge", "NASNetMobile", "decode_predictions", "preprocess_input"]


# ---- cells -----------------------------------------------------------------------------------------------------------


def _relu(x: Any, name: str | None = None) -> Any:
    return layers.Activation("relu", name=name)(x)


def _convolved(x: Any, filters: int, name: str) -> Any:
    options: Any = {"padding": "same", "use_bias": False, "kernel_initializer": "he_normal", "name": name}
    return layers.Conv2D(filters, 1, **options)(x)


def _normalized(x: Any, name: str) -> Any:
    return layers.BatchNormalization(momentum=0.9997, epsilon=1e-3, name=name)(x)


def _padded(x: Any, kernel: int, name: str) -> Any:
    """Zeros around ``x``, so that windows with strides of 2 begin where padding "same" of an even size has them."""
    half = kernel // 2
    rows, columns = ((half - 1 + size % 2, half) for size in x.shape[1:3])
    return layers.ZeroPadding2D((rows, columns), name=name)(x)


def _separable(x: Any, filters: int, kernel: int, block: str, strides: int = 1) -> Any:
    """Twice: ReLU, separable convolution, batch normalization; the first may halve the image."""
    for number, stride in ((1, strides), (2, 1)):
        name = f"separable_conv_{number}"
        x = _relu(x)
        if stride == 2:
            x = _padded(x, kernel, f"{name}_pad_{block}")
        padding = "same" if stride == 1 else "valid"
        x = layers.SeparableConv2D(filters, kernel, stride, padding, use_bias=False, name=f"{name}_{block}")(x)
        x = _normalized(x, f"{name}_bn_{block}")
    return x


def _adjusted(before: Any, x: Any, filters: int, block: str) -> Any:
    """What stood before ``x``, with the height and width of ``x`` and a known number of channels."""
    if before is None:
        return x
    if before.shape[2] != x.shape[2]:
        before, parts = _relu(before, f"adjust_relu_1_{block}"), []
        for number in (1, 2):  # every other pixel, from the first and from the second row and column on
            part = before
            if number == 2:
                part = layers.ZeroPadding2D(((0, 1), (0, 1)))(part)
                part = layers.Cropping2D(((1, 0), (1, 0)))(part)
            part = layers.AveragePooling2D(1, strides=2, name=f"adjust_avg_pool_{number}_{block}")(part)
            parts.append(_convolved(part, filters // 2, f"adjust_conv_{number}_{block}"))
        return _normalized(layers.concatenate(parts), f"adjust_bn_{block}")
    if before.shape[-1] != filters:
        before = _convolved(_relu(before), filters, f"adjust_conv_projection_{block}")
        return _normalized(before, f"adjust_bn_{block}")
    return before


#: The sums of a cell: the sum's name, and its two parts, each of (what, of which tensor, name). A number is a kernel of
#: separable convolutions, None the tensor itself. "h" is what the cell begins with, "p" what stood before it, and
#: "x1", "x2", ... are the sums (figure 4 of the paper).
_SUMS: dict[str, tuple[tuple[Any, ...], ...]] = {
    "normal": (
        ("add_1", (5, "h", "left1"), (3, "p", "right1")),
        ("add_2", (5, "p", "left2"), (3, "p", "right2")),
        ("add_3", ("average", "h", "left3"), (None, "p", None)),
        ("add_4", ("average", "p", "left4"), ("average", "p", "right4")),
        ("add_5", (3, "h", "left5"), (None, "h", None)),
    ),
    "reduction": (
        ("add_1", (5, "h", "left1"), (7, "p", "right1")),
        ("add_2", ("max", "padded", "left2"), (7, "p", "right2")),
        ("add3", ("average", "padded", "left3"), (5, "p", "right3")),
        (None, (None, "x2", None), ("average", "x1", "left4")),
        ("add4", (3, "x1", "left4"), ("max", "padded", "right5")),
    ),
}
_RESULTS = {"normal": ("p", "x1", "x2", "x3", "x4", "x5"), "reduction": ("x2", "x3", "x4", "x5")}
_POOLINGS = {"average": layers.AveragePooling2D, "max": layers.MaxPooling2D}


def _cell(kind: str, x: Any, before: Any, filters: int, block: str) -> Any:
    p = _adjusted(before, x, filters, block)
    h = _normalized(_convolved(_relu(x), filters, f"{kind}_conv_1_{block}"), f"{kind}_bn_1_{block}")
    at = {"h": h, "p": p}
    halved: tuple[str, ...] = ()
    if kind == "reduction":
        at["padded"] = _padded(h, 3, f"{kind}_pad_1_{block}")
        halved = ("h", "p", "padded")

    def part(what: Any, of: str, name: str) -> Any:
        name, strides = f"{kind}_{name}_{block}", 2 if of in halved else 1
        if what is None:
            return at[of]
        if isinstance(what, int):
            return _separable(at[of], filters, what, name, strides)
        return _POOLINGS[what](3, strides=strides, padding="same" if strides == 1 else "valid", name=name)(at[of])

    for number, (name, *parts) in enumerate(_SUMS[kind], 1):
        at[f"x{number}"] = layers.add([part(*one) for one in parts], name=name and f"{kind}_{name}_{block}")
    return layers.concatenate([at[name] for name in _RESULTS[kind]], name=f"{kind}_concat_{block}")


# ---- networks --------------------------------------------------------------------------------------------------------

preprocess_input = preprocessing("tf")

_STORE = "https://storage.googleapis.com/tensorflow/keras-applications/nasnet/"


def _files(size: str, top: str, no_top: str) -> WeightFiles:
    return WeightFiles(
        WeightFile(f"nasnet_{size}.h5", f"{_STORE}NASNet-{size}.h5", top),
        WeightFile(f"nasnet_{size}_no_top.h5", f"{_STORE}NASNet-{size}-no-top.h5", no_top),
    )


#: default size -> weights for ImageNet.
_FILES = {
    224: _files("mobile", "020fb642bf7360b370c678b08e0adf61", "1ed92395b5b598bdda52abe5c0dbfd63"),
    331: _files("large", "11577c9a518f0070763c2b964a382f17", "d81d89dc07e6e56530c4e77faddd61b5"),
}


def NASNet(
    input_shape: Any = None,
    penultimate_filters: int = 4032,
    num_blocks: int = 6,
    stem_block_filters: int = 96,
    skip_reduction: bool = True,
    filter_multiplier: int = 2,
    include_top: bool = True,
    weights: Weights = "imagenet",
    input_tensor: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
    default_size: int | None = None,
    classifier_activation: Any = "softmax",
    name: str = "NASNet",
) -> Model:
    """A NASNet-A of any size: "NASNet-A (``num_blocks`` @ ``penultimate_filters``)" in the paper.

    Three rows of normal cells, with cells that halve the image before each.

    Args:
        penultimate_filters: The channels of the last cell's output.
        num_blocks: How many normal cells stand in a row.
        stem_block_filters: The filters of the first convolution.
        skip_reduction: Whether the cell after a halving one takes what stood two cells before it, not one.
        filter_multiplier: By how much each row has more filters than the row before.
        include_top, weights, input_tensor, pooling, classes, classifier_activation, name: As in ``NASNetMobile``.
        input_shape: The shape of one image, every size known; (default_size, default_size, 3) when None.
        default_size: The height and width where nothing else is said, 331 when None. ImageNet's weights are those of
            ``NASNetMobile`` for 224 and of ``NASNetLarge`` for 331.

    Returns:
        As in ``NASNetMobile``.

    Raises:
        InputError, DownloadError: As in ``NASNetMobile``; and numbers of filters that cannot be shared out.

    Differs from Keras: without ``include_top`` the height and width must be known, too. How a cell fits its two inputs
    together depends on them; Keras makes a model then that fails on every image.

    >>> model = NASNet((32, 32, 3), 96, 1, 8, include_top=False, weights=None, pooling="avg")
    >>> model.output_shape
    (None, 96)
    """
    size = 331 if default_size is None else default_size
    if input_shape is None and not include_top:
        input_shape = (size, size, 3)
    net = Network(
        "NASNet",
        include_top=include_top,
        weights=weights,
        input_tensor=input_tensor,
        input_shape=input_shape,
        pooling=pooling,
        classes=classes,
        classifier_activation=classifier_activation,
        name=name,
        default_size=size,
        channels_first=False,
    )
    _check(net, penultimate_filters, filter_multiplier, size)
    if net.pretrained:
        net.weights_from(_FILES[size])
    x = layers.Conv2D(
        stem_block_filters, 3, 2, use_bias=False, kernel_initializer="he_normal", name="stem_conv1"
    )(net.image)  # fmt: skip
    x, before = _normalized(x, "stem_bn1"), None
    filters = penultimate_filters // 24
    for number, width in ((1, filters // filter_multiplier**2), (2, filters // filter_multiplier)):
        x, before = _cell("reduction", x, before, width, f"stem_{number}"), x
    for row in range(3):
        width = filters * filter_multiplier**row
        if row:
            halved = _cell("reduction", x, before, width, f"reduce_{row * num_blocks}")
            x, before = halved, before if skip_reduction else x
        for number in range(num_blocks):
            x, before = _cell("normal", x, before, width, str(row * num_blocks + number + min(row, 1))), x
    return net.finish(net.head(_relu(x), gap=None))


def _check(net: Network, penultimate_filters: int, filter_multiplier: int, size: int) -> None:
    share = 24 * filter_multiplier**2
    if penultimate_filters % share:
        raise InputError(
            net.asked,
            received=f"penultimate_filters={penultimate_filters}",
            because=f"with filter_multiplier={filter_multiplier} it is shared out by {share}",
            do=f"Pass a multiple of {share}.",
        )
    if net.pretrained and size not in _FILES:
        raise InputError(
            net.asked,
            received=f"weights='imagenet' with default_size={size}",
            because="ImageNet's weights are for the sizes 224 (NASNetMobile) and 331 (NASNetLarge)",
            do="Pass weights=None.",
        )
    if None in net.image.shape[1:]:
        raise ShapeError(
            net.asked,
            received=f"images of shape {net.image.shape[1:]}",
            because="how its cells fit together depends on the height and the width",
            do="Pass sizes for all of them, input_shape=(331, 331, 3) for example.",
        )


def NASNetMobile(
    input_shape: Any = None,
    include_top: bool = True,
    weights: Weights = "imagenet",
    input_tensor: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    name: str = "nasnet_mobile",
) -> Model:
    """NASNet-A (4 @ 1056), the small one (Zoph et al., 2018, https://arxiv.org/abs/1707.07012).

    Args:
        input_shape: (height, width, channels) of one image, at least 32 x 32; (224, 224, 3) when None.
        include_top, weights, input_tensor, pooling, classes, classifier_activation, name: As in ``InceptionV3``.

    Returns:
        A model: images (batch, height, width, channels), made ready by ``preprocess_input`` of this module, to (batch,
        classes) or to features.

    Raises:
        InputError: An argument that does not fit; an image without a known size; a global data format other than
            channels last.
        DownloadError: ImageNet's weights could not be fetched.
    """
    return NASNet(
        input_shape, 1056, 4, 32, False, 2, include_top, weights, input_tensor, pooling, classes, 224,
        classifier_activation, name,
    )  # fmt: skip


def NASNetLarge(
    input_shape: Any = None,
    include_top: bool = True,
    weights: Weights = "imagenet",
    input_tensor: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    name: str = "nasnet_large",
) -> Model:
    """NASNet-A (6 @ 4032), the best of the paper (Zoph et al., 2018, https://arxiv.org/abs/1707.07012).

    Args:
        input_shape: As in ``NASNetMobile``; (331, 331, 3) when None.
        include_top, weights, input_tensor, pooling, classes, classifier_activation, name: As in ``NASNetMobile``.

    Differs from Keras: without ``include_top`` the default shape is (331, 331, 3), not sizes that are unknown: the
    model Keras makes of these fails on every image.
    """
    return NASNet(
        input_shape, 4032, 6, 96, True, 2, include_top, weights, input_tensor, pooling, classes, 331,
        classifier_activation, name,
    )  # fmt: skip
