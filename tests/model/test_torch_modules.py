"""PyTorch's own modules beside ours on the weights they wrote: runs where torch is installed."""

from __future__ import annotations

import numpy as np
import pytest

import verax
from verax import layers
from verax.formats import tensors
from verax.model.tensors import load

torch = pytest.importorskip("torch")
nn = torch.nn


def written(net, path):
    """``net``'s weights as a file, as safetensors.torch writes it."""
    tensors.write(path, {name: value.detach().numpy() for name, value in net.state_dict().items()}, {"format": "pt"})
    return path


def moved(net):
    """Random statistics and scales, so that nothing is 0 or 1 by chance."""
    torch.manual_seed(3)
    with torch.no_grad():
        for name, value in [*net.named_parameters(), *net.named_buffers()]:
            if value.is_floating_point():
                value.copy_(torch.rand_like(value) + 0.5 if "var" in name else torch.randn_like(value) * 0.3)
    return net.eval()


def first(x):
    return np.moveaxis(x, -1, 1).copy()


def last(x):
    return np.moveaxis(x, 1, -1)


#: id: (torch module, Verax layer, shape of rows as Verax has them, whether channels stand first in torch)
SINGLE = {
    "linear": (nn.Linear(5, 3), (layers.Dense, 3), (5,), False),
    "linear of sequences": (nn.Linear(5, 3, bias=False), (layers.Dense, 3, None, False), (4, 5), False),
    "linear as einsum": (nn.Linear(5, 6), (layers.EinsumDense, "abc,cd->abd", (None, 6), None, "d"), (4, 5), False),
    "conv1d": (nn.Conv1d(3, 4, 3, dilation=2), (layers.Conv1D, 4, 3, 1, "valid", None, 2), (11, 3), True),
    "conv2d": (nn.Conv2d(3, 4, (3, 2), stride=(1, 2)), (layers.Conv2D, 4, (3, 2), (1, 2)), (8, 9, 3), True),
    "conv2d groups": (nn.Conv2d(6, 4, 3, groups=2), (layers.Conv2D, 4, 3, 1, "valid", None, 1, 2), (6, 7, 6), True),
    "conv3d": (nn.Conv3d(2, 3, (2, 3, 1)), (layers.Conv3D, 3, (2, 3, 1)), (4, 5, 3, 2), True),
    "depthwise": (nn.Conv2d(4, 8, 3, groups=4), (layers.DepthwiseConv2D, 3, 1, "valid", 2), (6, 7, 4), True),
    "depthwise as conv": (nn.Conv2d(4, 8, 3, groups=4), (layers.Conv2D, 8, 3, 1, "valid", None, 1, 4), (6, 7, 4), True),
    "depthwise1d": (nn.Conv1d(4, 8, 3, groups=4), (layers.DepthwiseConv1D, 3, 1, "valid", 2), (7, 4), True),
    "transposed1d": (nn.ConvTranspose1d(3, 4, 3, stride=2), (layers.Conv1DTranspose, 4, 3, 2), (5, 3), True),
    "transposed2d": (nn.ConvTranspose2d(3, 4, 3, stride=2), (layers.Conv2DTranspose, 4, 3, 2), (5, 4, 3), True),
    "transposed3d": (nn.ConvTranspose3d(3, 2, 2), (layers.Conv3DTranspose, 2, 2), (3, 4, 2, 3), True),
    "batch norm": (nn.BatchNorm2d(3), (layers.BatchNormalization, -1, 0.9, 1e-5), (4, 5, 3), True),
    "batch norm 1d": (nn.BatchNorm1d(3), (layers.BatchNormalization, -1, 0.9, 1e-5), (3,), False),
    "layer norm": (nn.LayerNorm(6), (layers.LayerNormalization, -1, 1e-5), (4, 6), False),
    "layer norm of two axes": (nn.LayerNorm((4, 6)), (layers.LayerNormalization, (1, 2), 1e-5), (4, 6), False),
    "group norm": (nn.GroupNorm(2, 6), (layers.GroupNormalization, 2, -1, 1e-5), (4, 5, 6), True),
    "instance norm": (nn.InstanceNorm2d(6, affine=True), (layers.GroupNormalization, -1, -1, 1e-5), (4, 5, 6), True),
    "rms norm": (nn.RMSNorm(6, eps=1e-5), (layers.RMSNormalization, -1, 1e-5), (4, 6), False),
    "prelu": (nn.PReLU(3), (layers.PReLU, "zeros", None, None, (1, 2)), (4, 5, 3), True),
    "one prelu": (nn.PReLU(), (layers.PReLU, "zeros", None, None, (1, 2, 3)), (4, 5, 3), True),
}


