"""Tokens as the numbers of their places in a vocabulary, and back: of text, and of whole numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from verax.errors import InputError, UnknownNameError
from verax.layers.adapting import as_numbers, as_text
from verax.layers.base import LayerArguments, layer_registry
from verax.layers.categorical import encode
from verax.layers.index_lookup import DROPPED, IndexLookup

__all__ = ["IntegerLookup", "StringLookup"]

Array = np.ndarray[Any, Any]


@layer_registry.add
class StringLookup(IndexLookup):
    """Text tokens as their indices in a vocabulary.

    Indices are, in this order: the mask token's 0 (if there is one, and for ``"int"``), ``num_oov_indices`` for tokens
    out of the vocabulary, and those of the vocabulary. ``adapt`` makes it of the tokens it sees, the most frequent
    first, of those as frequent the last in the order of characters first.

    It is called on text, before a model: ``x = layer(texts)``.

    Args:
        max_tokens: The largest size of the vocabulary, special tokens included.
        num_oov_indices: How many indices tokens out of the vocabulary share, by their hash; with 0 they are refused.
        mask_token: The token of index 0, which counts nowhere when indices are encoded.
        oov_token: What ``invert`` returns for an index out of the vocabulary.
        vocabulary, idf_weights: As in ``set_vocabulary``; then ``adapt`` is refused.
        invert: From indices to tokens.
        output_mode: ``"int"`` (int32, the input's shape), ``"one_hot"``, ``"multi_hot"``, ``"count"`` as in
            ``CategoryEncoding``, or ``"tf_idf"``: counts times ``log(1 + documents / (1 + documents with the token))``.
        pad_to_max_tokens: Whether features have ``max_tokens`` places also where the vocabulary is smaller.
        sparse: Keras' argument; arrays are dense.
        encoding: Of bytes.
        salt: As in ``Hashing``, for ``num_oov_indices`` above 1.

    Differs from Keras: features are of the compute dtype, as its symbolic tensors say, not integers; the configuration
    holds a vocabulary that was learned; ``invert`` returns strings.

    >>> layer = StringLookup()
    >>> layer.adapt(["b", "a", "b"])
    >>> layer.get_vocabulary(), layer([["a", "b", "c"]]).tolist()
    (['[UNK]', 'b', 'a'], [[2, 1, 0]])
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: str | None = None,
        oov_token: str = "[UNK]",
        vocabulary: Any = None,
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        pad_to_max_tokens: bool = False,
        sparse: bool = False,
        encoding: str = "utf-8",
        salt: Any = None,
        **kwargs: Unpack[LayerArguments],
    ):
        self.encoding = encoding
        super().__init__(
            max_tokens,
            num_oov_indices,
            mask_token,
            oov_token,
            vocabulary,
            idf_weights,
            invert,
            output_mode,
            sparse,
            pad_to_max_tokens,
            salt,
            **kwargs,
        )

    def read(self, batch: Any) -> Array:
        """A batch as an array of strings."""
        return as_text(batch, self.encoding, f"{self._says} was given data.")

    def array_of(self, tokens: list[Any]) -> Array:
        """Tokens as an array of strings."""
        return np.array(tokens, np.str_)

    def _tokens_of(self, values: Any) -> list[str]:
        return self.read(values).reshape(-1).tolist()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Any:
        """A new layer with the arguments and the vocabulary that ``get_config`` gave, Keras' or ours."""
        # Keras' has what is for numbers alone.
        return super().from_config({k: v for k, v in config.items() if k not in ("oov_method", "vocabulary_dtype")})


