"""Recomputed layers: the same numbers, less memory, nothing lost on the way."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import verax
from tests.kernels import kernels
from verax import layers
from verax.errors import InputError, UnknownNameError
from verax.frame.frame import call, values
from verax.frame.mode import Mode, ModeMap
from verax.frame.remat import RematScope, remat
from verax.layers import BatchNormalization, Dense, Dropout, Layer

KEY = jax.random.key(3)
X = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)).astype("float32"))


class Block(Layer):
    """Everything a call can leave behind."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.body = [Dense(width, "gelu", activity_regularizer="l2"), BatchNormalization(), Dropout(0.5)]

    def call(self, x, scale=1):
        for layer in self.body:
            x = layer(x)
        self.add_loss(jnp.mean(x))
        return x if scale == 1 else x * scale


def deep(remat, width=3, depth=2):
    """Blocks under a softmax; equal weights at every call."""
    verax.utils.set_random_seed(0)
    stack = [Block(width, name=f"block{i}", remat=remat) for i in range(depth)]
    return verax.Sequential([verax.Input((width,)), *stack, Dense(3, "softmax", name="head")])


def differentiated(model, x, effort=0):
    """The compiled gradient of a loss of everything that comes out, and what it gives."""
    found = []

    def loss(params, state):
        outcome = call(model, params, state, (x,), mode=Mode.TRAIN, key=KEY)
        found.append(outcome)
        followed = {path: value for path, (value, _) in outcome.followed.items()}
        left = (outcome.output, outcome.state, outcome.penalties, outcome.masks, followed)
        return jnp.sum(outcome.output**2) + sum(outcome.penalties.values()), left

    options = {"xla_backend_optimization_level": effort}
    lowered = jax.jit(jax.value_and_grad(loss, has_aux=True)).lower(*values(model))
    compiled = lowered.compile(compiler_options=options)
    return compiled, compiled(*values(model)), found[0]


@pytest.fixture(params=[True, False], ids=["tied", "checkpoint"])
def either_form(request):
    """With the form a CPU needs, and with ``jax.checkpoint`` itself."""
    with kernels(request.param):
        yield request.param


def test_the_same_numbers_and_all_that_is_left_behind(either_form):
    (_, expected, plain), (_, found, again) = (differentiated(deep(remat, depth=1), X) for remat in (None, True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected)
    for what in ("observed", "draws", "shapes"):
        assert getattr(again, what) == getattr(plain, what), what
    assert [link[0] for link in again.links] == [link[0] for link in plain.links] == ["softmax"]
    momenta = [{path: momentum for path, (_, momentum) in o.followed.items()} for o in (again, plain)]
    assert momenta[0] == momenta[1] != {}


@kernels(True)
def test_a_recomputed_network_keeps_less():
    """A deep network's training step needs less than half the memory, and gives the same but for rounding."""

    def tall(remat):
        verax.utils.set_random_seed(0)
        verax.utils.clear_session()  # equal automatic names, so that dictionaries by path are in one order
        parts = [[Dense(32, "tanh"), Dropout(0.2), *(Dense(32, "tanh") for _ in range(3))] for _ in range(3)]
        blocks = [remat(verax.Sequential(p, name=f"b{i}")) for i, p in enumerate(parts)]
        return verax.Sequential([verax.Input((32,)), *blocks])

    x = jnp.asarray(np.random.default_rng(0).normal(size=(256, 32)).astype("float32"))
    plain, expected, _ = differentiated(tall(lambda block: block), x, effort=3)
    again, found, _ = differentiated(tall(remat), x, effort=3)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6)
    sizes = [c.memory_analysis().temp_size_in_bytes for c in (again, plain)]
    assert sizes[0] < 0.5 * sizes[1], sizes


def test_masks_links_and_identities_come_out():
    class Sorter(Layer):
        def __init__(self, remat):
            super().__init__()
            self.table = layers.Embedding(5, 3, mask_zero=True)
            self.lstm = layers.LSTM(4, return_sequences=True, remat=remat)
            self.head = Dense(2, "softmax", remat=remat)
            self.drop = Dropout(0.5, remat=remat)  # in INFER it returns its input: the mask and the logits are of that

        def call(self, ids):
            return self.drop(self.head(self.lstm(self.table(ids))))

    plain, again = Sorter(False), Sorter(True)
    for layer in (plain, again):
        layer(verax.Input((3,), dtype="int32"))
    again.set_weights(plain.get_weights())

    @jax.jit
    def run(ids):
        ends = [call(layer, *values(layer), (ids,), mode=Mode.INFER) for layer in (plain, again)]
        assert [end.links[0][0] for end in ends] == ["softmax", "softmax"]
        return [(end.output, end.links[0][1], end.masks[0]) for end in ends]

    expected, found = run(jnp.array([[1, 2, 0]]))
    np.testing.assert_array_equal(found[2], [[True, True, False]])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)


