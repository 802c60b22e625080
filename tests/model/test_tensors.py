"""Weights as ``.safetensors``: a model's own, and PyTorch's, by the formulas of PyTorch's documentation."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

import verax
from verax import layers
from verax.errors import DataError, InputError, NotBuiltError, UnknownNameError
from verax.formats import tensors
from verax.model.tensors import load, save

RNG = np.random.default_rng(5)


def random(*shape):
    return RNG.normal(size=shape).astype("float32")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def loaded(model, arrays, path, names=None, **further):
    tensors.write(path / "m.safetensors", arrays, {"format": "pt"})
    load(model, path / "m.safetensors", names, "torch", **further)
    return model


def one(layer, *shape):
    return verax.Sequential([verax.Input(shape), layer])


def network():
    return verax.Sequential(
        [
            verax.Input((6, 6, 2)),
            layers.Conv2D(3, 3, name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.Flatten(),
            layers.Dense(4, name="fc"),
        ]
    )


def of_network():
    return {
        "conv.weight": random(3, 2, 3, 3), "conv.bias": random(3), "norm.weight": random(3), "norm.bias": random(3),
        "norm.running_mean": random(3), "norm.running_var": random(3) ** 2, "norm.num_batches_tracked": np.int64(7),
        "fc.weight": random(4, 48), "fc.bias": random(4),
    }  # fmt: skip


# ---- a model's own ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "bfloat16"])
def test_a_model_comes_back(policy, tmp_path):
    verax.config.set_dtype_policy(policy)
    first, second = (
        network() if policy != "bfloat16" else verax.Sequential([verax.Input((6, 2)), layers.Conv1D(3, 2, name="conv")])
        for _ in range(2)
    )
    save(first, tmp_path / "m.safetensors")
    load(second, tmp_path / "m.safetensors")
    for one, two in zip(first.variables, second.variables, strict=True):
        assert one.dtype == two.dtype == ("bfloat16" if policy == "bfloat16" else "float32")
        np.testing.assert_array_equal(one.numpy(), two.numpy())
    head = tensors.header(tmp_path / "m.safetensors")
    assert set(head.tensors) == {v.path for v in first.variables}
    assert str(head.tensors["conv/kernel"].dtype) == first.variables[0].dtype
    assert head.metadata["model"] == first.name
    assert head.metadata["verax_version"] == verax.__version__


def test_states_of_rows_are_no_weights(tmp_path):
    model = verax.Sequential(
        [verax.Input(batch_shape=(2, 3, 4)), layers.LSTM(5, stateful=True, name="lstm"), layers.Dense(1, name="d")]
    )
    save(model, tmp_path / "m.safetensors")
    assert not [name for name in tensors.header(tmp_path / "m.safetensors").tensors if "state" in name]
    load(model, tmp_path / "m.safetensors")


def test_own_names_may_be_others(tmp_path):
    first, second = one(layers.Dense(3, name="a"), 2), one(layers.Dense(3, name="b"), 2)
    save(first, tmp_path / "m.safetensors")
    load(second, tmp_path / "m.safetensors", {"a": "b"})
    np.testing.assert_array_equal(first.get_weights()[0], second.get_weights()[0])
    load(second, tmp_path / "m.safetensors", lambda name: name.replace("a/", "b/"))
    with pytest.raises(InputError, match="names weights by their paths"):
        load(second, tmp_path / "m.safetensors", ["a"])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda arrays: arrays.pop("fc/bias"), r"1 missing: no 'fc/bias' \(4,\)"),
        (lambda arrays: arrays.update(more=np.ones(3)), r"1 unexpected: 'more' \(3,\)"),
        (
            lambda arrays: arrays.update({"fc/bias": np.ones(5)}),
            r"of another shape: 'fc/bias' \(5,\) where .* needs \(4,\)",
        ),
        (lambda arrays: arrays.update({"fc/bias": np.ones(4, int)}), "'fc/bias' of dtype int64"),
    ],
)
def test_all_weights_or_none(change, match, tmp_path):
    model = network()
    save(model, tmp_path / "m.safetensors")
    arrays = {name: array + 1 for name, array in tensors.read(tmp_path / "m.safetensors").items()}
    change(arrays)
    tensors.write(tmp_path / "m.safetensors", arrays)
    before = model.get_weights()
    with pytest.raises(DataError, match=match):
        load(model, tmp_path / "m.safetensors")
    for was, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)


def test_not_built(tmp_path):
    with pytest.raises(NotBuiltError):
        save(verax.Sequential([layers.Dense(2)]), tmp_path / "m.safetensors")
    with pytest.raises(UnknownNameError, match="'torch'"):
        load(network(), tmp_path / "m.safetensors", layout="pytorch")


# ---- PyTorch's layouts -----------------------------------------------------------------------------------------------


def test_linear(tmp_path):
    w, b, x = random(3, 5), random(3), random(2, 5)
    model = loaded(one(layers.Dense(3, name="fc"), 5), {"fc.weight": w, "fc.bias": b}, tmp_path)
    np.testing.assert_allclose(model(x), x @ w.T + b, atol=1e-6)


def correlated(x, w, groups=1):
    """``Conv2d``: out[n, o, i, j] = sum over c, k, l of w[o, c, k, l] x[n, first of o's group + c, i + k, j + l]."""
    outs, ins, height, width = w.shape
    n, _, h, v = x.shape
    y = np.zeros((n, outs, h - height + 1, v - width + 1), "float32")
    for o in range(outs):
        start = o // (outs // groups) * ins
        for c in range(ins):
            for k in range(height):
                for m in range(width):
                    y[:, o] += w[o, c, k, m] * x[:, start + c, k : k + y.shape[2], m : m + y.shape[3]]
    return y


@pytest.mark.parametrize(
    ("layer", "shape", "groups"),
    [
        (lambda: layers.Conv2D(4, (3, 2), name="c"), (4, 3, 3, 2), 1),
        (lambda: layers.Conv2D(6, 3, groups=3, name="c"), (6, 1, 3, 3), 3),
        (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, name="c"), (6, 1, 3, 3), 3),
        (lambda: layers.Conv2D(4, (3, 2), data_format="channels_first", name="c"), (4, 3, 3, 2), 1),
    ],
)
def test_convolution(layer, shape, groups, tmp_path):
    w, b, x = random(*shape), random(shape[0]), random(2, 3, 6, 5)
    layer = layer()
    first = layer.data_format == "channels_first"
    if first and jax.default_backend() == "cpu":
        model = loaded(one(layer, 3, 6, 5), {"c.weight": w, "c.bias": b}, tmp_path)
        np.testing.assert_allclose(model(x), correlated(x, w) + b.reshape(1, -1, 1, 1), atol=1e-5)
        return
    model = loaded(one(layer, 6, 5, 3), {"c.weight": w, "c.bias": b}, tmp_path)
    y = np.moveaxis(np.asarray(model(np.moveaxis(x, 1, -1))), -1, 1)
    np.testing.assert_allclose(y, correlated(x, w, groups) + b.reshape(1, -1, 1, 1), atol=1e-5)


