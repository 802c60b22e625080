"""A row for every public function of ``keras.ops``: what it is called on."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

rng = np.random.default_rng(0)


def _normal(*shape: int) -> np.ndarray[Any, Any]:
    return rng.normal(size=shape).astype("float32")


X, Y = _normal(3, 4), _normal(3, 4)
SMALL = 0.8 * np.tanh(X)  # within (-1, 1)
POSITIVE = np.abs(X) + 0.5
WHOLE = np.array([[3, 0, 2], [1, 5, 2]], "int32")
OTHER = np.array([[2, 7, 1], [3, 1, 4]], "int32")
BITS = (X > 0, Y > 0)
WITH_NAN = np.where(X > 0.5, np.float32("nan"), X)
ODD = np.array([np.inf, -np.inf, np.nan, -0.0, 1.5], "float32")
VECTOR, WEIGHTS = _normal(5), POSITIVE[0]
COMPLEX = (X + 1j * Y).astype("complex64")
SQUARE = _normal(3, 3) + 3 * np.eye(3, dtype="float32")
SYMMETRIC = SQUARE @ SQUARE.T
LOWER = np.linalg.cholesky(SYMMETRIC)
IMAGES, FIRST = _normal(2, 6, 7, 3), _normal(2, 3, 6, 7)
SEQUENCES, VOLUMES = _normal(2, 9, 4), _normal(1, 4, 5, 4, 2)
SIGNAL = _normal(2, 40)
SPECTRUM = (_normal(2, 6, 9), _normal(2, 6, 9))
P = (lambda e: e / e.sum(-1, keepdims=True))(np.exp(X))
LABELS = np.array([0, 2, 1], "int32")
HOT = np.eye(4, dtype="float32")[LABELS]
Q, K, V = _normal(2, 5, 4, 8), _normal(2, 6, 4, 8), _normal(2, 6, 4, 8)
IDS = np.array([0, 2, 0], "int32")


class Row(NamedTuple):
    """One call.

    Attributes:
        name: The function's.
        args, kwargs: What it is called on.
        gradient: Whether the gradient of its float arguments is compared, where there are any.
        dtypes: Whether it is called in other dtypes too.
        jit: Whether it works under jit and on symbolic tensors.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = MappingProxyType({})
    gradient: bool = True
    dtypes: bool = True
    jit: bool = True


def _rows(names: str, *args: Any, gradient: bool = True, dtypes: bool = True, jit: bool = True, **kwargs: Any):
    return [Row(name, args, kwargs, gradient, dtypes, jit) for name in names.split()]


UNARY = [
    *_rows(
        "abs absolute angle arctan arcsinh cbrt ceil conj conjugate copy cos cosh deg2rad exp exp2 expm1 fabs fliplr "
        "flipud floor i0 isfinite isinf isnan isneginf isposinf isreal negative rad2deg ravel real reciprocal "
        "sign signbit sin sinc sinh square tan tanh trunc celu elu erf erfc gelu hard_shrink hard_sigmoid hard_silu "
        "hard_swish hard_tanh leaky_relu log_sigmoid log_softmax relu relu6 selu sigmoid silu soft_shrink softmax "
        "softplus softsign sparse_plus sparse_sigmoid squareplus swish tanh_shrink logsumexp corrcoef logical_not",
        X,
    ),
    *_rows("log log10 log1p log2 sqrt rsqrt", POSITIVE),
    *_rows("arccos arcsin arctanh erfinv", SMALL),
    *_rows("arccosh", POSITIVE + 1),
    *_rows("isfinite isinf isnan isneginf isposinf signbit nan_to_num", ODD, dtypes=False, gradient=False),
    *_rows("bitwise_invert bitwise_not", WHOLE),
    *_rows("imag real angle conj abs isreal", COMPLEX, gradient=False, dtypes=False),
    *_rows("imag", X, gradient=False),
    *_rows("bartlett blackman hamming hanning", 7, gradient=False, dtypes=False, jit=False),
    *_rows("kaiser", 7, 3.0, gradient=False, dtypes=False, jit=False),
    *_rows("nonzero", X, gradient=False, jit=False),
    *_rows("glu", X, axis=1),
    *_rows("elu celu", X, alpha=0.5),
    *_rows("gelu", X, approximate=False),
    *_rows("hard_shrink soft_shrink", X, threshold=0.3),
    *_rows("threshold", X, 0.2, -1.0),
    *_rows("threshold", X, threshold=0.2, default_value=3.0),
    *_rows("leaky_relu", X, negative_slope=0.1),
    *_rows("softmax log_softmax", X, axis=0),
    *_rows("squareplus", X, b=2),
    *_rows("logsumexp", X, axis=1, keepdims=True),
]