def test_modes_by_a_traced_flag():
    model = deep(True, depth=1)
    params, state = values(model)

    def gradient(flag):
        mode = ModeMap(Mode.INFER, effects={"dropout": flag})
        return jax.grad(lambda p: jnp.sum(call(model, p, state, (X,), mode=mode, key=KEY).output[:, 0]))(params)

    expected = jax.jit(lambda: [gradient(Mode.TRAIN), gradient(Mode.INFER)])()
    found = jax.jit(lambda flags: [gradient(flag) for flag in flags])(jnp.array([True, False]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected)


def count(model, x=X):
    """How many layers of a model are recomputed."""
    with kernels(False):
        jaxpr = jax.make_jaxpr(lambda p, s: call(model, p, s, (x,), mode=Mode.TRAIN, key=KEY).output)(*values(model))
    return sum(e.primitive.name in ("checkpoint", "remat2", "remat") for e in jaxpr.eqns)


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (RematScope(), 3),
        (RematScope("activations"), 2),  # a Dropout has none
        (RematScope("larger_than", output_size_threshold=18), 2),  # (6, 4) twice, and (6, 3)
        (RematScope("list_of_layers", layer_names=["wide", "other"]), 1),
        (RematScope(None), 0),
    ],
    ids=lambda v: str(v.mode) if isinstance(v, RematScope) else "",
)
def test_scopes(scope, expected):
    with RematScope("full"), scope:
        made = [Dense(4, name="wide"), Dropout(0.5, name="drop"), Dense(3, name="narrow")]
        model = verax.Sequential([verax.Input((3,)), *made])
    assert count(model) == expected
    plain = verax.Sequential([verax.Input((3,)), Dense(4), Dropout(0.5), Dense(3)])
    assert count(plain) == 0
    plain.set_weights(model.get_weights())
    runs = jax.jit(lambda: [call(m, *values(m), (X,), mode=Mode.TRAIN, key=KEY).output for m in (model, plain)])()
    np.testing.assert_allclose(*runs, rtol=1e-6)


def test_an_argument_speaks_before_the_scope_and_blocks_are_whole():
    with RematScope():
        model = verax.Sequential([verax.Input((3,)), Block(3), Dense(3, remat=False)])
    assert count(model) == 1  # what the block holds is inside of it


@pytest.mark.parametrize("wrong", ["full", 1, RematScope()])
def test_a_wrong_value(wrong):
    with pytest.raises(InputError, match=r"remat=.*RematScope chooses"):
        Dense(1, remat=wrong)
    with pytest.raises(UnknownNameError, match="larger_than"):
        RematScope("larger")
    with pytest.raises(InputError, match="a layer or a function"):
        remat(3)


def test_configuration():
    assert "remat" not in Dense(2).get_config()
    assert "remat" not in Layer.get_config(Block(2))
    for made in (Dense(2, remat=True), remat(Dense(2)), remat(Block(2))):
        config = made.get_config()
        assert config["remat"] is True
        again = type(made).from_config(config)
        assert again.get_config() == config
    assert Dense.from_config(Dense(2, remat=False).get_config()).get_config()["remat"] is False


def test_a_function_that_calls_layers(either_form):
    class Around(Layer):
        def __init__(self, wrap):
            super().__init__()
            self.block = Block(3)
            self.run = wrap(self.body)

        def body(self, x, axis, *, double=False):
            y = self.block(x, scale=2 if double else 1)
            return jnp.flip(y, axis), {"left": y}

        def call(self, x):
            flipped, rest = self.run(x, 1, double=True)
            return flipped + rest["left"]

    verax.utils.set_random_seed(0)
    plain, again = Around(lambda f: f), Around(remat)
    for layer in (plain, again):
        layer(verax.Input((3,)))
    again.set_weights(plain.get_weights())
    (_, expected, _), (_, found, _) = (differentiated(layer, X) for layer in (plain, again))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected)
    assert count(again) == 1


def test_a_function_outside_of_a_model():
    again = remat(lambda x, power: jnp.sin(x) ** power)
    assert float(jax.grad(again)(0.5, 2)) == pytest.approx(np.sin(1.0), rel=1e-6)


def test_values_are_seen_without_jit():
    seen = []

    class Look(Layer):
        def call(self, x):
            seen.append(float(jnp.sum(x)))
            return x

    layer = Look(remat=True)
    with jax.disable_jit():
        call(layer, {}, {}, (X,), mode=Mode.TRAIN)
    assert seen == [pytest.approx(float(X.sum()))] * len(seen) != []


def test_trained_as_without():
    histories = []
    for again in (False, True):
        model = deep(again, depth=1)
        model.compile("sgd", "sparse_categorical_crossentropy")
        verax.utils.set_random_seed(1)
        x, y = np.random.default_rng(1).normal(size=(12, 3)).astype("float32"), np.arange(12) % 3
        histories.append(model.fit(x, y, batch_size=6, epochs=2, verbose=0).history["loss"])
    np.testing.assert_allclose(*histories, rtol=1e-5)
