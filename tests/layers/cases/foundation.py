"""The layers that every model is made of."""

from __future__ import annotations

from dataclasses import replace

from tests.layers.cases.base import FIRST, IMAGE, QUICK, STEPS, VOLUME, Case

__all__ = ["CASES"]


def _rows() -> list[Case]:
    image, first, steps, volume = IMAGE, FIRST, STEPS, VOLUME
    rows = [
        Case("Dense", lambda m: m.Dense(3), (2, 4)),
        Case("Dense relu, no bias, 3-d", lambda m: m.Dense(3, "relu", use_bias=False), (2, 5, 4)),
        Case("Dense softmax", lambda m: m.Dense(3, activation="softmax"), (2, 4)),
        Case("Dense on uint8", lambda m: m.Dense(3), (2, 4), "uint8", tolerance=1e-4),
        Case("Activation", lambda m: m.Activation("tanh"), steps),
        Case("Identity", lambda m: m.Identity(), steps),
        Case("Masking", lambda m: m.Masking(0.5), steps),
        Case("Embedding", lambda m: m.Embedding(5, 3), (2, 6), "int32"),
        Case("ReLU", lambda m: m.ReLU(1.0, 0.1, 0.2), steps),
        Case("LeakyReLU", lambda m: m.LeakyReLU(), steps),
        Case("ELU", lambda m: m.ELU(0.7), steps),
        Case("PReLU", lambda m: m.PReLU(), steps),
        Case("PReLU shared", lambda m: m.PReLU(shared_axes=[1, 2]), image),
        Case("Softmax", lambda m: m.Softmax(), steps),
        Case("Softmax axis 1", lambda m: m.Softmax(axis=1), steps),
        Case("Softmax axes", lambda m: m.Softmax(axis=(1, 2)), steps),
        Case("BatchNormalization", lambda m: m.BatchNormalization(momentum=0.9), (8, 4)),
        Case("BatchNormalization image", lambda m: m.BatchNormalization(epsilon=0.1), image),
        Case("BatchNormalization axis 1", lambda m: m.BatchNormalization(axis=1, scale=False), first),
        Case("BatchNormalization bare", lambda m: m.BatchNormalization(center=False, scale=False), steps),
        Case("LayerNormalization", lambda m: m.LayerNormalization(), steps),
        Case("LayerNormalization axes", lambda m: m.LayerNormalization(axis=[1, 2], center=False), steps),
        Case("LayerNormalization axis 1", lambda m: m.LayerNormalization(axis=1), steps),
        Case("Dropout", lambda m: m.Dropout(0.4), steps, draws=True),
        Case("SpatialDropout1D", lambda m: m.SpatialDropout1D(0.4), steps, draws=True),
        Case("SpatialDropout2D", lambda m: m.SpatialDropout2D(0.4), image, draws=True),
        Case("SpatialDropout3D", lambda m: m.SpatialDropout3D(0.4), volume, draws=True),
        Case("GaussianNoise", lambda m: m.GaussianNoise(0.4), steps, draws=True),
        Case("GaussianDropout", lambda m: m.GaussianDropout(0.4), steps, draws=True),
        Case("AlphaDropout", lambda m: m.AlphaDropout(0.4), steps, draws=True),
        Case("ActivityRegularization", lambda m: m.ActivityRegularization(l1=0.1, l2=0.2), steps),
        Case("Concatenate", lambda m: m.Concatenate(axis=1), [(2, 3, 4), (2, 5, 4)]),
        Case("Dot", lambda m: m.Dot(axes=(2, 1)), [(2, 3, 4), (2, 4, 5)]),
        Case("Dot normalized", lambda m: m.Dot(axes=1, normalize=True), [(2, 4), (2, 4)]),
        Case("Average of two ranks", lambda m: m.Average(), [(2, 3, 4), (2, 4)]),
        Case("Flatten", lambda m: m.Flatten(), image),
        Case("Flatten channels_first", lambda m: m.Flatten("channels_first"), first),
        Case("Flatten 1-d", lambda m: m.Flatten(), (5,)),
        Case("Reshape", lambda m: m.Reshape((3, -1)), steps),
        Case("Permute", lambda m: m.Permute((3, 1, 2)), image),
        Case("RepeatVector", lambda m: m.RepeatVector(3), (2, 4)),
        Case("Rescaling", lambda m: m.Rescaling(1 / 255, offset=[0.1, 0.2, 0.3, 0.4]), image, "uint8"),
        Case("UpSampling2D bilinear", lambda m: m.UpSampling2D(2, interpolation="bilinear"), image),
    ]
    rows += [
        Case(name, lambda m, n=name: getattr(m, n)(), [(2, 3, 4), (2, 3, 4), (2, 1, 4)])
        for name in ("Add", "Multiply", "Average", "Maximum", "Minimum")
    ]
    rows.append(Case("Subtract", lambda m: m.Subtract(), [(2, 3), (2, 3)]))
    rows += [
        Case(f"Conv {name}", make, shape)
        for name, make, shape in [
            ("1D", lambda m: m.Conv1D(3, 3), steps),
            ("1D causal, dilated", lambda m: m.Conv1D(3, 2, padding="causal", dilation_rate=2), steps),
            ("2D", lambda m: m.Conv2D(3, (3, 2), activation="relu"), image),
            ("2D same, strides", lambda m: m.Conv2D(3, 3, strides=2, padding="same"), image),
            ("2D groups, dilated", lambda m: m.Conv2D(6, 2, groups=2, dilation_rate=(2, 1)), image),
            ("2D channels_first", lambda m: m.Conv2D(3, 3, padding="same", data_format="channels_first"), first),
            ("3D", lambda m: m.Conv3D(2, 2, use_bias=False), volume),
            ("depthwise", lambda m: m.DepthwiseConv2D(3, depth_multiplier=2, strides=(2, 2)), image),
            ("transposed", lambda m: m.Conv2DTranspose(3, 3, strides=2, padding="same"), image),
            ("transposed, valid", lambda m: m.Conv2DTranspose(3, (2, 3), strides=(3, 2)), image),
            ("transposed, padded", lambda m: m.Conv2DTranspose(3, 3, 2, "same", output_padding=1), image),
            ("transposed, dilated", lambda m: m.Conv2DTranspose(3, 3, dilation_rate=2), image),
        ]
    ]
    for kind in ("Max", "Average"):
        rows += [
            Case(f"{kind}Pooling1D", lambda m, k=kind: getattr(m, f"{k}Pooling1D")(2), steps),
            Case(f"{kind}Pooling2D", lambda m, k=kind: getattr(m, f"{k}Pooling2D")(2), image),
            Case(f"{kind}Pooling2D same", lambda m, k=kind: getattr(m, f"{k}Pooling2D")(3, 2, "same"), image),
            Case(
                f"{kind}Pooling2D channels_first",
                lambda m, k=kind: getattr(m, f"{k}Pooling2D")((2, 3), data_format="channels_first"),
                first,
            ),
            Case(f"{kind}Pooling3D", lambda m, k=kind: getattr(m, f"{k}Pooling3D")(2, 1), volume),
            Case(f"Global{kind}Pooling1D", lambda m, k=kind: getattr(m, f"Global{k}Pooling1D")(), steps),
            Case(f"Global{kind}Pooling2D", lambda m, k=kind: getattr(m, f"Global{k}Pooling2D")(keepdims=True), image),
            Case(
                f"Global{kind}Pooling2D channels_first",
                lambda m, k=kind: getattr(m, f"Global{k}Pooling2D")("channels_first"),
                first,
            ),
            Case(f"Global{kind}Pooling3D", lambda m, k=kind: getattr(m, f"Global{k}Pooling3D")(), volume),
        ]
    for rank, shape in ((1, steps), (2, image), (3, volume)):
        rows += [
            Case(f"ZeroPadding{rank}D", lambda m, r=rank: getattr(m, f"ZeroPadding{r}D")(2), shape),
            Case(f"Cropping{rank}D", lambda m, r=rank: getattr(m, f"Cropping{r}D")(1), shape),
            Case(f"UpSampling{rank}D", lambda m, r=rank: getattr(m, f"UpSampling{r}D")(2), shape),
        ]
    rows.append(
        Case("ZeroPadding2D pairs", lambda m: m.ZeroPadding2D(((1, 0), (2, 1)), "channels_first"), first),
    )
    for kind in ("LSTM", "GRU", "SimpleRNN"):
        rows += [
            Case(kind, lambda m, k=kind: getattr(m, k)(3, **QUICK), steps),
            Case(
                f"{kind} sequences and states",
                lambda m, k=kind: getattr(m, k)(3, return_sequences=True, return_state=True, **QUICK),
                steps,
            ),
            Case(
                f"{kind} backwards, no bias",
                lambda m, k=kind: getattr(m, k)(3, go_backwards=True, return_sequences=True, use_bias=False, **QUICK),
                steps,
            ),
        ]
    rows += [
        Case(
            "LSTM unrolled, other activations", lambda m: m.LSTM(3, "relu", "hard_sigmoid", unroll=True, **QUICK), steps
        ),
        Case("GRU reset before", lambda m: m.GRU(3, reset_after=False, **QUICK), steps),
        Case("LSTM with dropout", lambda m: m.LSTM(3, dropout=0.3, recurrent_dropout=0.3, **QUICK), steps, draws=True),
    ]
    return rows + _attention()