BINARY = [
    *_rows(
        "add arctan2 divide equal fmax fmin greater greater_equal heaviside hypot inner less less_equal logaddexp "
        "logaddexp2 logical_and logical_or logical_xor maximum minimum multiply not_equal outer subtract true_divide "
        "vdot kron",
        X,
        Y,
    ),
    *_rows("add multiply maximum power divide subtract less_equal", X[0], 2),
    *_rows("add multiply minimum", 2.5, POSITIVE),
    *_rows("add multiply", X, WHOLE[:, :1].repeat(2, 0)[:3]),  # a float and an integer
    *_rows("floor_divide mod fmod", X, POSITIVE),
    *_rows("power", POSITIVE, Y),
    *_rows("nextafter", X, Y, gradient=False),
    *_rows("dot matmul", X, Y.T),
    *_rows("matmul", SEQUENCES, X.T),
    *_rows("matmul dot", np.int8([[1, 2]]), np.int8([[3], [4]]), gradient=False, dtypes=False),
    *_rows("gcd lcm bitwise_and bitwise_or bitwise_xor", WHOLE, OTHER),
    *_rows("bitwise_left_shift bitwise_right_shift left_shift right_shift", WHOLE, OTHER % 4, dtypes=False),
    *_rows("ldexp", X[:2, :3], WHOLE, dtypes=False),
    *_rows("divide_no_nan", X, np.where(Y > 0, Y, 0).astype("float32")),
    *_rows("cross", X[:, :3], Y[:, :3]),
    *_rows("cross", X[:3].T[:3], Y[:3].T[:3], axis=0),
    *_rows("correlate", VECTOR, _normal(3)),
    *_rows("correlate", VECTOR, _normal(3), mode="same"),
    *_rows("tensordot", X, Y.T, axes=1),
    *_rows("tensordot", X, Y, axes=[[1], [1]]),
    *_rows("tensordot", X, Y),
    *_rows("einsum", "ij,kj->ik", X, Y),
    *_rows("allclose isclose", X, X + np.float32(1e-6), gradient=False),
    *_rows("isclose", ODD, ODD, equal_nan=True, rtol=1e-3, gradient=False, dtypes=False),
    *_rows("isin", WHOLE, np.array([2, 5], "int32"), gradient=False),
    *_rows("isin", WHOLE, np.array([2, 5], "int32"), invert=True, assume_unique=True, gradient=False),
    *_rows("append", X, Y),
    *_rows("append", X, Y, axis=1),
    *_rows("psnr", SMALL, 0.5 * SMALL, 1.0, dtypes=False),
    *_rows("polar", POSITIVE, X, gradient=False, dtypes=False),
    *_rows("cdist", X, Y[:2]),
    *_rows("searchsorted", np.sort(VECTOR), X, gradient=False),
    *_rows("searchsorted", np.sort(VECTOR), VECTOR, side="right", gradient=False),
    *_rows("digitize", X, np.sort(VECTOR), gradient=False),
    *_rows("clip", X, -0.5, 0.5),
    *_rows("clip", X, x_min=-0.5, x_max=0.5),
    *_rows("where", X > 0, X, Y),
    *_rows("where", X > 0, 1.0, Y),
    *_rows("where", X > 0, gradient=False, jit=False, dtypes=False),
    *_rows("where", condition=X > 0, x1=X, x2=Y),
    *_rows("select", [X > 0.5, X < -0.5], [X, Y], default=3),
    *_rows("select", [X > 0.5, X < -0.5], [X, Y]),
]