def test_separable(tmp_path):
    d, p, b, x = random(6, 1, 3, 3), random(4, 6, 1, 1), random(4), random(2, 3, 6, 5)
    arrays = {"s.conv1.weight": d, "s.pointwise.weight": p, "s.pointwise.bias": b}
    model = one(layers.SeparableConv2D(4, 3, depth_multiplier=2, name="sep"), 6, 5, 3)
    loaded(model, arrays, tmp_path, {"s": "sep", "s.conv1": "sep/depthwise"})
    y = np.moveaxis(np.asarray(model(np.moveaxis(x, 1, -1))), -1, 1)
    np.testing.assert_allclose(y, correlated(correlated(x, d, 3), p) + b.reshape(1, -1, 1, 1), atol=1e-5)


def test_transposed_convolution(tmp_path):
    """``ConvTranspose1d``: out[n, o, t * stride + k] += x[n, i, t] w[i, o, k]."""
    w, b, x = random(3, 4, 3), random(4), random(2, 3, 5)
    model = loaded(one(layers.Conv1DTranspose(4, 3, 2, name="t"), 5, 3), {"t.weight": w, "t.bias": b}, tmp_path)
    y = np.zeros((2, 4, 11), "float32") + b[:, None]
    for t in range(5):
        for k in range(3):
            y[:, :, 2 * t + k] += x[:, :, t] @ w[:, :, k]
    np.testing.assert_allclose(model(np.swapaxes(x, 1, 2)), np.swapaxes(y, 1, 2), atol=1e-5)