def _attention() -> list[Case]:
    pair, three = [(2, 5, 6), (2, 3, 4)], [(2, 5, 6), (2, 3, 4), (2, 3, 7)]
    grid = [(2, 3, 4, 5), (2, 3, 4, 5)]
    rows = [
        Case("MultiHeadAttention", lambda m: m.MultiHeadAttention(2, 3), pair),
        Case(
            "MultiHeadAttention, value_dim, key, no bias",
            lambda m: m.MultiHeadAttention(2, 3, value_dim=4, dropout=0.2, use_bias=False, output_shape=8),
            three,
            draws=True,
        ),
        Case(
            "MultiHeadAttention, gate, window",
            lambda m: m.MultiHeadAttention(2, 3, use_gate=True, sliding_window=3),
            pair,
        ),
        Case(
            "MultiHeadAttention, dropout", lambda m: m.MultiHeadAttention(2, 3, dropout=0.3, seed=1), pair, draws=True
        ),
        Case("MultiHeadAttention over two axes", lambda m: m.MultiHeadAttention(2, 3), grid),
        Case("MultiHeadAttention over axis 2", lambda m: m.MultiHeadAttention(2, 3, attention_axes=(2,)), grid),
        Case("MultiHeadAttention over axis 1", lambda m: m.MultiHeadAttention(2, 3, attention_axes=-3), grid),
        Case("GroupQueryAttention", lambda m: m.GroupQueryAttention(3, 4, 2), [(2, 5, 6), (2, 3, 6)]),
        Case(
            "GroupQueryAttention, gate",
            lambda m: m.GroupQueryAttention(3, 4, 1, use_gate=True, dropout=0.2),
            [(2, 5, 6), (2, 3, 6), (2, 3, 6)],
            draws=True,
        ),
    ]
    rows = [replace(row, spread=True) for row in rows]
    same = [(2, 5, 4), (2, 3, 4)]
    rows += [
        Case("Attention", lambda m: m.Attention(), same),
        Case(
            "Attention, scaled, key", lambda m: m.Attention(use_scale=True, dropout=0.2), [*same, (2, 3, 4)], draws=True
        ),
        Case("Attention concat", lambda m: m.Attention(use_scale=True, score_mode="concat"), same),
        Case("AdditiveAttention", lambda m: m.AdditiveAttention(), same),
        Case("AdditiveAttention bare", lambda m: m.AdditiveAttention(use_scale=False), [*same, (2, 3, 4)]),
        Case("EinsumDense", lambda m: m.EinsumDense("abc,cde->abde", (5, 2, 3), "relu", "de"), (2, 5, 4)),
        Case("EinsumDense of a sum", lambda m: m.EinsumDense("abcd,cde->abe", (5, 6), bias_axes="e"), (2, 5, 4, 3)),
        Case("EinsumDense ...", lambda m: m.EinsumDense("...x,xy->...y", 6, bias_axes="y"), (2, 5, 4)),
        Case("EinsumDense behind ...", lambda m: m.EinsumDense("ab...,bc->ac...", 6, bias_axes="c"), (2, 5, 4)),
        Case("EinsumDense turned", lambda m: m.EinsumDense("abc,cd->adb", (6, 5), bias_axes="d"), (2, 5, 4)),
    ]
    return rows


CASES = _rows()