@pytest.mark.parametrize("case", SINGLE)
def test_a_module(case, tmp_path):
    net, (kind, *arguments), shape, channels_first = SINGLE[case]
    net, layer = moved(net), kind(*arguments)
    model = verax.Sequential([verax.Input(shape), layer])
    load(model, written(net, tmp_path / "m.safetensors"), {"": layer.name}, "torch")
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    theirs = net(torch.tensor(first(x) if channels_first else x)).detach().numpy()
    np.testing.assert_allclose(model.predict(x, verbose=0), last(theirs) if channels_first else theirs, atol=2e-6)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_recurrence(kind, both, bias, tmp_path):
    torch.manual_seed(1)
    net = getattr(nn, kind)(3, 4, num_layers=2, bidirectional=both, batch_first=True, bias=bias)
    ours = getattr(layers, {"RNN": "SimpleRNN"}.get(kind, kind))
    stack = [ours(4, return_sequences=True, use_bias=bias, name=f"rnn_{i}") for i in range(2)]
    if both:
        stack = [layers.Bidirectional(layer, name=f"both_{i}") for i, layer in enumerate(stack)]
    model = verax.Sequential([verax.Input((6, 3)), *stack])
    names = {"l0": stack[0].name, "l1": stack[1].name}
    load(model, written(net, tmp_path / "m.safetensors"), names, "torch")
    x = np.random.default_rng(0).normal(size=(2, 6, 3)).astype("float32")
    np.testing.assert_allclose(model.predict(x, verbose=0), net(torch.tensor(x))[0].detach().numpy(), atol=2e-6)


def test_cells(tmp_path):
    torch.manual_seed(1)
    net = nn.GRUCell(3, 4)
    model = verax.Sequential([verax.Input((1, 3)), layers.RNN(layers.GRUCell(4), name="rnn")])
    load(model, written(net, tmp_path / "m.safetensors"), {"": "rnn"}, "torch")
    x = np.random.default_rng(0).normal(size=(2, 1, 3)).astype("float32")
    np.testing.assert_allclose(model.predict(x, verbose=0), net(torch.tensor(x[:, 0])).detach().numpy(), atol=2e-6)


@pytest.mark.parametrize("sizes", [{}, {"kdim": 5, "vdim": 7}])
@pytest.mark.parametrize("bias", [True, False])
def test_attention(sizes, bias, tmp_path):
    torch.manual_seed(1)
    net = moved(nn.MultiheadAttention(8, 2, batch_first=True, bias=bias, **sizes))
    q, k, v = verax.Input((4, 8)), verax.Input((6, sizes.get("kdim", 8))), verax.Input((6, sizes.get("vdim", 8)))
    layer = layers.MultiHeadAttention(2, 4, use_bias=bias, name="mha")
    model = verax.Model([q, k, v], layer(q, v, k))
    load(model, written(net, tmp_path / "m.safetensors"), {"": "mha"}, "torch")
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(2, *t.shape[1:])).astype("float32") for t in (q, k, v)]
    theirs, _ = net(*map(torch.tensor, x))
    np.testing.assert_allclose(model.predict(x, verbose=0), theirs.detach().numpy(), atol=2e-6)


