"""Datasets of files and of windows: what they hold, in which order, and that models and layers take them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image

import verax
from tests.oracle import oracle
from verax import layers
from verax.errors import DataError, InputError, ShapeError
from verax.utils import (
    RowDataset,
    image_dataset_from_directory,
    pack_x_y_sample_weight,
    split_dataset,
    text_dataset_from_directory,
    timeseries_dataset_from_array,
    unpack_x_y_sample_weight,
)

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Two classes, of 7 and 5 images, of which one lies deeper; and a file that is none."""
    root = tmp_path_factory.mktemp("images")
    for name, count in (("cats", 7), ("dogs", 5)):
        (root / name / "more").mkdir(parents=True)
        for i in range(count):
            folder = root / name / ("more" if i == 3 else "")
            array = RNG.integers(0, 255, (6 + i, 8, 3), dtype=np.uint8)
            Image.fromarray(array).save(folder / f"{i}.{'PNG' if i % 2 else 'bmp'}")
        (root / name / "notes.txt").write_text("none")
    (root / ".hidden").mkdir()
    return root


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    root = tmp_path_factory.mktemp("texts")
    for name, words in (("neg", "bad awful"), ("pos", "good fine")):
        (root / name).mkdir()
        for i in range(8):
            (root / name / f"{i}.txt").write_text(f"a {words.split()[i % 2]} film é", encoding="utf-8")
    return root


def all_of(dataset):
    return [np.concatenate(parts) for parts in zip(*dataset, strict=True)]


# ---- images ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("subset", [None, "training", "validation"])
def test_files_and_labels_are_those_of_keras(images, shuffle, subset):
    from keras.src.utils import dataset_utils

    with oracle():
        paths, labels, names = dataset_utils.index_directory(
            str(images), "inferred", (".bmp", ".png"), shuffle=shuffle, seed=3, verbose=False
        )
        if subset:
            paths, labels = dataset_utils.get_training_or_validation_split(paths, labels, 0.3, subset)
    split = {"validation_split": 0.3, "subset": subset} if subset else {}
    dataset = image_dataset_from_directory(
        images, shuffle=shuffle, seed=3, batch_size=5, image_size=(4, 5), verbose=False, **split
    )
    assert dataset.file_paths == paths
    assert dataset.class_names == names == ["cats", "dogs"]
    got = np.concatenate([dataset[i][1] for i in range(len(dataset))])
    assert got.dtype == np.int32
    assert got.tolist() == list(labels)