REDUCTIONS = [
    *_rows("amax amin mean median ptp std sum var max min prod", X),
    *_rows("amax amin mean median ptp std sum var max min prod", X, axis=1, keepdims=True),
    *_rows("mean sum max var std", SEQUENCES, axis=(0, 2)),
    *_rows("mean", X, 1, True),
    *_rows("all any count_nonzero", X > 0, gradient=False),
    *_rows("all any", X > 0, axis=0, keepdims=True, gradient=False),
    *_rows("count_nonzero", WHOLE, axis=1, gradient=False),
    *_rows("argmax argmin", X, gradient=False),
    *_rows("argmax argmin", X, axis=1, keepdims=True, gradient=False),
    *_rows("nanargmax nanargmin", WITH_NAN, axis=1, keepdims=False, gradient=False),
    *_rows("nanmax nanmean nanmedian nanmin nanprod nanstd nansum nanvar", WITH_NAN, gradient=False),
    *_rows("nanmax nanmean nanmin nanprod nanstd nansum nanvar", WITH_NAN, axis=1, keepdims=True, gradient=False),
    *_rows("max", X, axis=1, initial=0.3),
    *_rows("min", X, axis=0, initial=0.1, keepdims=True),
    *_rows("prod cumsum cumprod", X, axis=1, dtype="float32", dtypes=False),
    *_rows("cumsum cumprod", X),
    *_rows("nancumprod nancumsum", WITH_NAN, axis=0, gradient=False),
    *_rows("average", X, axis=1),
    *_rows("average", X, axis=1, weights=WEIGHTS),
    *_rows("quantile percentile", X, 0.3),
    *_rows("quantile percentile", X, np.float32([0.3, 0.5]), axis=1, keepdims=True),
    *_rows("quantile", X, 0.3, axis=1, method="lower"),
    *_rows("nanpercentile nanquantile", WITH_NAN, 0.4, axis=1, gradient=False),
    *_rows("trapezoid", X),
    *_rows("trapezoid", X, x=np.sort(VECTOR[:4]), axis=1),
    *_rows("trapezoid", X, dx=0.5, axis=0),
    *_rows("histogram", X[0], gradient=False, jit=False),
    *_rows("histogram", X[0], bins=4, range=(-1, 1), gradient=False, jit=False),
    *_rows("bincount", LABELS, gradient=False, jit=False, dtypes=False),
    *_rows("bincount", LABELS, weights=VECTOR[:3], minlength=5, gradient=False, jit=False, dtypes=False),
    *_rows("bincount", WHOLE, minlength=6, gradient=False, jit=False, dtypes=False),
    *_rows("moments", X, [0]),
    *_rows("moments", IMAGES, (0, 1, 2), keepdims=True),
    *_rows("norm", X),
    *_rows("norm", X, ord=1, axis=1, keepdims=True),
    *_rows("norm", X, ord="fro", axis=(0, 1)),
    *_rows("norm", X, ord="nuc"),
    *_rows("segment_sum segment_max segment_min segment_prod", X, IDS, num_segments=4, gradient=False),
    *_rows("segment_sum", X, np.sort(IDS), 3, sorted=True),
    *_rows("diff", X),
    *_rows("diff", X, n=2, axis=0),
    *_rows("trace", X, offset=1),
]

