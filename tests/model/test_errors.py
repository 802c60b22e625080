"""Bad input is refused before anything is computed: the message says what and why, and no weight changes."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import verax
from tests.model.twins import rows
from verax import layers
from verax.engine.step import Carry, Pass, train_step
from verax.errors import (
    DataError,
    DtypeError,
    FrozenError,
    GraphError,
    InputError,
    NotBuiltError,
    NotCompiledError,
    ShapeError,
    StateError,
    UnknownNameError,
    VeraxWarning,
)
from verax.frame.mode import Mode, ModeMap

X, Y = rows(12), rows(12, 1)
LABELS = np.arange(12) % 3


def regression(**compiled):
    model = verax.Sequential(
        [verax.Input((4,)), layers.Dense(3, name="first"), layers.Dense(1, name="last")], name="reg"
    )
    model.compile(**{"optimizer": "sgd", "loss": "mse", **compiled})
    return model


def classifier():
    model = verax.Sequential([verax.Input((4,)), layers.Dense(3, activation="softmax", name="kind")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


@pytest.fixture(scope="module")
def models():
    return {"regression": regression(), "classifier": classifier(), "no loss": regression(loss=None)}


class Unending(verax.utils.PyDataset):
    num_batches = None

    def __getitem__(self, i):
        return X[:4], Y[:4]


def generator(x=X, y=Y):
    yield from ((x[i : i + 4], y[i : i + 4]) for i in range(0, len(x), 4))


NAN = X.copy()
NAN[7, 2] = np.nan

# model, arguments of fit, error, what the message says
REFUSED = {
    "wrong rank": ("regression", {"x": X[..., None], "y": Y}, ShapeError, [r"\(None, 4, 1\)", r"\(None, 4\)"]),
    "wrong feature count": ("regression", {"x": rows(12, 5), "y": Y}, ShapeError, [r"\(None, 5\)", r"\(None, 4\)"]),
    "two inputs for one": ("regression", {"x": [X, X], "y": Y}, ShapeError, ["2 inputs", "it has 1"]),
    "rows of rows": (
        "regression",
        {"x": rows(12, 8).reshape(12, 2, 4), "y": Y},
        ShapeError,
        [r"\(None, 2, 4\)", r"\(None, 4\)"],
    ),
    "target of another shape": ("regression", {"x": X, "y": rows(12, 2)}, ShapeError, [r"\(12, 2\)", r"1\)"]),
    "two targets for one": ("regression", {"x": X, "y": [Y, Y]}, ShapeError, ["2 targets", "are 1"]),
    "label too large": ("classifier", {"x": X, "y": LABELS + 1}, DataError, ["3", "row 2"]),
    "label negative": ("classifier", {"x": X, "y": LABELS - 1}, DataError, ["-1", "row 0"]),
    "label not whole": ("classifier", {"x": X, "y": LABELS + 0.5}, DataError, ["0.5"]),
    "one-hot for sparse": ("classifier", {"x": X, "y": np.eye(3)[LABELS]}, ShapeError, [r"\(12, 3\)"]),
    "y shorter": ("regression", {"x": X, "y": Y[:7]}, DataError, ["12", "7"]),
    "weights shorter": ("regression", {"x": X, "y": Y, "sample_weight": np.ones(3)}, DataError, ["12", "3"]),
    "weights for cells": (
        "regression",
        {"x": X, "y": Y[:, 0], "sample_weight": np.ones((12, 2))},
        ShapeError,
        ["sample_weight"],
    ),
    "no rows": ("regression", {"x": X[:0], "y": Y[:0]}, DataError, ["empty"]),
    "no x": ("regression", {"x": None, "y": Y}, DtypeError, ["training rows"]),
    "no y": ("regression", {"x": X}, DataError, ["no targets", "Pass y"]),
    "text": ("regression", {"x": np.array(["a"] * 12), "y": Y}, DtypeError, ["x"]),
    "NaN in x": ("regression", {"x": NAN, "y": Y, "check_finite": True}, DataError, ["nan", "row 7"]),
    "inf in y": ("regression", {"x": X, "y": np.where(Y > 0, Y, np.inf), "check_finite": True}, DataError, ["y"]),
    "split of a generator": (
        "regression",
        {"x": "generator", "validation_split": 0.2},
        InputError,
        ["validation_split"],
    ),
    "split of everything": ("regression", {"x": X, "y": Y, "validation_split": 1.0}, InputError, ["validation_split"]),
    "y beside a generator": ("regression", {"x": "generator", "y": Y}, InputError, ["generator", "Leave y out"]),
    "batch size beside a generator": ("regression", {"x": "generator", "batch_size": 3}, InputError, ["batch_size=3"]),
    "no batch": ("regression", {"x": "empty"}, DataError, ["no batch"]),
    "endless sequence": ("regression", {"x": Unending()}, InputError, ["steps_per_epoch"]),
    "four in validation_data": (
        "regression",
        {"x": X, "y": Y, "validation_data": (X, Y, Y, Y)},
        InputError,
        ["validation_data", "4"],
    ),
    "validation of another shape": (
        "regression",
        {"x": X, "y": Y, "validation_data": (rows(6, 5), Y[:6])},
        ShapeError,
        ["5", "4"],
    ),
    "validation shorter": ("regression", {"x": X, "y": Y, "validation_data": (X, Y[:5])}, DataError, ["12", "5"]),
    "validation label": ("classifier", {"x": X, "y": LABELS, "validation_data": (X, LABELS + 5)}, DataError, ["7"]),
    "validation without y": ("regression", {"x": X, "y": Y, "validation_data": X}, DataError, ["no targets"]),
    "misspelt mode": ("regression", {"x": X, "y": Y, "mode": "training"}, UnknownNameError, ["'train'"]),
    "misspelt mode path": ("regression", {"x": X, "y": Y, "mode": {"frist": "infer"}}, UnknownNameError, ["'first'"]),
    "misspelt effect": ("regression", {"x": X, "y": Y, "mode": {"drop_out": "infer"}}, UnknownNameError, ["'dropout'"]),
    "nothing to minimize": ("no loss", {"x": X, "y": Y}, InputError, ["nothing to minimize", "loss='mse'"]),
    "no epochs": ("regression", {"x": X, "y": Y, "epochs": 0}, InputError, ["epochs", "0"]),
    "half an epoch": ("regression", {"x": X, "y": Y, "epochs": 1.5}, InputError, ["epochs", "1.5"]),
    "negative initial epoch": ("regression", {"x": X, "y": Y, "initial_epoch": -1}, InputError, ["initial_epoch"]),
    "verbose": ("regression", {"x": X, "y": Y, "verbose": "loud"}, InputError, ["verbose", "loud"]),
    "batch size zero": ("regression", {"x": X, "y": Y, "batch_size": 0}, InputError, ["batch_size=0"]),
    "shuffle": ("regression", {"x": X, "y": Y, "shuffle": "rows"}, InputError, ["shuffle"]),
    "steps_per_epoch zero": ("regression", {"x": X, "y": Y, "steps_per_epoch": 0}, InputError, ["steps"]),
    "validation_freq zero": (
        "regression",
        {"x": X, "y": Y, "validation_data": (X, Y), "validation_freq": 0},
        InputError,
        ["validation_freq"],
    ),
    "class weights of a list": (
        "classifier",
        {"x": X, "y": LABELS, "class_weight": [1, 2, 3]},
        InputError,
        ["class_weight"],
    ),
    "a class for a callback": (
        "regression",
        {"x": X, "y": Y, "callbacks": [verax.callbacks.EarlyStopping]},
        InputError,
        ["class"],
    ),
    "targets with an unknown name": (
        "regression",
        {"x": X, "y": {"lats": Y}},
        UnknownNameError,
        ["'lats'", "key of y"],
    ),
    "labels of the wrong batch": ("classifier", {"x": "labels"}, DataError, ["label 7 in row 2"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_fit_refuses(models, case, capsys):
    name, arguments, error, said = REFUSED[case]
    model = models[name]
    streams = {"generator": generator(), "empty": iter(()), "labels": generator(X[:4], LABELS[:4] + 5)}
    if isinstance(arguments.get("x"), str):
        arguments = {**arguments, "x": streams[arguments["x"]]}
    before, programs, steps = model.get_weights(), dict(model.programs), model._model.compiled.steps
    with np.errstate(all="ignore"), pytest.raises(error) as caught:
        model.fit(**{"verbose": 0, **arguments})
    for text in said:
        assert caught.match(text)
    assert "Received:" in str(caught.value)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert model._model.compiled.steps == steps
    assert {k: v for k, v in model.programs.items() if k not in programs} == {} or case == "labels of the wrong batch"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("method", ["evaluate", "predict"])
def test_evaluate_and_predict_refuse_alike(models, method):
    model = models["regression"]
    with pytest.raises(ShapeError, match=r"\(None, 5\)"):
        getattr(model, method)(rows(3, 5), *([Y[:3]] if method == "evaluate" else []), verbose=0)
    with pytest.raises(DataError, match="empty"):
        getattr(model, method)(X[:0], verbose=0)


def test_a_generator_that_ends_early_warns_and_an_empty_epoch_is_refused():
    model = regression()
    with pytest.warns(VeraxWarning, match="ran out after 3 of the 5"):
        model.fit(generator(), steps_per_epoch=5, verbose=0)
    assert model._model.compiled.steps == 3
    used = generator()
    model.fit(used, verbose=0)
    with pytest.raises(DataError, match="used up before"):
        model.fit(used, verbose=0)
    with pytest.warns(VeraxWarning, match="used up"), pytest.raises(DataError, match="Epoch 2 was to be trained"):
        model.fit(generator(), epochs=2, verbose=0)
    assert len(model.history.epoch) == 1


# ---- compile ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"loss": "mean_square_error"}, UnknownNameError, "'mean_squared_error'"),
        ({"loss": ["mse", "binary_crossentropi"]}, UnknownNameError, "'binary_crossentropy'"),
        ({"metrics": ["acuracy"]}, UnknownNameError, "'accuracy'"),
        ({"weighted_metrics": {"last": "presision"}}, UnknownNameError, "recision"),
        ({"optimizer": "adamm"}, UnknownNameError, "'adam'"),
        ({"optimizer": 0.1}, InputError, "0.1"),
        ({"loss": verax.losses.MeanSquaredError(reduction="none")}, InputError, "one number"),
        ({"loss_weights": ["mae"]}, InputError, "metrics"),
    ],
)
def test_compile_refuses(arguments, error, said):
    with pytest.raises(error, match=said):
        regression(**arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"loss": {"lats": "mse"}}, UnknownNameError, "'reg'"),
        ({"loss": ["mse", "mse"]}, InputError, "2 entries"),
        ({"metrics": {"rge": ["mae"]}}, UnknownNameError, "'reg'"),
        ({"loss_weights": [1.0, 2.0]}, InputError, "2 entries"),
    ],
)
def test_what_compile_cannot_see_yet_fit_refuses(arguments, error, said):
    model = regression(**arguments)
    before = model.get_weights()
    with pytest.raises(error, match=said):
        model.fit(X, Y, verbose=0)
    np.testing.assert_array_equal(before[0], model.get_weights()[0])


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_compile_is_missing(method):
    model = verax.Sequential([verax.Input((4,)), layers.Dense(1)])
    with pytest.raises(NotCompiledError, match=r"model.compile\(optimizer='adam', loss='mse'\)"):
        getattr(model, method)(X, Y)
    assert model.predict(X, verbose=0).shape == (12, 1)


# ---- a model that is not built ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["save_weights", "values", "summary", "pure"])
def test_an_unbuilt_model_says_so(how, tmp_path):
    model = verax.Sequential([layers.Dense(2), layers.Dense(1)], name="unseen")
    asked = {
        "save_weights": lambda: model.save_weights(tmp_path / "w.npz"),
        "values": lambda: verax.values(model),
        "summary": lambda: model.summary(),
        "pure": lambda: verax.pure(model),
    }
    with pytest.raises(NotBuiltError, match="unseen"):
        asked[how]()
    assert list(tmp_path.iterdir()) == []


def test_configuration_is_frozen_when_built():
    model = regression()
    with pytest.raises(FrozenError, match="units"):
        model.layers[0].units = 7
    assert model.layers[0].units == 3
    model.layers[0].trainable = False  # this may change


# ---- graphs ----------------------------------------------------------------------------------------------------------


def test_a_symbolic_tensor_of_another_graph():
    a, b = verax.Input((4,), name="a"), verax.Input((4,), name="b")
    with pytest.raises(GraphError, match="'b'"):
        verax.Model(a, layers.Dense(1)(layers.Add()([a, b])))
    with pytest.raises(GraphError, match="symbolic"):
        verax.Model(a, X)
    with pytest.raises(GraphError):
        np.asarray(layers.Dense(1)(a))


def test_a_model_is_made_of_inputs_and_outputs():
    with pytest.raises(InputError, match="only inputs"):
        verax.Model(inputs=verax.Input((4,)))


def test_sequential_refuses_what_is_no_layer():
    with pytest.raises(InputError, match="Lambda"):
        verax.Sequential([np.tanh])
    with pytest.raises(InputError, match="a name of its own"):
        verax.Sequential([layers.Dense(1, name="a"), layers.Dense(1, name="a")])
    with pytest.raises(InputError, match="comes first"):
        verax.Sequential([layers.Dense(1), verax.Input((2,))])


def test_a_wrong_input_names_the_layer_path():
    inner = verax.Sequential([layers.Dense(2, name="deep"), layers.Dense(2, name="deeper")], name="inner")
    model = verax.Sequential([inner], name="outer")
    model.compile("sgd", "mse")
    inner.layers[1].build((None, 7))
    with pytest.raises(ShapeError, match="inner/deeper"):
        model.fit(X, Y, verbose=0)
    assert not inner.layers[0].built  # a refused input leaves no half-built layer


# ---- parameters and INFER --------------------------------------------------------------------------------------------


def test_parameters_are_not_updated_from_infer(models):
    model = models["regression"]
    params, state = verax.values(model)
    rule = verax.optimizers.SGD(0.1)
    forward = verax.pure(model)

    def observe(params, state, batch, *, mode, key):
        output, state = forward(params, state, batch, mode=mode, key=key)
        return output.sum(), (state, {})

    carry = Carry.begin(params, state, rule.init(params))
    with pytest.raises(StateError, match=r"Mode\.INFER"):
        train_step(Pass(observe, ModeMap(Mode.INFER)), rule, carry, X, key=jax.random.key(0))
    layers_infer = ModeMap.of("infer", default=Mode.TRAIN)
    after, _ = train_step(Pass(observe, layers_infer), rule, carry, X, key=jax.random.key(0))
    assert not np.array_equal(after.params["first/kernel"], params["first/kernel"])
