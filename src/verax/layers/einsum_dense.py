"""A dense map of any axes, told as an einsum equation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import jax

from verax import activations, constraints, initializers, regularizers
from verax.errors import InputError, ShapeError
from verax.layers.base import InputSpec, Layer, LayerArguments, as_float, layer_registry
from verax.ops.contraction import contract
from verax.ops.stretching import stretch

__all__ = ["EinsumDense"]

Shape = Sequence[int | None]


@layer_registry.add
class EinsumDense(Layer):
    """``activation(einsum(equation, x, kernel) + bias)``: a dense map of the axes that the equation names.

    The equation is ``"ab,bc->ac"``, ``"...ab,bc->...ac"`` or ``"ab...,bc->ac..."``: letters of the input, of the
    kernel, and of the output. Weights: ``kernel``, whose sizes follow from the equation; with ``bias_axes``, ``bias``
    of the sizes of those output axes (1 for an axis between them that is not named).

    Args:
        equation: What is multiplied and summed.
        output_shape: The sizes of the output without its first axis and without the axes behind an ellipsis; None for
            those that follow from the input.
        activation: A name, a function, or None for the identity.
        bias_axes: The letters of the output axes that have a bias; None for no bias.
        kernel_initializer, bias_initializer: Where the weights start. Those that scale by the number of inputs and
            outputs count the axes of the equation.
        kernel_regularizer, bias_regularizer, activity_regularizer, kernel_constraint, bias_constraint: As in ``Dense``.

    Raises:
        InputError: An equation of another form, or a letter that nothing gives a size.
        ShapeError: An input that does not fit the equation and the output's shape.

    >>> EinsumDense("abc,cde->abde", output_shape=(None, 2, 3), bias_axes="de")(jnp.ones((1, 4, 5))).shape
    (1, 4, 2, 3)
    """

    def __init__(
        self,
        equation: str,
        output_shape: int | Shape,
        activation: Any = None,
        bias_axes: str | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        activity_regularizer: Any = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.equation = equation
        self.output_shape = (output_shape,) if isinstance(output_shape, int) else tuple(output_shape)
        self.bias_axes = bias_axes
        self.activation = activations.get(activation)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the kernel and the bias."""
        sizes = _sizes(self, input_shape)
        self.kernel = self.add_weight(
            sizes.kernel,
            _counting(self.kernel_initializer, sizes),
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            name="kernel",
        )
        self.bias = None
        if sizes.bias is not None:
            self.bias = self.add_weight(
                sizes.bias,
                self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
                name="bias",
            )
        self.input_spec = InputSpec(ndim=len(input_shape))

    def call(self, x: jax.Array) -> jax.Array:
        """Multiply ``x`` with the kernel and sum, as the equation says."""
        x = contract(self.equation, as_float(self, x), self.kernel.value)
        if self.bias is not None:
            bias = self.bias.value
            x = x + stretch(bias.reshape((1,) * (x.ndim - bias.ndim) + bias.shape), x)
        return x if self.activation is None else self.activation(x)


@dataclass(frozen=True)
class _Sizes:
    """What an equation and the shapes around it say of the weights."""

    kernel: tuple[int | None, ...]
    bias: tuple[int | None, ...] | None
    inputs: list[int]  # the kernel's axes that are summed over
    outputs: list[int]  # those that stand in the output


def _counting(initializer: Any, sizes: _Sizes) -> Any:
    # The fans of a kernel with several input or output axes are products over them.
    if isinstance(initializer, initializers.VarianceScaling) and initializer.input_axes is None:
        axes = {"input_axes": sizes.inputs, "output_axes": sizes.outputs}
        return type(initializer).from_config({**initializer.get_config(), **axes})
    return initializer


def _sizes(layer: EinsumDense, shape: Shape) -> _Sizes:
    x, kernel, y, left = _letters(layer)
    further = len(shape) - len(x)
    named = len(y) if left and further else len(y) - 1
    if further < 0 or (further and "..." not in layer.equation) or len(layer.output_shape) != named:
        raise ShapeError(
            f"EinsumDense {layer.name!r} was called.",
            received=f"an input of shape {tuple(shape)}, output_shape={layer.output_shape}",
            because=f"its equation {layer.equation!r} has {len(x)} axes before and {len(y)} axes after",
            do="Leave the first axis out of output_shape, give None for a size that follows, and '...' for more axes.",
        )
    behind = [] if left else list(shape[len(shape) - further :])
    before = list(shape[1:further]) if left else []
    out = [shape[0], *before, *layer.output_shape, *behind]
    of_x = dict(zip(x, shape[further:] if left else shape, strict=False))
    of_y = dict(zip(y, out[further:] if left else out, strict=False))
    for letter in set(of_x) & set(of_y):
        if of_y[letter] not in (None, of_x[letter]):
            raise ShapeError(
                f"EinsumDense {layer.name!r} was called.",
                received=f"an input of shape {tuple(shape)}, output_shape={layer.output_shape}",
                because=f"axis {letter!r} of {layer.equation!r} is {of_x[letter]} before and {of_y[letter]} after",
            )
    inputs = [i for i, letter in enumerate(kernel) if letter not in y]
    outputs = [i for i, letter in enumerate(kernel) if letter in y]
    sizes = tuple(of_y[letter] if letter in y else of_x[letter] for letter in kernel)
    bias = None
    if layer.bias_axes is not None:
        first = min(y.index(letter) for letter in layer.bias_axes)
        bias = (*(of_y[n] if n in layer.bias_axes else 1 for n in y[first:]), *(1 for _ in behind))
    return _Sizes(sizes, bias, inputs, outputs)


def _letters(layer: EinsumDense) -> tuple[str, str, str, bool]:
    """The letters of the input, the kernel and the output, and whether an ellipsis stands on their left."""
    equation = layer.equation.replace(" ", "")
    for form, left in (
        (r"([a-zA-Z]+),([a-zA-Z]+)->([a-zA-Z]+)", False),
        (r"\.\.\.([a-zA-Z]+),([a-zA-Z]+)->\.\.\.([a-zA-Z]+)", True),
        (r"([a-zA-Z]{2,})\.\.\.,([a-zA-Z]+)->([a-zA-Z]+)\.\.\.", False),
    ):
        match = re.fullmatch(form, equation)
        if match is None:
            continue
        x, kernel, y = match.groups()
        unknown = (set(kernel) - {*x, *y}) | (set(y) - {*x, *kernel}) | (set(layer.bias_axes or "") - set(y))
        if unknown:
            raise InputError(
                f"EinsumDense {layer.name!r} reads its equation.",
                received=f"{layer.equation!r}, bias_axes={layer.bias_axes!r}",
                because=f"nothing gives {sorted(unknown)} a size",
                do="Name kernel axes in the input or the output, and bias axes in the output.",
            )
        return x, kernel, y, left
    raise InputError(
        f"EinsumDense {layer.name!r} reads its equation.",
        received=repr(layer.equation),
        because="it is none of 'ab,bc->ac', '...ab,bc->...ac' and 'ab...,bc->ac...'",
    )