SHAPES = [
    *_rows("broadcast_to", X[0], (2, 4)),
    *_rows("concatenate", [X, Y]),
    *_rows("concatenate", [X, Y], axis=1),
    *_rows("stack", [X, Y], axis=1),
    *_rows("dstack hstack vstack", [X, Y]),
    *_rows("diag", VECTOR, k=1),
    *_rows("diag", SQUARE),
    *_rows("diagflat", VECTOR, k=-1),
    *_rows("diagonal", SEQUENCES, offset=1, axis1=1, axis2=2),
    *_rows("diagonal", X),
    *_rows("expand_dims", X, 1),
    *_rows("expand_dims", X, axis=(0, -1)),
    *_rows("flip", X),
    *_rows("flip", X, axis=1),
    *_rows("get_item", X, (slice(0, 2), 1)),
    *_rows("meshgrid", VECTOR, X[0]),
    *_rows("meshgrid", VECTOR, X[0], indexing="ij"),
    *_rows("moveaxis", SEQUENCES, 0, -1),
    *_rows("moveaxis", SEQUENCES, [0, 1], [1, 2]),
    *_rows("ndim size", X, gradient=False, dtypes=False, jit=False),
    *_rows("pad", X, ((1, 0), (0, 2))),
    *_rows("pad", X, ((1, 0), (0, 2)), constant_values=3.0),
    *_rows("pad", X, 1, mode="reflect"),
    *_rows("rearrange", IMAGES, "b (h p) w c -> b h w (p c)", h=3, p=2),
    *_rows("repeat", X, 2, axis=1),
    *_rows("repeat", X, 2),
    *_rows("reshape", X, (2, -1)),
    *_rows("reshape", X, newshape=(6, 2)),
    *_rows("roll", X, 2),
    *_rows("roll", X, shift=1, axis=1),
    *_rows("rot90", X),
    *_rows("rot90", SEQUENCES, k=3, axes=(1, 2)),
    *_rows("split array_split", X, 2, axis=1),
    *_rows("split", X, [1, 2]),
    *_rows("array_split", VECTOR, 3),
    *_rows("hsplit", X, 2),
    *_rows("vsplit", X, [1]),
    *_rows("dsplit", SEQUENCES, 2),
    *_rows("squeeze", X[:, None]),
    *_rows("squeeze", X[:, None], axis=1),
    *_rows("swapaxes", SEQUENCES, 0, 2),
    *_rows("take", X, LABELS, axis=1),
    *_rows("take", X, LABELS),
    *_rows("take_along_axis", X, np.argsort(X, 1), axis=1),
    *_rows("take_along_axis", X, np.argsort(X, None)),
    *_rows("tile", X, (2, 1)),
    *_rows("transpose", SEQUENCES),
    *_rows("transpose", SEQUENCES, axes=(1, 0, 2)),
    *_rows("tril triu", X),
    *_rows("tril triu", X, k=1),
    *_rows("unstack", X),
    *_rows("unstack", X, num=4, axis=1),
    *_rows("vander", VECTOR),
    *_rows("vander", VECTOR, N=3, increasing=True),
    *_rows("view", X, "int32", gradient=False, dtypes=False),
    *_rows("view", X, dtype="int16", gradient=False, dtypes=False),
    *_rows("view_as_complex", SPECTRUM[0][..., :2], gradient=False, dtypes=False),
    *_rows("view_as_real", COMPLEX, gradient=False, dtypes=False),
    *_rows("shape dtype is_tensor convert_to_numpy", X, gradient=False, dtypes=False, jit=False),
    *_rows("unravel_index", np.array([3, 7], "int32"), (3, 4), gradient=False),
    *_rows("depth_to_space", _normal(1, 2, 3, 8), 2),
    *_rows("depth_to_space", _normal(1, 8, 2, 3), 2, data_format="channels_first"),
    *_rows("space_to_depth", IMAGES[:, :, :6], block_size=2),
    *_rows("space_to_depth", FIRST[..., :6], 3, data_format="channels_first"),
    *_rows("unfold", FIRST, 2),
    *_rows("unfold", FIRST, kernel_size=(2, 3), dilation=(2, 1), padding=(1, 2), stride=(2, 1)),
    *_rows("fold", _normal(2, 12, 15), (4, 6), 2, dtypes=False),
    *_rows("fold", _normal(2, 12, 12), output_size=(5, 7), kernel_size=2, padding=1, stride=2, dtypes=False),
    *_rows("extract_sequences", SIGNAL, 8, 5),
]