def test_normalizations(tmp_path):
    x, g, b, mean, var = random(4, 6), random(6), random(6), random(6), random(6) ** 2
    kept = {"n.weight": g, "n.bias": b}
    model = one(layers.BatchNormalization(epsilon=1e-5, name="n"), 6)
    loaded(
        model, {**kept, "n.running_mean": mean, "n.running_var": var, "n.num_batches_tracked": np.int64(3)}, tmp_path
    )
    np.testing.assert_allclose(model(x), (x - mean) / np.sqrt(var + 1e-5) * g + b, atol=1e-4)
    model = loaded(one(layers.LayerNormalization(epsilon=1e-5, name="n"), 6), kept, tmp_path)
    off = x - x.mean(-1, keepdims=True)
    np.testing.assert_allclose(model(x), off / np.sqrt((off**2).mean(-1, keepdims=True) + 1e-5) * g + b, atol=1e-5)
    model = loaded(one(layers.GroupNormalization(2, epsilon=1e-5, name="n"), 6), kept, tmp_path)
    off = x.reshape(4, 2, 3) - x.reshape(4, 2, 3).mean(-1, keepdims=True)
    off = (off / np.sqrt((off**2).mean(-1, keepdims=True) + 1e-5)).reshape(4, 6)
    np.testing.assert_allclose(model(x), off * g + b, atol=1e-5)
    model = loaded(one(layers.RMSNormalization(epsilon=1e-5, name="n"), 6), {"n.weight": g}, tmp_path)
    np.testing.assert_allclose(model(x), x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * g, atol=1e-5)


def test_embedding_and_prelu(tmp_path):
    table, slopes, x = random(7, 3), random(3), np.array([[0, 6, 2]])
    model = verax.Sequential(
        [verax.Input((3,), dtype="int32"), layers.Embedding(7, 3, name="e"), layers.PReLU(shared_axes=1, name="p")]
    )
    loaded(model, {"e.weight": table, "p.weight": slopes}, tmp_path)
    np.testing.assert_allclose(model(x), np.where(table[x] > 0, table[x], slopes * table[x]))


def lstm(x, w, u, b, c, reverse=False):
    """``LSTM``: gates i, f, g, o; c' = f c + i g; h' = o tanh(c')."""
    h = cell = np.zeros((len(x), u.shape[1]), "float32")
    ys = []
    for t in range(x.shape[1])[:: -1 if reverse else 1]:
        i, f, g, o = np.split(x[:, t] @ w.T + b + h @ u.T + c, 4, -1)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(cell)
        ys.append(h)
    return np.stack(ys[:: -1 if reverse else 1], 1)


def gru(x, w, u, b, c):
    """``GRU``: r, z, n; n = tanh(W x + b + r (U h + c)); h' = (1 - z) n + z h."""
    h = np.zeros((len(x), u.shape[1]), "float32")
    for t in range(x.shape[1]):
        (a, d, e), (k, m, n) = np.split(x[:, t] @ w.T + b, 3, -1), np.split(h @ u.T + c, 3, -1)
        r, z = sigmoid(a + k), sigmoid(d + m)
        h = (1 - z) * np.tanh(e + r * n) + z * h
    return h


def of_recurrence(gates, end="", name="r"):
    shapes = {
        "weight_ih": (gates * 4, 3),
        "weight_hh": (gates * 4, 4),
        "bias_ih": (gates * 4,),
        "bias_hh": (gates * 4,),
    }
    return {f"{name}.{kind}_l0{end}": random(*shape) for kind, shape in shapes.items()}