@layer_registry.add
class IntegerLookup(IndexLookup):
    """Whole numbers as their indices in a vocabulary; works inside a model, and eagerly on numbers beyond int32.

    Indices and ``adapt`` are those of ``StringLookup``.

    Args:
        max_tokens, num_oov_indices, vocabulary, idf_weights, invert, output_mode, sparse, pad_to_max_tokens, salt: As
            in ``StringLookup``. Inside a model, where nothing can be refused, a token out of the vocabulary has the
            index -1 with ``num_oov_indices=0``.
        mask_token: The number of index 0.
        oov_token: What ``invert`` returns for an index out of the vocabulary.
        vocabulary_dtype: ``"int64"``.
        oov_method: How tokens out of the vocabulary share several indices: ``"floormod"``, the number modulo
            ``num_oov_indices``, or ``"farmhash"``, its hash.

    Differs from Keras: features are of the compute dtype, as its symbolic tensors say, not integers; the configuration
    holds a vocabulary that was learned.

    >>> layer = IntegerLookup(vocabulary=[12, 36, 1138, 42])
    >>> layer(np.array([[12, 1138, 42], [42, 1000, 36]])).tolist()
    [[1, 3, 4], [4, 0, 2]]
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: int | None = None,
        oov_token: int = -1,
        vocabulary: Any = None,
        vocabulary_dtype: str = "int64",
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        sparse: bool = False,
        pad_to_max_tokens: bool = False,
        oov_method: str = "floormod",
        salt: Any = None,
        **kwargs: Unpack[LayerArguments],
    ):
        if vocabulary_dtype != "int64":
            raise UnknownNameError.among("vocabulary_dtype of IntegerLookup", vocabulary_dtype, ["int64"])
        if oov_method not in ("floormod", "farmhash"):
            raise UnknownNameError.among("oov_method of IntegerLookup", oov_method, ["floormod", "farmhash"])
        if salt is not None and oov_method != "farmhash":
            received = f"salt={salt!r} with oov_method={oov_method!r}"
            raise InputError("IntegerLookup was made.", received=received, do="Pass oov_method='farmhash'.")
        self.oov_method = oov_method
        super().__init__(
            max_tokens,
            num_oov_indices,
            mask_token,
            oov_token,
            vocabulary,
            idf_weights,
            invert,
            output_mode,
            sparse,
            pad_to_max_tokens,
            salt,
            **kwargs,
        )

    def call(self, inputs: jax.Array) -> jax.Array:
        """The indices or features of ``inputs``, or the tokens of indices."""
        known = self._require()
        inputs = inputs.astype(jnp.int32)
        if self.invert:
            tokens = jnp.asarray(np.array([*self.get_vocabulary(), self.oov_token]), "int32")
            end = len(tokens) - 1
            return tokens[jnp.where((inputs < 0) | (inputs > end), end, inputs)]
        table = dict(known.index)
        if self.mask_token is not None:
            table[self.mask_token] = 0 if self.output_mode == "int" else DROPPED
        range_ = np.iinfo(np.int32)  # what no int32 equals needs no place
        pairs = sorted((token, i) for token, i in table.items() if range_.min <= token <= range_.max)
        keys, places = (jnp.asarray(column, "int32") for column in np.array(pairs, np.int64).reshape(-1, 2).T)
        at = jnp.minimum(jnp.searchsorted(keys, inputs), max(len(pairs) - 1, 0))
        out = self._oov_in_model(inputs)
        indices = jnp.where(keys[at] == inputs, places[at], out) if pairs else out
        mode = self.output_mode
        features = encode(indices, "count" if mode == "tf_idf" else mode, self._depth, self.compute_dtype)
        return self._weighed(features, known)

    def _oov_in_model(self, inputs: jax.Array) -> jax.Array:
        if self.num_oov_indices == 0:
            return jnp.full_like(inputs, -1)
        if self.num_oov_indices == 1:
            return jnp.full_like(inputs, self._oov_start)
        if self.oov_method == "floormod":
            return jnp.mod(inputs, jnp.int32(self.num_oov_indices)) + self._oov_start
        spec = jax.ShapeDtypeStruct(inputs.shape, jnp.int32)
        found = jax.pure_callback(self._called_back, spec, inputs, vmap_method="broadcast_all")
        return found + self._oov_start

    def _called_back(self, inputs: Any) -> Array:
        numbers = np.asarray(inputs)
        return self._oov_hashed(numbers.reshape(-1).tolist()).astype(np.int32).reshape(numbers.shape)

    def _oov_hashed(self, tokens: list[Any]) -> Array:
        if self.oov_method == "floormod":
            return np.array(tokens, np.int64) % self.num_oov_indices
        return super()._oov_hashed(tokens)

    def read(self, batch: Any) -> Array:
        """A batch as an array of whole numbers."""
        return as_numbers(batch, f"{self._says} was given data.").astype(np.int64)

    def _tokens_at(self, indices: Array) -> Any:
        found = super()._tokens_at(indices)
        return jnp.asarray(found, "int32") if np.abs(found).max(initial=0) < 1 << 31 else found

    def _tokens_of(self, values: Any) -> list[int]:
        return self.read([int(v) for v in values] if isinstance(values, list) else values).reshape(-1).tolist()