MAKING = [
    *_rows("arange", 5, gradient=False, dtypes=False),
    *_rows("arange", 1.0, 2.0, step=0.25, gradient=False, dtypes=False),
    *_rows("arange", 2, stop=9, step=3, dtype="float32", gradient=False, dtypes=False),
    *_rows("array", [[1.0, 2.0]], gradient=False, dtypes=False),
    *_rows("array", X, dtype="int32", gradient=False, dtypes=False),
    *_rows("empty ones zeros", (2, 3), gradient=False, dtypes=False),
    *_rows("ones zeros", (2, 3), dtype="int32", gradient=False, dtypes=False),
    *_rows("ones zeros", 3, gradient=False, dtypes=False),
    *_rows("empty_like ones_like zeros_like", X, gradient=False),
    *_rows("ones_like zeros_like", X, dtype="int32", gradient=False, dtypes=False),
    *_rows("eye tri", 3, gradient=False, dtypes=False),
    *_rows("eye tri", 3, M=4, k=1, dtype="int32", gradient=False, dtypes=False),
    *_rows("full", (2,), 3, gradient=False, dtypes=False),
    *_rows("full", (2, 3), fill_value=2.5, dtype="int32", gradient=False, dtypes=False),
    *_rows("full_like", X, 3, gradient=False),
    *_rows("full_like", X, 3, dtype="int32", gradient=False, dtypes=False),
    *_rows("identity", 3, gradient=False, dtypes=False),
    *_rows("identity", 3, dtype="int32", gradient=False, dtypes=False),
    *_rows("linspace", 0, 1, 5, gradient=False, dtypes=False),
    *_rows("linspace", 0.0, 3.0, num=4, endpoint=False, dtype="int32", gradient=False, dtypes=False),
    *_rows("linspace", X[0], X[1], num=3, axis=1, gradient=False),
    *_rows("linspace", 0.0, 3.0, num=4, retstep=True, gradient=False, dtypes=False),
    *_rows("logspace", 0.0, 2.0, 5, gradient=False, dtypes=False),
    *_rows("logspace", 0.0, 2.0, num=4, base=2, endpoint=False, gradient=False, dtypes=False),
    *_rows("geomspace", 1.0, 8.0, num=4, gradient=False, dtypes=False),
    *_rows("cast", X, "int32", gradient=False),
    *_rows("cast", WHOLE, dtype="float16", gradient=False),
    *_rows("saturate_cast", X * 300, "uint8", gradient=False, dtypes=False),
    *_rows("saturate_cast", X * 1e20, dtype="int32", gradient=False, dtypes=False),
    *_rows("saturate_cast", X * 1e20, "float16", gradient=False, dtypes=False),
    *_rows("saturate_cast", WHOLE - 3, "uint8", gradient=False, dtypes=False),
    *_rows("convert_to_tensor", X),
    *_rows("convert_to_tensor", [[1, 2], [3, 4]], gradient=False, dtypes=False),
    *_rows("convert_to_tensor", X, dtype="bfloat16", gradient=False, dtypes=False),
    *_rows("one_hot", LABELS, 4, gradient=False, dtypes=False),
    *_rows(
        "one_hot", np.array([0, -1, 7], "int32"), num_classes=4, axis=0, dtype="int32", gradient=False, dtypes=False
    ),
    *_rows("multi_hot", WHOLE, 6, gradient=False),
    *_rows("multi_hot", LABELS, num_classes=4, dtype="int32", gradient=False, dtypes=False),
]

ORDER = [
    *_rows("sort argsort", X),
    *_rows("sort argsort", X, axis=0),
    *_rows("argpartition", X, 2, gradient=False),
    *_rows("top_k", X, 2),
    *_rows("top_k", X, k=3, sorted=False),
    *_rows("in_top_k", LABELS, X, 2, gradient=False),
    *_rows("in_top_k", targets=LABELS, predictions=WITH_NAN, k=1, gradient=False, dtypes=False),
    *_rows("unique", WHOLE, gradient=False, jit=False),
    *_rows("unique", WHOLE, return_index=True, return_inverse=True, return_counts=True, gradient=False, jit=False),
    *_rows("unique", np.array([[1, 2], [1, 2], [0, 3]]), axis=0, gradient=False, jit=False, dtypes=False),
    *_rows("unique", WHOLE, size=7, fill_value=9, gradient=False, dtypes=False),
    *_rows("unique", ODD[[2, 2, 4]], gradient=False, jit=False, dtypes=False),
    *_rows("round", X * 100),
    *_rows("round", X, decimals=1, dtypes=False),
    *_rows("round", WHOLE * 37, decimals=-1, gradient=False, dtypes=False),
    *_rows("scatter", np.array([[0, 1], [1, 0], [0, 1]]), np.float32([3, 4, 5]), (2, 3)),
    *_rows("scatter_update", X, np.array([[0, 1], [1, 0]]), np.float32([3, 4])),
    *[
        Row("scatter_update", (X, np.array([[0, 1], [1, 0]]), np.float32([3, 4])), {"reduction": way}, gradient=False)
        for way in ("add", "max", "min", "mul")
    ],
    *_rows("scatter_update", X, np.array([[0], [2]]), Y[:2]),
    *_rows("slice", X, (1, 1), (2, 2)),
    *_rows("slice", X, start_indices=(1, 1), shape=(-1, 2)),
    *_rows("slice_update", X, (1, 1), Y[:2, :2]),
    *_rows("stop_gradient", X),
]

