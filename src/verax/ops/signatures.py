"""Keras' parameters of the functions that are jax's own: names, order and defaults, in one table."""

from __future__ import annotations

import ast
import functools
import inspect

__all__ = ["PLAIN", "signature_of", "words"]


def words(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


def _each(names: str, parameters: str) -> dict[str, str]:
    return dict.fromkeys(words(names), parameters)


#: name -> Keras' parameters, a word each. What has no default is passed on by position, the rest under its name.
#: Everything here is in the namespace ``numpy``.
PLAIN: dict[str, str] = {
    **_each(
        "abs absolute angle arccos arccosh arcsin arcsinh arctan arctanh bartlett bitwise_invert bitwise_not blackman "
        "cbrt ceil conj conjugate copy corrcoef cos cosh deg2rad exp exp2 expm1 fabs fliplr flipud floor hamming "
        "hanning i0 imag isfinite isinf isnan isneginf isposinf isreal log log10 log1p log2 logical_not negative "
        "nonzero rad2deg ravel real reciprocal sign signbit sin sinc sinh sqrt square tan tanh trunc",
        "x",
    ),
    **_each(
        "add arctan2 divide dot equal floor_divide fmax fmin fmod gcd greater greater_equal heaviside hypot inner kron "
        "lcm ldexp less less_equal logaddexp logaddexp2 logical_and logical_or logical_xor maximum minimum mod "
        "multiply nextafter not_equal outer power subtract true_divide vdot",
        "x1 x2",
    ),
    **_each(
        "all amax amin any argmax argmin mean median nanargmax nanargmin nanmax nanmean nanmedian nanmin nanprod "
        "nanstd nansum nanvar ptp std sum var",
        "x axis=None keepdims=False",
    ),
    **_each(
        "bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor left_shift right_shift",
        "x y",
    ),
    **_each("cumprod cumsum nancumprod nancumsum", "x axis=None dtype=None"),
    **_each("empty_like ones_like zeros_like", "x dtype=None"),
    **_each("diag diagflat tril triu", "x k=0"),
    **_each("nanpercentile nanquantile percentile quantile", "x q axis=None method='linear' keepdims=False"),
    **_each("empty ones zeros", "shape dtype=None"),
    **_each("count_nonzero flip squeeze", "x axis=None"),
    **_each("dsplit hsplit vsplit", "x indices_or_sections"),
    **_each("dstack hstack vstack", "xs"),
    **_each("eye tri", "N M=None k=0 dtype=None"),
    **_each("argsort sort", "x axis=-1"),
    **_each("max min", "x axis=None keepdims=False initial=None"),
    **_each("take take_along_axis", "x indices axis=None"),
    **_each("array_split split", "x indices_or_sections axis=0"),
    **_each("diagonal trace", "x offset=0 axis1=0 axis2=1"),
    **_each("allclose isclose", "x1 x2 rtol=1e-05 atol=1e-08 equal_nan=False"),
    "append": "x1 x2 axis=None",
    "arange": "start stop=None step=None dtype=None",
    "argpartition": "x kth axis=-1",
    "array": "x dtype=None",
    "average": "x axis=None weights=None",
    "broadcast_to": "x shape",
    "clip": "x x_min x_max",
    "concatenate": "xs axis=0",
    "correlate": "x1 x2 mode='valid'",
    "cross": "x1 x2 axisa=-1 axisb=-1 axisc=-1 axis=None",
    "diff": "a n=1 axis=-1",
    "digitize": "x bins",
    "expand_dims": "x axis",
    "full": "shape fill_value dtype=None",
    "full_like": "x fill_value dtype=None",
    "geomspace": "start stop num=50 endpoint=True dtype=None axis=0",
    "histogram": "x bins=10 range=None",
    "identity": "n dtype=None",
    "isin": "x1 x2 assume_unique=False invert=False",
    "kaiser": "x beta",
    "linspace": "start stop num=50 endpoint=True retstep=False dtype=None axis=0",
    "logspace": "start stop num=50 endpoint=True base=10 dtype=None axis=0",
    "moveaxis": "x source destination",
    "nan_to_num": "x nan=0.0 posinf=None neginf=None",
    "prod": "x axis=None keepdims=False dtype=None",
    "repeat": "x repeats axis=None",
    "reshape": "x newshape",
    "roll": "x shift axis=None",
    "rot90": "array k=1 axes=(0,1)",
    "searchsorted": "sorted_sequence values side='left'",
    "select": "condlist choicelist default=0",
    "stack": "x axis=0",
    "swapaxes": "x axis1 axis2",
    "tensordot": "x1 x2 axes=2",
    "tile": "x repeats",
    "transpose": "x axes=None",
    "trapezoid": "y x=None dx=1.0 axis=-1",
    "unravel_index": "indices shape",
    "vander": "x N=None increasing=False",
}


@functools.cache
def signature_of(name: str) -> inspect.Signature:
    """Keras' signature of a function of the table.

    >>> signature_of("mean")
    <Signature (x, axis=None, keepdims=False)>
    """
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters: list[inspect.Parameter] = []
    for word in PLAIN[name].split():
        parameter, _, default = word.partition("=")
        value = ast.literal_eval(default) if default else inspect.Parameter.empty
        parameters.append(inspect.Parameter(parameter, kind, default=value))
    return inspect.Signature(parameters)