def test_attention_as_four_linears(tmp_path):
    torch.manual_seed(1)
    net = moved(nn.ModuleDict({name: nn.Linear(8, 8) for name in ("q", "k", "v", "o")}))
    x = verax.Input((4, 8))
    model = verax.Model(x, layers.MultiHeadAttention(2, 4, name="mha")(x, x))
    names = {"q": "mha/query", "k": "mha/key", "v": "mha/value", "o": "mha/attention_output"}
    load(model, written(net, tmp_path / "m.safetensors"), names, "torch")
    a = np.random.default_rng(0).normal(size=(2, 4, 8)).astype("float32")
    t = torch.tensor(a)
    q, k, v = (net[n](t).reshape(2, 4, 2, 4).transpose(1, 2) for n in "qkv")
    theirs = net["o"](nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(2, 4, 8))
    np.testing.assert_allclose(model.predict(a, verbose=0), theirs.detach().numpy(), atol=2e-6)


def test_a_network_by_names_by_order_and_in_sequence(tmp_path):
    """Convolutions, batch normalization, flattened images and a head: every way to say the names gives the network."""
    net = moved(
        nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, bias=False),
            nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(54, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 2),
        )
    )  # fmt: skip
    path = written(net, tmp_path / "m.safetensors")
    x = np.random.default_rng(0).normal(size=(5, 12, 12, 3)).astype("float32")
    theirs = net(torch.tensor(first(x))).detach().numpy()
    made = ["0", "1", "4", "8", "9", "11"]
    for names in (
        "order",
        [name for name, _ in net.named_modules()],
        dict(zip(made, ["c1", "b1", "c2", "d1", "b2", "d2"], strict=True)),
        dict(zip(made, ["c1", "b1", "c2", "d1", "b2", "d2"], strict=True)).get,
    ):
        model = verax.Sequential(
            [
                verax.Input((12, 12, 3)), layers.Conv2D(4, 3, name="c1"),
                layers.BatchNormalization(epsilon=1e-5, name="b1"),
                layers.ReLU(), layers.MaxPooling2D(), layers.Conv2D(6, 3, use_bias=False, name="c2"), layers.ReLU(),
                layers.Flatten(), layers.Dropout(0.5), layers.Dense(10, name="d1"),
                layers.BatchNormalization(epsilon=1e-5, name="b2"), layers.ReLU(), layers.Dense(2, name="d2"),
            ]
        )  # fmt: skip
        load(model, path, names, "torch")
        np.testing.assert_allclose(model.predict(x, verbose=0), theirs, atol=1e-5)


def test_an_encoder(tmp_path):
    """``TransformerEncoderLayer``, names alike or by beginnings."""
    net = moved(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True))
    x = verax.Input((5, 8))
    y = layers.LayerNormalization(epsilon=1e-5, name="norm1")(x + layers.MultiHeadAttention(2, 4, name="attend")(x, x))
    z = layers.Dense(8, name="linear2")(layers.Dense(16, "relu", name="linear1")(y))
    model = verax.Model(x, layers.LayerNormalization(epsilon=1e-5, name="norm2")(y + z))
    load(model, written(net, tmp_path / "m.safetensors"), {"self_attn": "attend"}, "torch")
    a = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
    np.testing.assert_allclose(model.predict(a, verbose=0), net(torch.tensor(a)).detach().numpy(), atol=5e-6)


def test_an_embedding(tmp_path):
    net = nn.Embedding(7, 3)
    model = verax.Sequential([verax.Input((4,), dtype="int32"), layers.Embedding(7, 3, name="e")])
    load(model, written(net, tmp_path / "m.safetensors"), {"": "e"}, "torch")
    x = np.array([[0, 1, 6, 2]])
    np.testing.assert_array_equal(model.predict(x, verbose=0), net(torch.tensor(x)).detach().numpy())