LINEAR = [
    *_rows("cholesky", SYMMETRIC, dtypes=False),
    *_rows("cholesky", SYMMETRIC, upper=True, dtypes=False),
    *_rows("cholesky_inverse", LOWER, dtypes=False),
    *_rows("cholesky_inverse", LOWER.T, upper=True, dtypes=False),
    *_rows("det inv logdet slogdet", SQUARE, dtypes=False),
    *_rows("eig", SQUARE, gradient=False, dtypes=False),
    *_rows("eigh", SYMMETRIC, dtypes=False, gradient=False),
    *_rows("lstsq", X.T, Y.T[:, :2], dtypes=False, gradient=False),
    *_rows("lstsq", X.T, Y.T[:, 0], rcond=0.1, dtypes=False, gradient=False),
    *_rows("lu_factor", SQUARE, dtypes=False, gradient=False),
    *_rows("lu_factor", np.stack([SQUARE, SYMMETRIC]), dtypes=False, gradient=False),
    *_rows("matrix_rank", np.diag(np.float32([1, 2, 0])), dtypes=False, gradient=False),
    *_rows("matrix_rank", SQUARE, tol=100.0, dtypes=False, gradient=False),
    *_rows("pinv", X, dtypes=False, gradient=False),
    *_rows("pinv", X, rcond=0.5, dtypes=False, gradient=False),
    *_rows("qr", X, dtypes=False, gradient=False),
    *_rows("qr", X.T, mode="complete", dtypes=False, gradient=False),
    *_rows("solve", SQUARE, X[:, :2], dtypes=False),
    *_rows("solve", SQUARE, X[:, 0], dtypes=False),
    *_rows("solve_triangular", LOWER, X, lower=True, dtypes=False),
    *_rows("solve_triangular", LOWER.T, X, dtypes=False),
    *_rows("svd", X, dtypes=False, gradient=False),
    *_rows("svd", X, full_matrices=False, dtypes=False, gradient=False),
    *_rows("svd", X, compute_uv=False, dtypes=False),
    *_rows("jvp", lambda x, y: jnp.sin(x) * y, (X, Y), (Y, X), gradient=False, dtypes=False),
    *_rows("jvp", lambda x: (x * x, x), [X], [Y], has_aux=True, gradient=False, dtypes=False),
]

SIGNALS = [
    *_rows("fft fft2 ifft2", SPECTRUM, dtypes=False),
    *_rows("rfft", SIGNAL, dtypes=False),
    *_rows("rfft", SIGNAL, fft_length=16, dtypes=False),
    *_rows("irfft", SPECTRUM, dtypes=False),
    *_rows("irfft", SPECTRUM, fft_length=12, dtypes=False),
    *_rows("stft", SIGNAL, 12, 5, 16, dtypes=False),
    *_rows("stft", SIGNAL, 12, 5, 16, window="hamming", center=False, dtypes=False),
    *_rows("stft", SIGNAL, 15, 4, 16, window=None, dtypes=False),
    *_rows("istft", SPECTRUM, 12, 5, 16, dtypes=False),
    *_rows("istft", SPECTRUM, 12, 5, 16, length=30, window="hamming", dtypes=False),
    *_rows("istft", SPECTRUM, 16, 4, 16, center=False, dtypes=False),
]

WINDOWS = [
    *_rows("max_pool average_pool", IMAGES, 2, 2, dtypes=False),
    *_rows("max_pool average_pool", IMAGES, (3, 2), strides=(2, 1), padding="same", dtypes=False),
    *_rows("max_pool average_pool", SEQUENCES, pool_size=3, strides=1, dtypes=False),
    *_rows("max_pool average_pool", FIRST, 2, 2, data_format="channels_first", dtypes=False),
    *_rows("max_pool average_pool", VOLUMES, 2, (2, 1, 2), dtypes=False),
    *_rows("adaptive_average_pool adaptive_max_pool", IMAGES, (4, 3), data_format="channels_last", dtypes=False),
    *_rows("adaptive_average_pool adaptive_max_pool", FIRST, 2, data_format="channels_first", dtypes=False),
    *_rows("adaptive_average_pool adaptive_max_pool", SEQUENCES, output_size=4, dtypes=False),
    *_rows("adaptive_average_pool adaptive_max_pool", VOLUMES, (2, 3, 1), dtypes=False),
    *_rows("conv", IMAGES, _normal(2, 3, 3, 4), dtypes=False),
    *_rows("conv", IMAGES, _normal(2, 3, 3, 4), strides=2, padding="same", dtypes=False),
    *_rows("conv", FIRST, _normal(2, 2, 1, 6), data_format="channels_first", dilation_rate=(2, 1), dtypes=False),
    *_rows("conv", SEQUENCES, _normal(3, 4, 5), strides=2, dtypes=False),
    *_rows("conv", VOLUMES, _normal(2, 2, 2, 2, 3), dtypes=False),
    *_rows("conv_transpose", IMAGES, _normal(2, 3, 4, 3), dtypes=False),
    *_rows("conv_transpose", IMAGES, _normal(3, 3, 4, 3), strides=2, padding="same", dtypes=False),
    *_rows("conv_transpose", IMAGES, _normal(3, 3, 4, 3), strides=2, output_padding=1, dtypes=False),
    *_rows("conv_transpose", IMAGES, _normal(3, 3, 4, 3), 2, "same", output_padding=1, dtypes=False),
    *_rows("conv_transpose", SEQUENCES, _normal(3, 2, 4), strides=3, dilation_rate=2, dtypes=False),
    *_rows("depthwise_conv", IMAGES, _normal(2, 2, 3, 2), dtypes=False),
    *_rows("depthwise_conv", SEQUENCES, _normal(3, 4, 1), strides=2, padding="same", dtypes=False),
    *_rows("separable_conv", IMAGES, _normal(2, 2, 3, 2), _normal(1, 1, 6, 4), padding="same", dtypes=False),
    *_rows("separable_conv", IMAGES, _normal(2, 2, 3, 1), _normal(1, 1, 3, 4), strides=2, dtypes=False),
]