def test_images_are_resized_as_keras_does(images):
    dataset = image_dataset_from_directory(
        images, labels=None, image_size=(4, 5), shuffle=False, batch_size=4, verbose=False
    )
    assert len(dataset) == 3
    first = dataset[0]
    assert first.shape == (4, 4, 5, 3)
    assert first.dtype == np.float32
    with oracle() as keras:
        whole = np.asarray(Image.open(dataset.file_paths[1]), np.float32)
        expected = keras.ops.image.resize(whole, (4, 5))
        cropped = keras.ops.image.resize(whole, (4, 5), crop_to_aspect_ratio=True)
        padded = keras.ops.image.resize(whole, (4, 5), pad_to_aspect_ratio=True)
    np.testing.assert_allclose(first[1], expected, rtol=1e-5, atol=1e-3)
    for argument, wanted in (("crop_to_aspect_ratio", cropped), ("pad_to_aspect_ratio", padded)):
        dataset = image_dataset_from_directory(
            images, labels=None, image_size=(4, 5), shuffle=False, verbose=False, **{argument: True}
        )
        np.testing.assert_allclose(dataset[0][1], wanted, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(("color_mode", "channels"), [("rgb", 3), ("rgba", 4), ("grayscale", 1)])
def test_colors_and_formats(images, color_mode, channels):
    last, first = (
        image_dataset_from_directory(
            images, color_mode=color_mode, image_size=4, shuffle=False, verbose=False, data_format=data_format
        )
        for data_format in (None, "channels_first")
    )
    assert last[0][0].shape == (12, 4, 4, channels)
    np.testing.assert_array_equal(first[0][0], last[0][0].transpose(0, 3, 1, 2))


def test_label_modes(images):
    def labels(**arguments):
        dataset = image_dataset_from_directory(images, image_size=2, shuffle=False, verbose=False, **arguments)
        return dataset[0][1]

    numbers = [0] * 7 + [1] * 5
    assert labels().tolist() == numbers
    binary, categorical = labels(label_mode="binary"), labels(label_mode="categorical")
    assert binary.dtype == categorical.dtype == np.float32
    assert binary.tolist() == [[n] for n in numbers]
    assert categorical.tolist() == np.eye(2)[numbers].tolist()
    assert labels(class_names=["dogs", "cats"]).tolist() == [0] * 5 + [1] * 7
    assert labels(class_names=["dogs"]).tolist() == [0] * 5
    assert labels(labels=list(range(12))).tolist() == list(range(12))
    assert image_dataset_from_directory(images, label_mode=None, image_size=2, verbose=False)[0].shape == (12, 2, 2, 3)


def test_what_was_found_is_printed(images, capsys):
    image_dataset_from_directory(images, validation_split=0.25, subset="both", seed=1)
    assert capsys.readouterr().out.splitlines() == [
        "Found 12 files belonging to 2 classes.",
        "Using 9 files for training.",
        "Using 3 files for validation.",
    ]
    image_dataset_from_directory(images, labels=None)
    assert capsys.readouterr().out == "Found 12 files.\n"


def test_both_subsets_share_nothing_and_validation_keeps_its_order(images):
    train, validation = image_dataset_from_directory(
        images, validation_split=0.25, subset="both", seed=1, image_size=2, batch_size=2, verbose=False
    )
    assert not set(train.file_paths) & set(validation.file_paths)
    assert len(train.file_paths), len(validation.file_paths) == (9, 3)
    again = image_dataset_from_directory(
        images, validation_split=0.25, subset="validation", seed=1, image_size=2, batch_size=2, verbose=False
    )
    assert again.file_paths == validation.file_paths
    np.testing.assert_array_equal(all_of(validation)[0], all_of(validation)[0])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"validation_split": 0.5}, "Pass both"),
        ({"validation_split": 2.0, "subset": "both"}, "between 0 and 1"),
        ({"validation_split": 0.5, "subset": "training"}, "Pass the same seed"),
        ({"validation_split": 0.01, "subset": "validation", "seed": 1}, "the subset would be empty"),
        ({"subset": "test", "validation_split": 0.5}, "subset"),
        ({"label_mode": "ints"}, "label_mode"),
        ({"labels": [0, 1]}, "12 files were found"),
        ({"labels": "none"}, "labels are 'inferred', None"),
        ({"labels": None, "class_names": ["cats"]}, "Leave them out"),
        ({"class_names": ["birds"]}, "the directories are"),
        ({"class_names": ["cats"], "label_mode": "binary"}, "for two classes"),
        ({"labels": [5] * 12, "label_mode": "categorical"}, "Number the classes from 0"),
        ({"color_mode": "gray"}, "color_mode"),
        ({"image_size": (2,)}, "a height and a width"),
        ({"interpolation": "linear"}, "interpolation"),
        ({"crop_to_aspect_ratio": True, "pad_to_aspect_ratio": True}, "does away"),
        ({"batch_size": 0}, "positive integer"),
        ({"data_format": "first"}, "data_format"),
    ],
)
def test_wrong_arguments_are_refused(images, arguments, says):
    with pytest.raises(InputError, match=says):
        image_dataset_from_directory(images, **{"verbose": False, **arguments})


def test_a_directory_of_nothing_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"there is none of \.txt"):
        text_dataset_from_directory(tmp_path, labels=None, verbose=False)
    with pytest.raises(InputError, match="there is no such directory"):
        text_dataset_from_directory(tmp_path / "none")


