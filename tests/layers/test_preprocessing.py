"""Normalization, bins and encodings against Keras; what adapt reads; what layers of text refuse and where they work."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import verax
from tests.oracle import oracle
from verax import layers
from verax.errors import DataError, InputError, ShapeError, StateError, UnknownNameError


def both(name: str, *args, **kwargs):
    with oracle() as keras:
        theirs = getattr(keras.layers, name)(*args, **kwargs)
    return getattr(layers, name)(*args, **kwargs), theirs


def close(ours, theirs):
    assert ours.shape == tuple(theirs.shape)
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=2e-6, atol=2e-6)


# ---- Normalization ---------------------------------------------------------------------------------------------------


def test_weights_of_a_normalization_that_are_set_take_effect():
    layer = layers.Normalization()
    layer.build((None, 2))
    layer.set_weights([np.float32([1, 2]), np.float32([4, 9]), np.int32(0)])
    np.testing.assert_allclose(layer(np.float32([[3, 8]])), [[1, 2]], rtol=1e-6)


X = np.random.default_rng(0).normal(3.0, 2.0, (6, 4, 3)).astype("float32")


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("axis", [-1, None, 1, (1, 2), (-1, -2), (1,), ()])
def test_normalization_adapts_as_in_keras(axis, invert):
    ours, theirs = both("Normalization", axis=axis, invert=invert)
    ours.adapt(X)
    with oracle():
        theirs.adapt(X)
        expected = theirs(X)
    close(ours(X), expected)
    close(ours.mean, theirs.mean)
    close(ours.variance, theirs.variance)
    assert [w.name for w in ours.weights] == [w.name for w in theirs.weights] == ["mean", "variance", "count"]
    assert int(ours.count) == X.size // max(ours.adapt_mean.size, 1)


@pytest.mark.parametrize(
    ("axis", "mean", "variance"),
    [
        (-1, 3.0, 2.0),
        (-1, [1.0, 2.0, 3.0], [1.0, 4.0, 0.0]),
        (None, 3.0, 2.0),
        ((1, 2), [1.0, 2.0, 3.0], [1.0, 4.0, 9.0]),
    ],
)
def test_normalization_takes_statistics_as_in_keras(axis, mean, variance):
    ours, theirs = both("Normalization", axis=axis, mean=mean, variance=variance)
    with oracle():
        expected = theirs(X)
    close(ours(X), expected)
    assert ours.weights == []
    again = layers.Normalization.from_config(json.loads(json.dumps(theirs.get_config())))
    close(again(X), expected)


def test_normalization_adapts_to_batches_as_to_the_whole():
    whole, batches = layers.Normalization(), layers.Normalization()
    whole.adapt(X)
    batches.adapt([X[:1], X[1:4], X[4:]])
    np.testing.assert_allclose(batches.mean, whole.mean, rtol=1e-6)
    np.testing.assert_allclose(batches.variance, whole.variance, rtol=1e-6)
    whole.adapt(X, batch_size=4)
    np.testing.assert_allclose(batches.variance, whole.variance, rtol=1e-6)


def test_normalization_sums_in_float64():
    # Of 2^24 + 1 no float32 knows; numbers far from 0 leave no digit of the variance to a float32 sum of squares.
    x = np.array([[1e4 + 0.25 * (i % 3)] for i in range(3000)])
    layer = layers.Normalization()
    layer.adapt(x[i : i + 7] for i in range(0, 3000, 7))
    np.testing.assert_allclose(layer.variance, x.var(), rtol=1e-6)


def test_normalization_in_16_bits_is_that_of_32_rounded():
    x = np.array([[1000.0], [1001.0], [1003.0]])
    short, wide = layers.Normalization(dtype="mixed_bfloat16"), layers.Normalization()
    short.adapt(x)
    wide.adapt(x)
    assert short(x).dtype == jnp.bfloat16
    np.testing.assert_array_equal(short(x), wide(x).astype("bfloat16"))


def test_normalization_in_a_model_follows_adapt_without_a_new_program():
    layer = layers.Normalization()
    model = verax.Sequential([verax.Input((2,)), layer])
    x = np.array([[0.0, 10.0], [4.0, 30.0]])
    np.testing.assert_array_equal(model.predict(x, verbose=0), x)
    layer.adapt(x)
    np.testing.assert_allclose(model.predict(x, verbose=0), [[-1, -1], [1, 1]], rtol=1e-6)


def test_one_mean_of_a_vector_serves_its_columns():
    power = np.array([1.0, 3.0, 5.0])
    layer = layers.Normalization(input_shape=(1,), axis=None)
    layer.adapt(power)
    model = verax.Sequential([layer, layers.Dense(1)])
    assert model.predict(power, verbose=0).shape == (3, 1)
    np.testing.assert_allclose(layer(power[:, None])[:, 0], (power - 3) / power.std(), rtol=1e-6)


def test_normalization_refuses():
    with pytest.raises(InputError, match="one is of no use without the other"):
        layers.Normalization(mean=1.0)
    with pytest.raises(ShapeError, match="both have the sizes"):
        layers.Normalization(mean=[1.0, 2.0], variance=[1.0])
    with pytest.raises(InputError, match="Make it without them"):
        layers.Normalization(mean=1.0, variance=1.0).adapt(X)
    with pytest.raises(DataError, match="NaN in row 1 of a batch"):
        layers.Normalization().adapt(np.array([[1.0], [np.nan]]))
    with pytest.raises(ShapeError, match="a size along it is not known"):
        layers.Normalization(axis=1)(layers.Input((None, 3)))
    with pytest.raises(ShapeError, match="an input has 2 axes"):
        layers.Normalization(axis=2).adapt(X[0])
    layer = layers.Normalization()
    layer.adapt(X)
    before = layer.get_weights()
    with pytest.raises(ShapeError, match="have the sizes"):
        layer.adapt(X[:, :, :2])
    for a, b in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


# ---- CategoryEncoding, Discretization --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["one_hot", "multi_hot", "count"])
@pytest.mark.parametrize("x", [[0, 3, 1], [[0, 3], [1, 1]], [[2], [0]], [[0, 9], [-1, 1]]], ids=str)
def test_category_encoding_is_that_of_keras(mode, x):
    ours, theirs = both("CategoryEncoding", num_tokens=4, output_mode=mode)
    x = np.array(x)
    with oracle():
        expected = theirs(x)
    close(ours(x), expected)
    assert ours.compute_output_shape(x.shape) == theirs.compute_output_shape(x.shape)


def test_category_encoding_weighs_counts_as_keras():
    ours, theirs = both("CategoryEncoding", num_tokens=4, output_mode="count")
    x, w = np.array([[0, 3], [1, 1]]), np.array([[0.1, 0.2], [0.3, 0.5]], "float32")
    with oracle():
        expected = theirs(x, count_weights=w)
    close(ours(x, count_weights=w), expected)
    gradient = jax.grad(lambda w: jnp.sum(layers.CategoryEncoding(4, "count")(x, count_weights=w) ** 2))(jnp.asarray(w))
    np.testing.assert_allclose(gradient, [[0.2, 0.4], [1.6, 1.6]], rtol=1e-6)


def test_category_encoding_of_more_axes_is_along_the_last():
    x = np.random.default_rng(0).integers(0, 5, (2, 3, 4))
    hot = np.eye(5)[x]
    for mode, expected in (("count", hot.sum(axis=-2)), ("multi_hot", hot.max(axis=-2)), ("one_hot", hot)):
        np.testing.assert_array_equal(layers.CategoryEncoding(5, mode)(x), expected)


def test_category_encoding_refuses():
    with pytest.raises(InputError, match="positive integer"):
        layers.CategoryEncoding()
    with pytest.raises(UnknownNameError, match="multi_hot"):
        layers.CategoryEncoding(3, output_mode="multihot")
    with pytest.raises(InputError, match="dense arrays"):
        layers.CategoryEncoding(3, sparse=True)
    with pytest.raises(InputError, match="only output_mode='count' adds weights up"):
        layers.CategoryEncoding(3)(np.array([[1]]), count_weights=np.ones((1, 1)))
    with pytest.raises(InputError, match="each value has a weight"):
        layers.CategoryEncoding(3, "count")(np.array([[1, 2]]), count_weights=np.ones((1, 1)))


@pytest.mark.parametrize("mode", ["int", "one_hot", "multi_hot", "count"])
@pytest.mark.parametrize("x", [[-1.5, 1.0, 3.4, 0.5], [[-1.5, 1.0], [0.0, 0.99]], [[7], [-7]]], ids=str)
def test_discretization_is_that_of_keras(mode, x):
    ours, theirs = both("Discretization", bin_boundaries=[0.0, 1.0, 2.0], output_mode=mode)
    x = np.array(x, "float32" if isinstance(x[0], float) or len(x[0]) > 1 else "int32")
    with oracle():
        expected = theirs(x)
    close(ours(x), expected)
    assert ours(x).dtype == expected.dtype
    again = layers.Discretization.from_config(json.loads(json.dumps(theirs.get_config())))
    close(again(x), expected)


def test_discretization_in_16_bits_reads_32():
    layer = layers.Discretization([1000.5, 1001.5], dtype="mixed_bfloat16")
    assert layer(np.array([1000.0, 1001.0, 1002.0])).tolist() == [0, 1, 2]
    assert layers.Discretization([0.0], output_mode="one_hot", dtype="mixed_bfloat16")(np.ones(2)).dtype == jnp.bfloat16


def test_discretization_refuses():
    with pytest.raises(InputError, match="Pass one of the two"):
        layers.Discretization()
    with pytest.raises(InputError, match="ascending"):
        layers.Discretization([1.0, 0.0])
    with pytest.raises(InputError, match="its bins were given"):
        layers.Discretization([1.0]).adapt(X)
    with pytest.raises(StateError, match="adapt"):
        layers.Discretization(num_bins=3)(X)
    with pytest.raises(DataError, match="NaN"):
        layers.Discretization(num_bins=3).adapt([1.0, np.nan])


@pytest.mark.parametrize(
    ("make", "first", "second", "x", "before", "after"),
    [
        (lambda: layers.Discretization(num_bins=2), [1.0, 2.0], [5.0, 6.0], [[1.5]], 1, 0),
        (lambda: layers.IntegerLookup(), [7, 7, 8], [8, 8, 7], [[8]], 2, 1),
    ],
    ids=["Discretization", "IntegerLookup"],
)
def test_a_compiled_model_sees_what_its_layer_learns(make, first, second, x, before, after):
    layer = make()
    layer.adapt(first)
    x = np.array(x)
    model = verax.Sequential([verax.Input((1,), dtype=x.dtype.name.replace("64", "32")), layer])
    assert model.predict(x, verbose=0).tolist() == [[before]]
    layer.adapt(second)
    assert model.predict(x, verbose=0).tolist() == [[after]]


# ---- what adapt reads ------------------------------------------------------------------------------------------------


class Batches(verax.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return np.array([["a", "b"], ["c", "b"]][index]), np.zeros(2)


class Endless(Batches):
    num_batches = None  # pyright: ignore[reportAssignmentType]


@pytest.mark.parametrize(
    "data",
    [
        ["a", "b", "c", "b"],
        [["a", "b"], ["c", "b"]],
        np.array(["a", "b", "c", "b"]),
        np.array([b"a", b"b", b"c", b"b"]),
        np.array(["a", "b", "c", "b"], object),
        pd.Series(["a", "b", "c", "b"]),
        [np.array(["a", "b"]), np.array(["c", "b"])],
        (np.array(["a", "b"]), np.array(["c", "b"])),
        Batches(),
    ],
    ids=lambda data: type(data).__name__,
)
def test_adapt_reads(data):
    lookup, text = layers.StringLookup(), layers.TextVectorization()
    lookup.adapt(data)
    assert lookup.get_vocabulary() == ["[UNK]", "b", "c", "a"]
    if np.ndim(data) < 2 or isinstance(data, (tuple, Batches)) or isinstance(data[0], np.ndarray):
        text.adapt(data)
        assert text.get_vocabulary(include_special_tokens=False) == ["b", "c", "a"]


def test_adapt_reads_generators_and_so_many_steps():
    layer = layers.StringLookup()
    layer.adapt(batch for batch in [["a"], ["b", "b"]])
    assert layer.get_vocabulary(False) == ["b", "a"]
    layer.adapt(Endless(), steps=2)
    assert layer.get_vocabulary(False) == ["b", "c", "a"]
    layer.adapt(["x", "x", "y", "z"], 1, batch_size=3)
    assert layer.get_vocabulary(False) == ["x", "y"]
    text = layers.TextVectorization()
    text.adapt(["x y", "z"], batch_size=1, steps=1)
    assert text.get_vocabulary(False) == ["y", "x"]


@pytest.mark.parametrize(
    ("data", "arguments", "says"),
    [
        (Endless(), {}, "it has no end"),
        (["a"], {"steps": 1}, "Pass batch_size too"),
        (iter([["a"]]), {"batch_size": 1}, "its batches are made already"),
        (["a"], {"batch_size": 0}, "positive integer"),
        ("a text", {}, "neither an array nor batches"),
        ({"a": ["a"]}, {}, "neither an array nor batches"),
        (iter([{"a": ["a"]}]), {}, "Pick one"),
        (iter([]), {}, "no batch"),
        ([], {}, "no batch"),
        ([1, 2], {}, "it is not text"),
        ([["a"], ["b", "c"]], {}, "unequal length"),
        ([b"\xff"], {}, "it is no utf-8"),
    ],
)
def test_adapt_refuses(data, arguments, says):
    layer = layers.StringLookup()
    layer.adapt(["kept"])
    with pytest.raises(InputError, match=says):
        layer.adapt(data, **arguments)
    assert layer.get_vocabulary(False) == ["kept"]


# ---- vocabularies ----------------------------------------------------------------------------------------------------


def test_a_vocabulary_is_read_from_a_file(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("a\nb\nc\n")
    assert layers.StringLookup(vocabulary=str(path)).get_vocabulary() == ["[UNK]", "a", "b", "c"]
    assert layers.TextVectorization(vocabulary=path)(["c a"]).tolist() == [[4, 2]]
    path.write_text("12\n36")
    assert layers.IntegerLookup(vocabulary=str(path))([36, 7]).tolist() == [2, 0]
    with pytest.raises(InputError, match="there is no such file"):
        layers.StringLookup(vocabulary=str(tmp_path / "none.txt"))


def test_assets_are_those_of_keras(tmp_path):
    layer = layers.TextVectorization()
    layer.adapt(["b a b"])
    layer.save_assets(tmp_path)
    assert (tmp_path / "vocabulary.txt").read_text() == "\n[UNK]\nb\na"
    again = layers.TextVectorization()
    again.load_assets(tmp_path)
    assert again.get_vocabulary() == layer.get_vocabulary()


def test_set_vocabulary_may_be_called_again_and_leaves_adapt_free():
    layer = layers.StringLookup()
    layer.set_vocabulary(["a"])
    layer.set_vocabulary(["[UNK]", "b"])
    assert layer(["b", "a"]).tolist() == [1, 0]
    layer.adapt(["c"])
    assert layer(["b", "c"]).tolist() == [0, 1]
    with pytest.raises(InputError, match="Make it without vocabulary"):
        layers.StringLookup(vocabulary=["a"]).adapt(["b"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"max_tokens": 1}, "more than one token"),
        ({"num_oov_indices": -1}, "out of the vocabulary"),
        ({"pad_to_max_tokens": True}, "Pass max_tokens"),
        ({"invert": True, "output_mode": "count"}, "nothing is encoded"),
        ({"output_mode": "sum"}, "output_mode of StringLookup"),
        ({"vocabulary": ["a", "b", "a"]}, "'a' more than once"),
        ({"vocabulary": []}, "no token"),
        ({"vocabulary": ["a", ""], "mask_token": ""}, "the mask_token, among the tokens"),
        ({"vocabulary": ["a", "[UNK]"], "invert": True}, "the oov_token, among the tokens"),
        ({"vocabulary": ["a", "b"], "max_tokens": 2}, "3 tokens, special ones included"),
        ({"vocabulary": ["a"], "output_mode": "tf_idf"}, "one weight a token"),
        ({"vocabulary": ["a"], "idf_weights": [1.0]}, "Pass output_mode='tf_idf'"),
        ({"vocabulary": ["a"], "idf_weights": [1.0, 2.0], "output_mode": "tf_idf"}, "each token has a weight"),
        ({"salt": "x"}, "a salt is an integer"),
        ({"sparse": True}, "dense arrays"),
    ],
)
def test_a_lookup_refuses(arguments, says):
    with pytest.raises(InputError, match=says.replace("[", r"\[")):
        layers.StringLookup(**arguments)


def test_a_lookup_without_a_vocabulary_says_so():
    for layer, x in (
        (layers.StringLookup(), ["a"]),
        (layers.IntegerLookup(), [1]),
        (layers.TextVectorization(), ["a"]),
    ):
        with pytest.raises(StateError, match=r"Call layer.adapt\(data\) first"):
            layer(x)
    with pytest.raises(DataError, match=r"'q' \(not in the vocabulary\)"):
        layers.StringLookup(vocabulary=["a"], num_oov_indices=0)(["a", "q"])
    with pytest.raises(InputError, match="StringLookup, TextVectorization and Hashing take text"):
        layers.IntegerLookup(vocabulary=[1])(["a"])
    with pytest.raises(ShapeError, match="unequal length"):
        layers.IntegerLookup(vocabulary=[1])([1, [2]])
    with pytest.raises(InputError, match="it holds no numbers"):
        layers.StringLookup(vocabulary=["a"], invert=True)(["a"])
    with pytest.raises(InputError, match="it holds no numbers"):
        layers.Normalization().adapt([["a"]])
    with pytest.raises(UnknownNameError, match="farmhash"):
        layers.IntegerLookup(oov_method="farm")
    with pytest.raises(InputError, match="oov_method='farmhash'"):
        layers.IntegerLookup(salt=1)


def test_features_are_of_the_compute_dtype():
    assert (
        layers.StringLookup(vocabulary=["a"], output_mode="count", dtype="mixed_bfloat16")(["a"]).dtype == jnp.bfloat16
    )
    assert layers.Hashing(3, output_mode="one_hot")(["a"]).dtype == jnp.float32
    assert layers.Hashing(3, dtype="int64")(["a"]).dtype == jnp.int32
    with pytest.raises(InputError, match="returns whole numbers"):
        layers.Hashing(3, dtype="float32")


# ---- TextVectorization -----------------------------------------------------------------------------------------------


def test_functions_standardize_and_split_arrays_of_strings():
    layer = layers.TextVectorization(
        standardize=lambda texts: np.char.replace(np.char.lower(texts), "é", "e"),
        split=lambda texts: [text.split("-") for text in texts],
    )
    layer.adapt(["É-b", "E"])
    assert layer.get_vocabulary(False) == ["e", "b"]
    assert layer(["B-é-x"]).tolist() == [[3, 2, 1]]


def test_a_vector_that_is_not_split_is_a_document_a_string():
    texts = ["a b", "c", "c"]
    counts = layers.TextVectorization(split=None, output_mode="count")
    counts.adapt(texts)
    np.testing.assert_array_equal(counts(texts), [[0, 0, 1], [0, 1, 0], [0, 1, 0]])
    cut = layers.TextVectorization(split=None, output_sequence_length=2)
    cut.adapt(texts)
    assert cut(texts).tolist() == [[3, 0], [2, 0], [2, 0]]


def test_one_hot_texts_end_in_zeros():
    layer = layers.TextVectorization(output_mode="one_hot", vocabulary=["a", "b"])
    assert layer(["a b", "q"]).tolist() == [[[0, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 0, 0]]]
    assert layer(["a", "q"]).shape == (2, 1, 3)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"standardize": "upper"}, "standardize of TextVectorization"),
        ({"split": "word"}, "split of TextVectorization"),
        ({"ngrams": 0}, "positive integer, or several"),
        ({"output_sequence_length": 0}, "positive integer, or None"),
        ({"output_sequence_length": 3, "output_mode": "count"}, "features have no length"),
        ({"ragged": True}, "ragged=True"),
    ],
)
def test_text_vectorization_refuses(arguments, says):
    with pytest.raises(InputError, match=says):
        layers.TextVectorization(**arguments)


def test_text_of_other_shapes_is_refused():
    with pytest.raises(ShapeError, match="Pass one string a text"):
        layers.TextVectorization().adapt(np.array([["a", "b"]]))
    with pytest.raises(ShapeError, match=r"\(texts,\) or \(texts, tokens\)"):
        layers.TextVectorization(split=None).adapt(np.array([[["a", "b"]]]))


def test_text_and_models_meet_outside_of_the_model():
    """As in Keras on JAX; each way in says what to do."""
    texts, y = np.array(["a b", "b"]), np.zeros(2)
    layer = layers.TextVectorization(vocabulary=["a", "b"])
    model = verax.Sequential([layer, layers.Embedding(4, 2), layers.Flatten(), layers.Dense(1)])
    model.compile("sgd", "mse")
    for given in (texts, texts.astype(object), texts.tolist()):
        with pytest.raises(InputError, match=r"TextVectorization\(...\)\(texts\)"):
            model.fit(given, y, verbose=0)
    with pytest.raises(InputError, match=r"x = layer\(texts\), and declare what the layer returns"):
        layers.Input((1,), dtype="string")
    with pytest.raises(StateError, match=r"x = layer\(texts\), and give x to the model"):
        layer(layers.Input((1,), dtype="int32"))
    rest = verax.Sequential(model.layers[1:])
    rest.compile("sgd", "mse")
    rest.fit(layer(texts), y, verbose=0)
    assert rest.predict(layer(texts), verbose=0).shape == (2, 1)


# ---- hashing ---------------------------------------------------------------------------------------------------------


def test_hashing_trains_inside_a_model():
    verax.utils.set_random_seed(0)
    x, y = np.arange(64).reshape(-1, 1), np.arange(64) % 2
    model = verax.Sequential(
        [verax.Input((1,), dtype="int32"), layers.Hashing(8), layers.Embedding(8, 2), layers.Flatten(), layers.Dense(1)]
    )
    model.compile("adam", "mse")
    history = model.fit(x, y, epochs=2, verbose=0)
    assert history.history["loss"][1] < history.history["loss"][0]


def test_crossing_inside_a_model():
    a, b = verax.Input((1,), dtype="int32"), verax.Input((1,), dtype="int32")
    layer = layers.HashedCrossing(1000)
    model = verax.Model([a, b], layer([a, b]))
    columns = [np.array([[1], [2], [-3]]), np.full((3, 1), 101)]
    assert model.predict(columns, verbose=0).tolist() == layer(columns).tolist() == [[870], [838], [721]]


def test_hashing_refuses():
    with pytest.raises(InputError, match="positive integer"):
        layers.Hashing(0)
    with pytest.raises(InputError, match="Pass a list of columns"):
        layers.HashedCrossing(3)(np.array(["a"]))
    with pytest.raises(ShapeError, match="columns have one shape"):
        layers.HashedCrossing(3)([np.array(["a"]), np.array(["a", "b"])])
    with pytest.raises(InputError, match="text or whole numbers"):
        layers.HashedCrossing(3)([np.array(["a"]), np.array([0.5])])


def test_numbers_for_each_channel_stand_at_the_channels():
    x = np.arange(24.0, dtype="float32").reshape(1, 3, 2, 4)
    scale = [1.0, 10.0, 100.0]
    with oracle() as keras:
        keras.config.set_image_data_format("channels_first")
        try:
            expected = keras.layers.Rescaling(scale, offset=0.5)(x)
        finally:
            keras.config.set_image_data_format("channels_last")
    verax.config.set_image_data_format("channels_first")
    layer = layers.Rescaling(scale, offset=0.5)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-6)
    moved = layers.Rescaling(scale, offset=scale)(x)  # Keras adds the offsets along the last axis
    np.testing.assert_allclose(moved, x * np.reshape(scale, (3, 1, 1)) + np.reshape(scale, (3, 1, 1)), rtol=1e-6)