NETWORKS = [
    *_rows("batch_normalization", IMAGES, X[0, :3], POSITIVE[0, :3], -1, dtypes=False),
    *_rows("batch_normalization", FIRST, X[0, :3], POSITIVE[0, :3], 1, Y[0, :3], X[1, :3], epsilon=1e-2, dtypes=False),
    *_rows("layer_normalization", X),
    *_rows("layer_normalization", X, gamma=X[0], beta=Y[0], epsilon=1e-3),
    *_rows("layer_normalization", SEQUENCES, gamma=X[0][None].repeat(9, 0), beta=None, axis=(1, 2), dtypes=False),
    *_rows("layer_normalization", SEQUENCES, gamma=_normal(9), axis=1, dtypes=False),
    *_rows("rms_normalization", X),
    *_rows("rms_normalization", X, scale=X[0], epsilon=1e-3),
    *_rows("rms_normalization", SEQUENCES, axis=(1, 2), dtypes=False),
    *_rows("normalize", X),
    *_rows("normalize", X, axis=0, order=3),
    *_rows("normalize", 1e-9 * X, order=1, epsilon=1e-3),
    *_rows("binary_crossentropy", HOT, P),
    *_rows("binary_crossentropy", HOT, X, from_logits=True),
    *_rows("categorical_crossentropy", HOT, P * 2),
    *_rows("categorical_crossentropy", HOT, X, from_logits=True, axis=0),
    *_rows("sparse_categorical_crossentropy", LABELS, P, dtypes=False),
    *_rows("sparse_categorical_crossentropy", LABELS[:, None], X, from_logits=True, axis=-1, dtypes=False),
    *_rows("sparsemax", np.float32([[3.0, 0.0, -1.0], [0.2, 4.0, 0.1]])),
    *_rows("ctc_loss", np.array([[1, 2, 2], [3, 1, 0]]), SEQUENCES, np.array([3, 2]), np.array([9, 7]), dtypes=False),
    *_rows("ctc_loss", np.array([[1, 2]]), SEQUENCES[:1], np.array([2]), np.array([9]), mask_index=3, dtypes=False),
    *_rows("ctc_decode", 3 * SEQUENCES, np.array([9, 6]), gradient=False, dtypes=False),
    *_rows("ctc_decode", SEQUENCES, np.array([9, 6]), merge_repeated=False, mask_index=3, gradient=False, dtypes=False),
    *_rows(
        "ctc_decode", SEQUENCES, np.array([9, 6]), strategy="beam_search", beam_width=6, top_paths=2, gradient=False,
        dtypes=False,
    ),
    *_rows("dot_product_attention", Q, K, V),
    *_rows("dot_product_attention", Q, K[:, :5], V[:, :5], scale=0.3, is_causal=True, dtypes=False),
    *_rows("dot_product_attention", Q, K, V, mask=_normal(2, 1, 5, 6) > -0.5, bias=_normal(1, 4, 5, 6), dtypes=False),
    *_rows("dot_product_attention", Q, K[:, :, :2], V[:, :, :2], flash_attention=False, dtypes=False),
]  # fmt: skip

ROWS = [*UNARY, *BINARY, *REDUCTIONS, *SHAPES, *MAKING, *ORDER, *LINEAR, *SIGNALS, *WINDOWS, *NETWORKS]