def test_recurrences(tmp_path):
    x = random(2, 5, 3)
    arrays = of_recurrence(4)
    model = loaded(one(layers.LSTM(4, name="r"), 5, 3), arrays, tmp_path)
    np.testing.assert_allclose(model(x), lstm(x, *arrays.values())[:, -1], atol=1e-6)
    back = of_recurrence(4, "_reverse")
    model = one(layers.Bidirectional(layers.LSTM(4, return_sequences=True), name="r"), 5, 3)
    loaded(model, {**arrays, **back}, tmp_path)
    both = [lstm(x, *arrays.values()), lstm(x, *back.values(), reverse=True)]
    np.testing.assert_allclose(model(x), np.concatenate(both, -1), atol=1e-6)
    arrays = of_recurrence(3)
    model = loaded(one(layers.GRU(4, name="r"), 5, 3), arrays, tmp_path)
    np.testing.assert_allclose(model(x), gru(x, *arrays.values()), atol=1e-6)
    with pytest.raises(DataError, match="missing"):  # its reset gate acts elsewhere
        loaded(one(layers.GRU(4, reset_after=False, name="r"), 5, 3), arrays, tmp_path)


def test_attention(tmp_path):
    """``MultiheadAttention``: q, k, v = x W + b, heads side by side; softmax(q k / sqrt(size)) v; then a Linear."""
    w, b, o, c, x = random(24, 8), random(24), random(8, 8), random(8), random(2, 4, 8)
    start = verax.Input((4, 8))
    model = verax.Model(start, layers.MultiHeadAttention(2, 4, name="a")(start, start))
    arrays = {"a.in_proj_weight": w, "a.in_proj_bias": b, "a.out_proj.weight": o, "a.out_proj.bias": c}
    loaded(model, arrays, tmp_path)
    q, k, v = (part.reshape(2, 4, 2, 4) for part in np.split(x @ w.T + b, 3, -1))
    scores = np.exp(np.einsum("bthd,bshd->bhts", q, k) / 2)
    mixed = np.einsum("bhts,bshd->bthd", scores / scores.sum(-1, keepdims=True), v).reshape(2, 4, 8)
    np.testing.assert_allclose(model(x), mixed @ o.T + c, atol=1e-5)


# ---- flattened images ------------------------------------------------------------------------------------------------


def of_flat(x, arrays):
    y = correlated(x, arrays["conv.weight"]) + arrays["conv.bias"].reshape(1, -1, 1, 1)
    y = y.reshape(len(x), -1)
    if "bn.weight" in arrays:
        y = (y - arrays["bn.running_mean"]) / np.sqrt(arrays["bn.running_var"] + 1e-3) * arrays["bn.weight"]
        y = y + arrays["bn.bias"]
    return y @ arrays["fc.weight"].T


def flat_arrays(norm=False):
    arrays = {"conv.weight": random(3, 2, 3, 3), "conv.bias": random(3), "fc.weight": random(4, 36)}
    if norm:
        arrays |= {"bn.weight": random(36), "bn.bias": random(36), "bn.running_mean": random(36),
                   "bn.running_var": random(36) ** 2}  # fmt: skip
    return arrays


def flat_parts(norm=False):
    first = [layers.Conv2D(3, 3, name="conv"), layers.Flatten(), layers.Dropout(0.2)]
    return [
        *first,
        *([layers.BatchNormalization(name="bn")] if norm else []),
        layers.Dense(4, use_bias=False, name="fc"),
    ]


@pytest.mark.parametrize("kind", ["sequential", "functional", "nested", "without an Input"])
@pytest.mark.parametrize("norm", [False, True])
def test_features_flattened_channels_first(kind, norm, tmp_path):
    x, arrays, parts = random(2, 2, 5, 6), flat_arrays(norm), flat_parts(norm)
    names: dict[str, str] = {}
    if kind == "sequential":
        model = verax.Sequential([verax.Input((5, 6, 2)), *parts])
    elif kind == "functional":
        start = end = verax.Input((5, 6, 2))
        for part in parts:
            end = part(end)
        model = verax.Model(start, end)
    elif kind == "nested":
        body = verax.Sequential([verax.Input((5, 6, 2)), *parts[:2]], name="body")
        start = verax.Input((5, 6, 2))
        model = verax.Model(start, verax.Sequential(parts[2:], name="head")(body(start)))
        names = {"conv": "body/conv", "fc": "head/fc", "bn": "head/bn"}
    else:
        model = verax.Sequential(parts)
        model.build((None, 5, 6, 2))
    loaded(model, arrays, tmp_path, names)
    np.testing.assert_allclose(model(np.moveaxis(x, 1, -1)), of_flat(x, arrays), rtol=1e-4, atol=1e-4)


