"""What lookups of text and of whole numbers share: a vocabulary, given or learned, and indices in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Unpack, cast

import jax
import jax.numpy as jnp
import numpy as np

from verax.errors import DataError, InputError, StateError
from verax.layers.adapting import Adapting, OnHost, as_numbers, encoding_mode, refuse_sparse
from verax.layers.base import LayerArguments, along_axis
from verax.layers.categorical import encode_on_host
from verax.layers.hashing import bins_of, salt_of
from verax.layers.vocabulary import Counts, Vocabulary, check_tokens, read_tokens

__all__ = ["DROPPED", "IndexLookup"]

Array = np.ndarray[Any, Any]
#: The index of what counts nowhere.
DROPPED = -1
_UNKNOWN = -2


class IndexLookup(OnHost, Adapting):
    """What lookups of text and of whole numbers share."""

    _apart: ClassVar[frozenset[str]] = frozenset({"_core", "_known", "_counts"})

    def __init__(
        self,
        max_tokens: int | None,
        num_oov_indices: int,
        mask_token: Any,
        oov_token: Any,
        vocabulary: Any,
        idf_weights: Any,
        invert: bool,
        output_mode: str,
        sparse: bool,
        pad_to_max_tokens: bool,
        salt: Any,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(**kwargs)
        layer = type(self).__name__
        asked = f"{layer} was made."
        refuse_sparse(sparse, layer)
        self.output_mode = encoding_mode(output_mode, layer, ("int", "one_hot", "multi_hot", "count", "tf_idf"))
        if max_tokens is not None and (isinstance(max_tokens, bool) or max_tokens <= 1):
            because = "a vocabulary has more than one token"
            raise InputError(asked, received=f"max_tokens={max_tokens!r}", because=because)
        if pad_to_max_tokens and max_tokens is None:
            raise InputError(asked, received="pad_to_max_tokens=True, max_tokens=None", do="Pass max_tokens.")
        if isinstance(num_oov_indices, bool) or not isinstance(num_oov_indices, int) or num_oov_indices < 0:
            because = "it counts the indices of tokens out of the vocabulary"
            raise InputError(asked, received=f"num_oov_indices={num_oov_indices!r}", because=because)
        if invert and self.output_mode != "int":
            received = f"invert=True, output_mode={output_mode!r}"
            raise InputError(asked, received=received, because="indices become tokens, and nothing is encoded")
        if idf_weights is not None and self.output_mode != "tf_idf":
            received = f"idf_weights with output_mode={output_mode!r}"
            raise InputError(asked, received=received, do="Pass output_mode='tf_idf', or leave them out.")
        self.max_tokens = max_tokens
        self.num_oov_indices = num_oov_indices
        self.mask_token = mask_token
        self.oov_token = oov_token
        self.invert = invert
        self.pad_to_max_tokens = pad_to_max_tokens
        self.salt = salt_of(salt, layer)
        self._counts = Counts()
        self._known: Vocabulary | None = None
        self._given = vocabulary is not None
        if vocabulary is not None:
            self.set_vocabulary(vocabulary, idf_weights)

    # ---- the vocabulary ------------------------------------------------------------------------------------------

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[Any]:
        """The tokens in the order of their indices.

        Args:
            include_special_tokens: Whether the mask token and the tokens out of the vocabulary come first, so that a
                token's place is its index.
        """
        special = self._special if include_special_tokens else []
        return [*special, *(self._known.tokens if self._known is not None else ())]

    def vocabulary_size(self) -> int:
        """How many indices there are, those of special tokens included."""
        return len(self._special) + (0 if self._known is None else len(self._known.tokens))

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Replace the vocabulary.

        Args:
            vocabulary: Tokens, without the special ones or with all of them first, in the order of
                ``get_vocabulary()``; or the path of a text file with a token a line, without special ones.
            idf_weights: The weight of each token of ``vocabulary``, for ``output_mode="tf_idf"``.
        """
        asked = f"{self._says} gets a vocabulary."
        tf_idf = self.output_mode == "tf_idf"
        if tf_idf != (idf_weights is not None):
            received = f"idf_weights={idf_weights!r} with output_mode={self.output_mode!r}"
            raise InputError(asked, received=received, because="output_mode='tf_idf' has one weight a token")
        from_file = isinstance(vocabulary, (str, Path))
        tokens = self._tokens_of(read_tokens(vocabulary, asked) if from_file else vocabulary)
        special, weights = self._special, idf_weights
        complete = not from_file and tokens[: len(special)] == special
        if tf_idf:
            weights = np.asarray(idf_weights, np.float64)
            if weights.shape != (len(tokens),):
                received = f"idf_weights of shape {weights.shape} for {len(tokens)} tokens"
                raise InputError(asked, received=received, because="each token has a weight")
            if not complete:  # tokens out of the vocabulary weigh as the average of those in it
                weights = np.concatenate([np.full(len(special), weights.mean()), weights])
        tokens = tokens[len(special) :] if complete else tokens
        check_tokens(tokens, self.mask_token, self.oov_token if self.invert else None, special, asked)
        if self.max_tokens is not None and len(special) + len(tokens) > self.max_tokens:
            received = f"{len(special) + len(tokens)} tokens, special ones included"
            raise InputError(asked, received=received, because=f"max_tokens={self.max_tokens}")
        self._know(Vocabulary.of(tokens, len(special), self._pad(weights)))

    def save_assets(self, dir_path: Any) -> None:
        """Write the vocabulary to ``vocabulary.txt`` in a directory, a token a line, special ones first."""
        text = "\n".join(str(token) for token in self.get_vocabulary())
        (Path(dir_path) / "vocabulary.txt").write_text(text, encoding="utf-8", newline="\n")

    def load_assets(self, dir_path: Any) -> None:
        """Read what ``save_assets`` wrote."""
        path = Path(dir_path) / "vocabulary.txt"
        weights = None
        tokens = self._tokens_of(read_tokens(path, f"{self._says} reads its vocabulary."))
        if self.output_mode == "tf_idf":
            weights = self._require().idf
            weights = np.ones(len(tokens)) if weights is None else weights[: len(tokens)]
        self.set_vocabulary(tokens, weights)

    # ---- learning ------------------------------------------------------------------------------------------------

    def reset_state(self) -> None:
        """Forget what was counted since the last ``finalize_state``."""
        if self._given:
            raise InputError(
                f"{self._says} adapts to data.",
                received="a vocabulary when it was made",
                because="it would be replaced",
                do="Make it without vocabulary, or call set_vocabulary.",
            )
        self._counts = Counts()

    def update_state(self, data: Any) -> None:
        """Count the tokens of one batch, (documents, tokens); a vector is one document."""
        batch = np.asarray(data)
        rows = batch.reshape(1, -1) if batch.ndim < 2 else batch.reshape(len(batch), -1)
        self.count(rows.tolist())

    def count(self, documents: Sequence[Sequence[Any]]) -> None:
        """Count the tokens of documents of any lengths."""
        self._counts.add(documents, each=self.output_mode == "tf_idf")

    def finalize_state(self) -> None:
        """Make the vocabulary: the most frequent tokens first, of those as frequent the last in order first."""
        special = self._special
        room = None if self.max_tokens is None else max(self.max_tokens - len(special), 0)
        tokens = self._counts.most_frequent({self.mask_token, self.oov_token} - {None}, room)
        if not tokens:
            raise DataError(
                f"{self._says} adapts to data.", received="no token", because="there is nothing to make indices of"
            )
        weights = None
        if self.output_mode == "tf_idf":
            found = self._counts.idf(tokens)
            weights = np.concatenate([np.full(len(special), found.mean()), found])
        self._know(Vocabulary.of(tokens, len(special), self._pad(weights)))
        self._counts = Counts()

    def read_rows(self, array: Array) -> Array:
        """A vector given whole holds a document an element."""
        return array[:, None] if array.ndim == 1 else array

    # ---- looking up ----------------------------------------------------------------------------------------------

    def on_host(self, inputs: Any) -> Any:
        """The indices, or features, of tokens; or the tokens of indices."""
        if self.invert:
            return self._tokens_at(as_numbers(inputs, f"{self._says} was called.").astype(np.int64))
        array = self.read(inputs)
        return self.encoded(self.indices_of(array.reshape(-1).tolist()).reshape(array.shape))

    def encoded(self, indices: Array) -> jax.Array:
        """Indices on the host as the output mode has them."""
        known, mode = self._require(), self.output_mode
        out = encode_on_host(indices, "count" if mode == "tf_idf" else mode, self._depth, self.compute_dtype)
        return self._weighed(out, known)

    def indices_of(self, tokens: list[Any]) -> Array:
        """The index of each token, int64; -1 for the mask token where indices are to be encoded."""
        find = self._require().index.get
        found = np.fromiter((find(token, _UNKNOWN) for token in tokens), np.int64, len(tokens))
        where = np.flatnonzero(found == _UNKNOWN)
        if self.mask_token is not None and len(where):
            masked = np.array([tokens[i] == self.mask_token for i in where], bool)
            found[where[masked]] = 0 if self.output_mode == "int" else DROPPED
            where = where[~masked]
        if len(where):
            found[where] = self._oov_start + self._oov([tokens[i] for i in where])
        return found

    def _oov(self, tokens: list[Any]) -> Array:
        """Which of the indices out of the vocabulary each token has."""
        if self.num_oov_indices == 0:
            shown = ", ".join(repr(token) for token in list(dict.fromkeys(tokens))[:5])
            raise DataError(
                f"{self._says} was called.",
                received=f"{shown} (not in the vocabulary)",
                because="num_oov_indices=0 leaves no index for tokens out of the vocabulary",
                do="Make it with num_oov_indices=1, or add the tokens.",
            )
        if self.num_oov_indices == 1:
            return np.zeros(len(tokens), np.int64)
        return self._oov_hashed(tokens)

    def _oov_hashed(self, tokens: list[Any]) -> Array:
        return bins_of([str(token).encode() for token in tokens], self.num_oov_indices, self.salt)

    def _tokens_at(self, indices: Array) -> Any:
        self._require()
        tokens = self.get_vocabulary()
        inside = (indices >= 0) & (indices < len(tokens))
        place = np.where(inside, indices, len(tokens))
        return self.array_of([*tokens, self.oov_token])[place]

    def array_of(self, tokens: list[Any]) -> Array:
        """Tokens as an array."""
        return np.array(tokens)

    # ---- parts ---------------------------------------------------------------------------------------------------

    @property
    def _oov_start(self) -> int:
        return int(self.mask_token is not None and self.output_mode == "int")

    @property
    def _special(self) -> list[Any]:
        return [self.mask_token] * self._oov_start + [self.oov_token] * self.num_oov_indices

    @property
    def _depth(self) -> int:
        return cast("int", self.max_tokens) if self.pad_to_max_tokens else self.vocabulary_size()

    def _weighed(self, features: jax.Array, known: Vocabulary) -> jax.Array:
        if known.idf is None:
            return features
        return features * along_axis(jnp.asarray(known.idf, features.dtype), features.ndim, -1)

    def _pad(self, weights: Array | None) -> Array | None:
        if weights is None or not self.pad_to_max_tokens:
            return weights
        return np.pad(weights, (0, cast("int", self.max_tokens) - len(weights)))

    def _require(self) -> Vocabulary:
        if self._known is None:
            raise StateError(
                f"{self._says} was called.",
                because="it has no vocabulary yet",
                do="Call layer.adapt(data) first, or make it with a vocabulary.",
            )
        return self._known

    def _know(self, vocabulary: Vocabulary) -> None:
        self._known = vocabulary
        self._learned()

    def _tokens_of(self, values: Any) -> list[Any]:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, with the vocabulary as it is now."""
        config = super().get_config()
        if self._known is not None:
            config["vocabulary"] = self.get_vocabulary(self._known.idf is not None)
            if self._known.idf is not None:
                config["idf_weights"] = self._known.idf[: self.vocabulary_size()].tolist()
            if not self._given:
                config["has_input_vocabulary"] = False
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Any:
        """A new layer with the arguments and the vocabulary that ``get_config`` gave, Keras' or ours."""
        known = {k: v for k, v in config.items() if k != "vocabulary_size"}
        if known.pop("has_input_vocabulary", True):
            return super().from_config(known)
        vocabulary, weights = known.pop("vocabulary"), known.pop("idf_weights", None)
        layer = super().from_config(known)
        layer.set_vocabulary(vocabulary, weights)
        return layer