def test_a_model_learns_from_a_directory_and_explains_it(images):
    verax.utils.set_random_seed(0)
    train, validation = image_dataset_from_directory(
        images, validation_split=0.25, subset="both", seed=1, image_size=3, batch_size=4, verbose=False
    )
    scale = layers.Normalization()
    scale.adapt(train)
    assert int(scale.count) == 9 * 9
    model = verax.Sequential([verax.Input((3, 3, 3)), scale, layers.Flatten(), layers.Dropout(0.5), layers.Dense(2)])
    model.compile("adam", verax.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    history = model.fit(train, validation_data=validation, epochs=2, verbose=0)
    gap = history.gap("loss")
    assert abs(gap.residual) < 1e-5
    assert "WEIGHTS_MOVED" in {link.cause.name for link in gap.links} or len(gap.links) > 2
    assert np.isfinite(model.evaluate(validation, verbose=0)).all()
    assert model.predict(validation.map(lambda x, y: x), verbose=0).shape == (3, 2)


# ---- texts -----------------------------------------------------------------------------------------------------------


def test_texts_are_read_cut_and_mapped(texts):
    dataset = text_dataset_from_directory(texts, shuffle=False, batch_size=3, verbose=False)
    x, y = all_of(dataset)
    assert x[:2].tolist() == ["a bad film é", "a awful film é"]
    assert y.tolist() == [0] * 8 + [1] * 8
    assert text_dataset_from_directory(texts, max_length=3, labels=None, shuffle=False, verbose=False)[0][0] == "a b"
    vectorize = layers.TextVectorization(output_mode="multi_hot")
    vectorize.adapt(dataset)
    assert vectorize.get_vocabulary()[:4] == ["[UNK]", "é", "film", "a"]
    vectorize.adapt(dataset.map(lambda x, y: x))
    numbers = dataset.map(lambda x, y: (vectorize(x), y))
    model = verax.Sequential([layers.Dense(2)])
    model.compile("adam", verax.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert len(model.fit(numbers, epochs=2, verbose=0).history["loss"]) == 2


# ---- rows ------------------------------------------------------------------------------------------------------------


def make(**arguments):
    return RowDataset(lambda rows: (rows * 10, -rows), 7, **{"batch_size": 3, **arguments})


def test_each_pass_is_in_a_new_order_that_the_seed_tells():
    one, two = make(shuffle=True, seed=4), make(shuffle=True, seed=4)
    passes = [all_of(one)[0].tolist() for _ in range(3)]
    assert len({tuple(p) for p in passes}) == 3
    assert all(sorted(p) == list(range(0, 70, 10)) for p in passes)
    assert [all_of(two)[0].tolist() for _ in range(3)] == passes
    assert [all_of(make(shuffle=True, seed=5))[0].tolist() for _ in range(3)] != passes
    assert one[0][0].tolist() == [0, 10, 20]  # by number, in the order of the rows
    fixed = make()
    assert all_of(fixed)[0].tolist() == all_of(fixed)[0].tolist() == list(range(0, 70, 10))


def test_x_and_y_stay_together():
    for x, y in make(shuffle=True):
        np.testing.assert_array_equal(x, -10 * y)


def test_the_global_seed_rules_a_dataset_without_its_own():
    def order():
        verax.utils.set_random_seed(1)
        return all_of(make(shuffle=True))[0].tolist()

    assert order() == order()


def test_rows_one_by_one_can_be_batched():
    single = make(batch_size=None)
    assert len(single) == 7
    x, y = single[2]
    assert (int(x), int(y)) == (20, -2)
    with pytest.raises(IndexError):
        single[7]
    assert [len(x) for x, _ in single.batch(4)] == [4, 3]
    with pytest.raises(InputError, match="it is batched already"):
        make().batch(2)
    with pytest.raises(InputError, match="Call batch before map"):
        single.map(lambda x, y: x).batch(2)


def test_fit_shuffles_rows_not_batches():
    met: list[list[int]] = []

    def read(rows):
        met.append(rows.tolist())
        return rows[:, None].astype("float32"), rows.astype("float32")

    model = verax.Sequential([verax.Input((1,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(RowDataset(read, 8, batch_size=4, shuffle=True, seed=0), epochs=3, verbose=0, explain="off")
    batches = [sorted(rows) for rows in met]
    assert any(batch not in ([0, 1, 2, 3], [4, 5, 6, 7]) for batch in batches)
    met.clear()
    model.fit(RowDataset(read, 8, batch_size=4), epochs=2, verbose=0, explain="off")
    assert all(rows in ([0, 1, 2, 3], [4, 5, 6, 7]) for rows in met)


# ---- windows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "stride", "rate", "start", "end"),
    list(itertools.product([1, 4], [1, 3], [1, 2], [None, 5], [None, 18])),
)
def test_windows_are_those_of_the_definition(length, stride, rate, start, end):
    data, targets = RNG.normal(size=(20, 2)), np.arange(20)
    dataset = timeseries_dataset_from_array(data, targets, length, stride, rate, 4, start_index=start, end_index=end)
    x, y = all_of(dataset)
    low, high = start or 0, end or 20
    begins = [s for s in range(low, high, stride) if s + (length - 1) * rate < high]
    assert y.tolist() == begins
    np.testing.assert_array_equal(x, [data[s : s + (length - 1) * rate + 1 : rate] for s in begins])


def test_windows_may_come_alone_shuffled_and_one_by_one():
    data = np.arange(10)
    alone = timeseries_dataset_from_array(data, None, 3, batch_size=None, shuffle=True, seed=1)
    assert len(alone) == 8
    got = [x.tolist() for x in alone]
    assert sorted(got) == [[i, i + 1, i + 2] for i in range(8)]
    assert got != sorted(got)
    short = timeseries_dataset_from_array(data, data[:3], 3)
    assert short[0][1].tolist() == [0, 1, 2]
    for arguments, says in (
        ({"sequence_length": 11}, "sequence_length=11"),
        ({"sequence_length": 6, "sampling_rate": 3}, "reaches over 16 steps"),
        ({"sequence_length": 2, "sequence_stride": 0}, "sequence_stride=0"),
        ({"sequence_length": 2, "start_index": 5, "end_index": 5}, "start_index < end_index"),
    ):
        with pytest.raises(InputError, match=says):
            timeseries_dataset_from_array(data, None, **arguments)


# ---- parts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [((0.8, None), (8, 2)), ((None, 3), (7, 3)), ((2, 0.3), (2, 3)), ((0.25, 0.5), (2, 5)), ((0.55, None), (6, 4))],
)
def test_split_dataset_cuts_as_keras(sizes, expected):
    left, right = split_dataset(np.arange(10), *sizes)
    assert (len(left), len(right)) == expected
    assert [int(x) for x in left] == list(range(10))[: expected[0]]
    assert [int(x) for x in right] == list(range(10))[10 - expected[1] :]


def test_split_dataset_takes_many_kinds():
    x, y = np.arange(10), np.arange(10) * 2
    left, right = split_dataset((x, y), 0.5, shuffle=True, seed=3)
    got = [(int(a), int(b)) for a, b in [*left, *right]]
    assert sorted(got) == [(i, 2 * i) for i in range(10)] != got

    class Samples:
        def __len__(self):
            return 4

        def __getitem__(self, i):
            return np.full(2, i), i

    left, right = split_dataset(Samples(), left_size=3)
    assert right[0][0].tolist() == [3, 3]
    assert left.batch(3)[0][1].tolist() == [0, 1, 2]
    left, right = split_dataset(make(), 0.6)
    assert [x.tolist() for x, _ in left] == [[0, 10, 20], [30]]
    assert [x.tolist() for x, _ in right] == [[40, 50, 60]]


@pytest.mark.parametrize(
    ("data", "arguments", "says"),
    [
        (np.arange(4), {}, "one of the two is needed"),
        (np.arange(4), {"left_size": 4}, "below 4"),
        (np.arange(4), {"left_size": 1.0}, "below 4"),
        (np.arange(4), {"left_size": 3, "right_size": 2}, "overlap"),
        (np.arange(4), {"left_size": 0.01}, "a part would be empty"),
        (iter([1]), {"left_size": 1}, "asked for by number"),
    ],
)
def test_split_dataset_refuses(data, arguments, says):
    with pytest.raises(InputError, match=says):
        split_dataset(data, **arguments)


def test_split_dataset_refuses_arrays_of_unequal_length():
    with pytest.raises(ShapeError, match="row i of one"):
        split_dataset((np.arange(3), np.arange(4)), 0.5)


# ---- packing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [(1,), (1, 2), (1, 2, 3), ([1, 2],), (1, None, 3)])
def test_packing_is_that_of_keras(given):
    with oracle() as keras:
        packed = keras.utils.pack_x_y_sample_weight(*given)
        assert pack_x_y_sample_weight(*given) == packed
        assert unpack_x_y_sample_weight(packed) == keras.utils.unpack_x_y_sample_weight(packed)


def test_four_parts_are_refused():
    with pytest.raises(InputError, match="a tuple of 4"):
        unpack_x_y_sample_weight((1, 2, 3, 4))