def test_flattened_where_the_graph_does_not_show_it(tmp_path):
    class Net(verax.Model):
        def __init__(self):
            super().__init__()
            self.conv, self.flat, _, self.fc = flat_parts()

        def call(self, x):
            return self.fc(self.flat(self.conv(x)))

    x, arrays, model = random(2, 2, 5, 6), flat_arrays(), Net()
    model.build((None, 5, 6, 2))
    with pytest.raises(InputError, match="flattened around 'flatten"):
        loaded(model, arrays, tmp_path)
    with pytest.raises(UnknownNameError, match="key of flattened"):
        loaded(model, arrays, tmp_path, flattened={"fcc": (3, 4, 3)})
    loaded(model, arrays, tmp_path, flattened={"fc": (3, 4, 3)})
    np.testing.assert_allclose(model(np.moveaxis(x, 1, -1)), of_flat(x, arrays), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "parts",
    [
        lambda: [verax.Input((4, 3)), layers.LSTM(3, return_sequences=True, name="r"), layers.Flatten()],
        lambda: [verax.Input((4, 4, 3)), layers.Conv2D(3, 3, name="c"), layers.GlobalAveragePooling2D()],
        lambda: [verax.Input((3, 3, 2)), layers.Conv2D(12, 3, name="c"), layers.Flatten()],
        lambda: [verax.Input((2, 6)), layers.Flatten()],
    ],
)
def test_features_in_their_own_order(parts, tmp_path):
    """Sequences have their features last in PyTorch too, and one place has one order."""
    model = verax.Sequential([*parts(), layers.Dense(2, use_bias=False, name="fc")])
    w = random(2, model.layers[-1].kernel.shape[0])
    arrays = of_recurrence(4, name="r") if model.layers[0].name == "r" else {}
    arrays = {name: array[: 12 if array.shape[0] == 16 else None] for name, array in arrays.items()}
    arrays = {name: array[:, :3] if array.ndim == 2 else array for name, array in arrays.items()}
    if model.layers[0].name == "c":
        kernel = model.layers[0].kernel.shape
        arrays = {"c.weight": random(kernel[3], kernel[2], 3, 3), "c.bias": random(kernel[3])}
    loaded(model, {**arrays, "fc.weight": w}, tmp_path)
    np.testing.assert_array_equal(model.layers[-1].kernel.numpy(), w.T)


def test_features_mixed_after_flattening_are_asked_for(tmp_path):
    start = verax.Input((4, 4, 2))
    flat = layers.Flatten()(layers.Conv2D(3, 3, name="c")(start))
    side = layers.GlobalAveragePooling2D()(start)
    model = verax.Model(start, layers.Dense(2, name="fc")(layers.Concatenate()([flat, side])))
    arrays = {"c.weight": random(3, 2, 3, 3), "c.bias": random(3), "fc.weight": random(2, 14), "fc.bias": random(2)}
    with pytest.raises(InputError, match="flattened around 'fc'"):
        loaded(model, arrays, tmp_path)
    loaded(model, arrays, tmp_path, flattened={})
    np.testing.assert_array_equal(model.get_layer("fc").kernel.numpy(), arrays["fc.weight"].T)


# ---- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda a: a.pop("fc.bias"), r"1 missing: no 'fc/bias' \(4,\) for 'fc/bias' \(4,\)"),
        (lambda a: a.pop("conv.weight"), r"no 'conv/weight' \(3, 2, 3, 3\) for 'conv/kernel' \(3, 3, 2, 3\)"),
        (lambda a: a.update({"head.weight": np.ones(3)}), r"1 unexpected: 'head.weight' \(3,\) \(as 'head/weight'\)"),
        (
            lambda a: a.update({"fc.weight": a["fc.weight"].T}),
            r"'fc.weight' \(48, 4\) where 'fc/kernel' \(48, 4\) needs",
        ),
        (lambda a: [a.pop(k) for k in list(a)[:6]], r"6 missing: .*; .*; no .* \| "),
    ],
)
def test_all_of_pytorchs_weights_or_none(change, match, tmp_path):
    arrays, model = of_network(), network()
    change(arrays)
    arrays.setdefault("z.weight", np.ones(1, "float32"))
    before = model.get_weights()
    with pytest.raises(DataError, match=match):
        loaded(model, arrays, tmp_path, {"z": None} if "6 missing" not in match else None)
    for was, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)


