"""Texts as sequences of token indices, or as features that count tokens."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Unpack, cast

import jax
import numpy as np

from verax.errors import InputError, ShapeError, UnknownNameError
from verax.layers.adapting import Adapting, OnHost, as_text, refuse_sparse
from verax.layers.base import LayerArguments, layer_registry
from verax.layers.lookup import StringLookup

__all__ = ["TextVectorization"]

Array = np.ndarray[Any, Any]

_LOWER = {ord(upper): lower for upper, lower in zip(string.ascii_uppercase, string.ascii_lowercase, strict=True)}
_STRIP: dict[int, str | None] = dict.fromkeys(map(ord, string.punctuation))
_STANDARDIZE: dict[str, Mapping[int, str | None]] = {
    "lower_and_strip_punctuation": {**_LOWER, **_STRIP},
    "lower": _LOWER,
    "strip_punctuation": _STRIP,
}
#: Runs of anything but ASCII's white space, where TensorFlow splits.
_WORD = re.compile(r"[^ \t\n\r\f\v]+")
_SPLIT: dict[str, Callable[[str], list[str]]] = {"whitespace": _WORD.findall, "character": list}


@layer_registry.add
class TextVectorization(OnHost, Adapting):
    """Texts as the indices of their tokens: standardized, split, joined to n-grams, and looked up.

    Indices are those of ``StringLookup`` with the mask token ``""`` (index 0, which also pads) and one index for tokens
    out of the vocabulary, ``"[UNK]"``. It is called on text, before a model: ``x = layer(texts)``.

    Args:
        max_tokens: The largest size of the vocabulary, special tokens included.
        standardize: ``"lower_and_strip_punctuation"``, ``"lower"``, ``"strip_punctuation"`` (ASCII letters and signs,
            as Keras), a function of an array of strings that returns one, or None.
        split: ``"whitespace"`` (ASCII's), ``"character"``, a function of an array of strings, (texts,), that returns
            the tokens of each, or None: each string is a token.
        ngrams: n for all n-grams up to n, joined by spaces; or a tuple of n.
        output_mode: ``"int"``: int32 (texts, longest), 0 where a text has ended; ``"multi_hot"``, ``"count"``,
            ``"tf_idf"``: (texts, vocabulary); ``"one_hot"``: (texts, longest, vocabulary).
        output_sequence_length: For ``"int"``: every text is cut or padded to so many tokens.
        pad_to_max_tokens, vocabulary, idf_weights: As in ``StringLookup``.
        sparse, ragged: Keras' arguments; arrays are dense.
        encoding: Of bytes.

    Input: strings, (texts,) or (texts, 1); with ``split=None`` also (texts, tokens).

    Differs from Keras: functions get and return NumPy arrays; with ``split=None`` each string of (texts,) is a document
    of its own, also for features, n-grams and ``output_sequence_length``, which Keras makes of the whole batch.

    >>> layer = TextVectorization(output_sequence_length=4)
    >>> layer.adapt(["The cat sat.", "The dog!"])
    >>> layer.get_vocabulary(), layer(["a cat sat", "the"]).tolist()
    (['', '[UNK]', 'the', 'sat', 'dog', 'cat'], [[1, 5, 3, 0], [2, 0, 0, 0]])
    """

    _apart: ClassVar[frozenset[str]] = frozenset({"_core", "_lookup"})
    _in_files: ClassVar[Mapping[str, str]] = {"_lookup": "_lookup_layer"}

    def __init__(
        self,
        max_tokens: int | None = None,
        standardize: str | Callable[[Any], Any] | None = "lower_and_strip_punctuation",
        split: str | Callable[[Any], Any] | None = "whitespace",
        ngrams: int | tuple[int, ...] | None = None,
        output_mode: str = "int",
        output_sequence_length: int | None = None,
        pad_to_max_tokens: bool = False,
        vocabulary: Any = None,
        idf_weights: Any = None,
        sparse: bool = False,
        ragged: bool = False,
        encoding: str = "utf-8",
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(**kwargs)
        asked = "TextVectorization was made."
        refuse_sparse(sparse, "TextVectorization")
        refuse_sparse(ragged, "TextVectorization", "ragged")
        for argument, value, known in (("standardize", standardize, _STANDARDIZE), ("split", split, _SPLIT)):
            if value is not None and not callable(value) and value not in known:
                raise UnknownNameError.among(f"{argument} of TextVectorization", value, known)
        widths = range(1, ngrams + 1) if isinstance(ngrams, int) else tuple(ngrams or ())
        if ngrams is not None and (not widths or any(not isinstance(n, int) or n < 1 for n in widths)):
            because = "it is a positive integer, or several"
            raise InputError(asked, received=f"ngrams={ngrams!r}", because=because)
        length = output_sequence_length
        if length is not None and (isinstance(length, bool) or not isinstance(length, int) or length < 1):
            received = f"output_sequence_length={length!r}"
            raise InputError(asked, received=received, because="it is a positive integer, or None")
        if length is not None and output_mode != "int":
            received = f"output_sequence_length={length} with output_mode={output_mode!r}"
            raise InputError(asked, received=received, because="features have no length", do="Leave it out.")
        self.standardize = standardize
        self.split = split
        self.ngrams = ngrams
        self.output_sequence_length = length
        self.encoding = encoding
        self._widths = tuple(widths)
        self._lookup = StringLookup(
            max_tokens,
            mask_token="",
            vocabulary=vocabulary,
            idf_weights=idf_weights,
            output_mode=output_mode,
            pad_to_max_tokens=pad_to_max_tokens,
            encoding=encoding,
            name=self.name,
            dtype=kwargs.get("dtype"),
        )
        self.output_mode = self._lookup.output_mode

    # ---- the vocabulary, as in StringLookup ----------------------------------------------------------------------

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[str]:
        """As in ``StringLookup``."""
        return self._lookup.get_vocabulary(include_special_tokens)

    def vocabulary_size(self) -> int:
        """As in ``StringLookup``."""
        return self._lookup.vocabulary_size()

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """As in ``StringLookup``."""
        self._lookup.set_vocabulary(vocabulary, idf_weights)
        self._learned()

    def save_assets(self, dir_path: Any) -> None:
        """As in ``StringLookup``."""
        self._lookup.save_assets(dir_path)

    def load_assets(self, dir_path: Any) -> None:
        """As in ``StringLookup``."""
        self._lookup.load_assets(dir_path)

    # ---- learning ------------------------------------------------------------------------------------------------

    def adapt(self, data: Any, batch_size: int | None = None, steps: int | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Learn the vocabulary from texts: see ``Adapting.adapt`` for what data may be.

        Args:
            data: Texts, (texts,) or (texts, 1), or batches of them.
            batch_size: Of an array: how many texts to read at a time.
            steps: At most this many batches.
        """
        super().adapt(data, steps, batch_size=batch_size)

    def reset_state(self) -> None:
        """Forget what was counted since the last ``finalize_state``."""
        self._lookup.reset_state()

    def update_state(self, data: Any) -> None:
        """Count the tokens of one batch of texts."""
        self._lookup.count(self._documents(self.read(data)))

    def finalize_state(self) -> None:
        """Make the vocabulary of what was counted."""
        self._lookup.finalize_state()
        self._learned()

    def read(self, batch: Any) -> Array:
        """A batch as an array of strings."""
        return as_text(batch, self.encoding, f"{self._says} was given data.")

    # ---- texts to indices ----------------------------------------------------------------------------------------

    def on_host(self, inputs: Any) -> jax.Array:
        """The indices or features of texts."""
        texts = self.read(inputs)
        lookup, mode = self._lookup, self.output_mode
        documents = self._documents(texts)
        flat = lookup.indices_of([token for document in documents for token in document])
        lengths = [len(document) for document in documents]
        length = self.output_sequence_length or max(lengths, default=0)
        # A place where a text has ended: the mask's index, or one that counts nowhere.
        padded = np.full((len(documents), length), 0 if mode == "int" else -1, np.int64)
        at = 0
        for row, n in zip(padded, lengths, strict=True):
            row[:n] = flat[at : at + min(n, length)]
            at += n
        bare = self.split is None and not self._widths and mode == "int" and self.output_sequence_length is None
        if bare:
            padded = padded.reshape(texts.shape)
        elif texts.ndim == 0:
            padded = padded[0]
        elif mode == "one_hot" and length == 1:
            padded = padded[..., None]  # the axis of tokens is kept
        return lookup.encoded(padded)

    def _documents(self, texts: Array) -> list[list[str]]:
        """The tokens of each text."""
        made = self._standardized(texts)
        if self.split is None:
            if made.ndim > 2:
                raise self._rank(made, "(texts,) or (texts, tokens)")
            documents = made.reshape(-1, 1).tolist() if made.ndim < 2 else made.tolist()
        else:
            if made.ndim > 1 and made.shape[1:] != (1,):
                raise self._rank(made, "(texts,) or (texts, 1)")
            flat = made.reshape(-1)
            if callable(self.split):
                documents = [
                    as_text(tokens, self.encoding, f"{self._says} splits.").tolist()
                    for tokens in cast("Sequence[Any]", self.split(np.array(flat.tolist(), np.str_)))
                ]
            else:
                documents = list(map(_SPLIT[self.split], flat.tolist()))
        return [_ngrams(document, self._widths) for document in documents] if self._widths else documents

    def _standardized(self, texts: Array) -> Array:
        if self.standardize is None:
            return texts
        if callable(self.standardize):
            given = np.array(texts.tolist(), np.str_).reshape(texts.shape)
            return as_text(self.standardize(given), self.encoding, f"{self._says} standardizes.")
        table = _STANDARDIZE[self.standardize]
        flat = [text.translate(table) for text in texts.reshape(-1).tolist()]
        return np.array(flat, object).reshape(texts.shape)

    def _rank(self, texts: Array, wanted: str) -> ShapeError:
        return ShapeError(
            f"{self._says} was given texts.",
            received=f"shape {texts.shape}",
            because=f"with split={self.split!r} they have shape {wanted}",
            do="Pass one string a text.",
        )

    # ---- configuration -------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, with the vocabulary as it is now."""
        learned = self._lookup.get_config()
        said = {"standardize": self.standardize, "split": self.split, "ngrams": self.ngrams}  # Keras reads them
        return {**super().get_config(), **said, **{k: learned[k] for k in _LEARNED if k in learned}}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Any:
        """A new layer with the arguments and the vocabulary that ``get_config`` gave, Keras' or ours."""
        known = {k: v for k, v in config.items() if k != "vocabulary_size"}
        if isinstance(known.get("ngrams"), list):
            known["ngrams"] = tuple(known["ngrams"])
        if known.pop("has_input_vocabulary", True):
            return super().from_config(known)
        vocabulary, weights = known.pop("vocabulary"), known.pop("idf_weights", None)
        layer = super().from_config(known)
        layer.set_vocabulary(vocabulary, weights)
        return layer


_LEARNED = ("vocabulary", "idf_weights", "has_input_vocabulary")


def _ngrams(tokens: list[str], widths: Sequence[int]) -> list[str]:
    """The n-grams of each width, width by width."""
    return [" ".join(tokens[i : i + n]) for n in widths for i in range(len(tokens) - n + 1)]
