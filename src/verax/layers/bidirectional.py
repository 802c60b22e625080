"""``Bidirectional``: a recurrence from both ends of a sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Unpack

import jax
import jax.numpy as jnp

from verax.errors import InputError, ShapeError, StateError, UnknownNameError
from verax.layers.base import Layer, layer_registry
from verax.layers.recurrence import over_rows
from verax.layers.wrapper import Wrapper, WrapperArguments, as_layer, build_inside

__all__ = ["Bidirectional"]

_SHARED = ("stateful", "return_sequences", "return_state")
_MERGES = ("sum", "mul", "ave", "concat", None)


@layer_registry.add
class Bidirectional(Wrapper):
    """Runs a recurrent layer from the first step to the last, and a second one from the last to the first.

    (batch, time, ...) -> the two outputs merged; those of the second are turned round, so that both are of the same
    step, before that. With ``return_state`` a tuple of the output, the first layer's states and the second's.

    The layers are new ones, made from the configuration of ``layer``, with the names ``forward_...`` and
    ``backward_...``; a ``backward_layer`` is used itself. With ``return_sequences`` the outputs of masked steps are 0.
    ``initial_state`` is a list of the first layer's states and then the second's.

    Args:
        layer: A recurrent layer: with ``go_backwards``, ``return_sequences``, ``return_state`` and ``stateful``.
        merge_mode: "concat" (along the last axis), "sum", "ave" (the mean), "mul", or None for a tuple of both.
        weights: Where the weights start: arrays for the first layer, then for the second.
        backward_layer: The second layer, which runs the other way; one like ``layer`` when None.

    Raises:
        InputError: Layers that run the same way, or return different things.
        UnknownNameError: Another merge_mode.

    >>> Bidirectional(verax.layers.LSTM(4, return_sequences=True))(jnp.ones((2, 5, 3))).shape
    (2, 5, 8)
    """

    supports_masking = True
    wraps = ("layer", "backward_layer")

    _in_files: ClassVar[Mapping[str, str]] = {"layer": "forward_layer"}

    def __init__(
        self,
        layer: Any,
        merge_mode: str | None = "concat",
        weights: Sequence[Any] | None = None,
        backward_layer: Any = None,
        **kwargs: Unpack[WrapperArguments],
    ):
        asked = f"{type(self).__name__} was made."
        layer = as_layer(layer, asked)
        missing = [name for name in (*_SHARED, "go_backwards") if not hasattr(layer, name)]
        if missing:
            raise InputError(asked, received=repr(layer), because=f"a recurrent layer has {', '.join(missing)}")
        if merge_mode not in _MERGES:
            raise UnknownNameError.among("merge_mode", merge_mode, [m for m in _MERGES if m])
        super().__init__(_like(layer, "forward_"), **kwargs)
        if backward_layer is None:
            self.backward_layer: Any = _like(layer, "backward_", go_backwards=not layer.go_backwards)
        else:
            self.backward_layer = as_layer(backward_layer, asked)
        self._check()
        self.merge_mode = merge_mode
        self.first_weights = None if weights is None else list(weights)
        self.stateful: bool = layer.stateful
        self.return_sequences: bool = layer.return_sequences
        self.return_state: bool = layer.return_state
        self.input_spec = layer.input_spec

    def _check(self) -> None:
        one, two = self.forward_layer, self.backward_layer
        wrong = [name for name in _SHARED if getattr(one, name) != getattr(two, name)]
        if one.go_backwards == two.go_backwards:
            wrong.append("go_backwards")
        if wrong:
            shown = [", ".join(f"{name}={getattr(layer, name)}" for name in wrong) for layer in (one, two)]
            raise InputError(
                f"{type(self).__name__} was made.",
                received=f"layer with {shown[0]}, backward_layer with {shown[1]}",
                because="the two run in opposite directions, and are alike in what they return and keep",
            )

    @property
    def forward_layer(self) -> Any:
        """The layer that was made like ``layer``."""
        return self.layer

    @property
    def states(self) -> tuple[Any, ...] | None:
        """The states that go on from batch to batch: the first layer's, then the second's; None without any."""
        both = self.forward_layer.states, self.backward_layer.states
        return None if None in both else (*both[0], *both[1])

    def build(self, input_shape: Any) -> None:
        """Build both layers."""
        layers = (self.forward_layer, self.backward_layer)
        for layer in layers:
            build_inside(layer, input_shape)
        if self.first_weights is not None:
            half = len(self.first_weights) // 2
            for layer, some in zip(layers, (self.first_weights[:half], self.first_weights[half:]), strict=True):
                layer.set_weights(some)

    def call(self, sequences: jax.Array, initial_state: Any = None, mask: Any = None) -> Any:
        """The merged outputs for ``sequences`` (batch, time, ...)."""
        halves = [{}, {}]
        if initial_state is not None:
            if len(initial_state) % 2:
                raise ShapeError(
                    f"{type(self).__name__} {self.name!r} was called with initial_state.",
                    received=f"{len(initial_state)} states",
                    because="both layers begin with as many",
                    do="Pass the first layer's states, then the second's.",
                )
            half = len(initial_state) // 2
            halves = [{"initial_state": list(initial_state[part])} for part in (slice(half), slice(half, None))]
        given = {} if mask is None else {"mask": mask}
        found = [
            layer(sequences, **first, **given)
            for layer, first in zip((self.forward_layer, self.backward_layer), halves, strict=True)
        ]
        states = [state for one in found for state in one[1:]] if self.return_state else []
        outputs = [(one[0] if self.return_state else one).astype(self.compute_dtype) for one in found]
        if self.return_sequences:
            outputs = [
                jnp.flip(y, 1) if layer.go_backwards else y
                for y, layer in zip(outputs, (self.forward_layer, self.backward_layer), strict=True)
            ]
            if mask is not None:
                counts = over_rows(mask.astype(bool), outputs[0])
                outputs = [jnp.where(counts, y, jnp.zeros_like(y)) for y in outputs]
        merged = self._merged(*outputs)
        if not self.return_state:
            return merged
        return (*merged, *states) if self.merge_mode is None else (merged, *states)

    def _merged(self, one: jax.Array, two: jax.Array) -> Any:
        if self.merge_mode is None:
            return one, two
        if self.merge_mode == "concat":
            return jnp.concatenate([one, two], axis=-1)
        if self.merge_mode == "mul":
            return one * two
        return one + two if self.merge_mode == "sum" else (one + two) / 2

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask, where the outputs are sequences."""
        mask = mask[0] if isinstance(mask, list) else mask
        mask = mask if self.return_sequences else None
        return (mask, mask) if self.merge_mode is None else mask

    def reset_state(self) -> None:
        """Let the next batch begin with what the cells begin with.

        Raises:
            StateError: The layers are not stateful.
        """
        if not self.stateful:
            raise StateError(
                f"{self.name!r} was to be reset.",
                because="its layers keep no state from batch to batch",
                do="Make them with stateful=True.",
            )
        self.forward_layer.reset_state()
        self.backward_layer.reset_state()

    reset_states = reset_state


def _like(layer: Layer, prefix: str, **changed: Any) -> Any:
    """A new layer with the configuration of ``layer`` and a name that says which way it runs."""
    name = prefix + layer.name.removeprefix(prefix)
    return type(layer).from_config({**layer.get_config(), "dtype": layer.dtype_policy, **changed, "name": name})