def test_names(tmp_path):
    arrays = {f"module.net.{name}": array for name, array in of_network().items()}
    expected = None
    for names in (
        {"module.net": ""},
        {"module": "x", "module.net.conv": "conv", "module.net.norm": "norm", "module.net.fc": "fc"},
        lambda module: module.removeprefix("module.net."),
        ["module", "module.net", "module.net.conv", "module.net.norm", "module.net.act", "module.net.fc"],
        "order",
        {"module.net": "", "module.net.fc.weight": "fc/kernel", "module.net.fc.bias": "fc/bias"},
    ):
        got = loaded(network(), arrays, tmp_path, names).get_weights()
        expected = expected or got
        for a, b in zip(expected, got, strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(InputError, match="'by order'"):
        loaded(network(), arrays, tmp_path, "by order")
    with pytest.raises(DataError, match="2 modules that have tensors"):
        loaded(network(), arrays, tmp_path, ["module.net.conv", "module.net.norm"])
    with pytest.raises(DataError, match="given twice"):
        loaded(network(), arrays, tmp_path, lambda module: "fc")


def test_order_is_refused_where_it_is_not_known(tmp_path):
    model = verax.Sequential([verax.Input((4,)), layers.Dense(4, name="a"), layers.Dense(4, name="b")])
    weights = [random(4, 4), random(4, 4)]
    bias = {"one.bias": random(4), "two.bias": random(4)}
    with pytest.raises(DataError, match="differ in more than numbers"):
        loaded(model, {"one.weight": weights[0], "two.weight": weights[1], **bias}, tmp_path, "order")
    bias = {"l.2.bias": random(4), "l.10.bias": random(4)}
    loaded(model, {"l.2.weight": weights[0], "l.10.weight": weights[1], **bias}, tmp_path, "order")
    np.testing.assert_array_equal(model.get_layer("a").kernel.numpy(), weights[0].T)
    with pytest.raises(DataError, match="the model has 2 such layers: 'a', 'b'"):
        loaded(model, {"l.2.weight": weights[0], "l.2.bias": bias["l.2.bias"]}, tmp_path, "order")


def test_weights_of_a_layer_of_ones_own(tmp_path):
    class Scale(verax.Layer):
        def build(self, shape):
            self.gamma = self.add_weight((shape[-1],), "ones", name="gamma")

        def call(self, x):
            return x * self.gamma[None]

    model, g = one(Scale(name="scale"), 3), random(3)
    loaded(model, {"block.ls.gamma": g}, tmp_path, {"block.ls": "scale"})
    np.testing.assert_array_equal(model.get_weights()[0], g)
    loaded(model, {"token": g + 1}, tmp_path, {"token": "scale/gamma"})
    np.testing.assert_array_equal(model.get_weights()[0], g + 1)


def test_inside_of_a_wrapper(tmp_path):
    model, w, b = one(layers.TimeDistributed(layers.Dense(2), name="td"), 4, 3), random(2, 3), random(2)
    loaded(model, {"td.weight": w, "td.bias": b}, tmp_path)
    np.testing.assert_array_equal(model.get_weights()[0], w.T)


def test_a_checkpoint_in_parts(tmp_path):
    arrays, model = of_network(), network()
    halves = [dict(list(arrays.items())[:4]), dict(list(arrays.items())[4:])]
    where = {}
    for i, half in enumerate(halves):
        tensors.write(tmp_path / f"model-{i}.safetensors", half)
        where |= dict.fromkeys(half, f"model-{i}.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    load(model, index, layout="torch")
    np.testing.assert_array_equal(model.get_layer("conv").bias.numpy(), arrays["conv.bias"])


def test_half_precision_becomes_the_models_own(tmp_path):
    model, w = one(layers.Dense(3, use_bias=False, name="fc"), 5), random(3, 5)
    loaded(model, {"fc.weight": w.astype(jax.numpy.bfloat16.dtype)}, tmp_path)
    assert model.variables[0].dtype == "float32"
    np.testing.assert_allclose(model.get_weights()[0], w.T, rtol=1e-2)
