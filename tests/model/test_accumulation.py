"""Gradient accumulation over a whole fit is Keras', short last batches and all, in one program."""

from __future__ import annotations

import numpy as np

from tests.model.twins import fit_both, rows, same_history, same_weights, twins


def test_accumulation_across_epochs_and_short_batches():
    """Twelve steps by fives: the last two sums are of a whole and a short batch, and wait for a third epoch."""

    def build(library):
        options = {"weight_decay": 0.1, "global_clipnorm": 0.5, "use_ema": True, "ema_momentum": 0.8}
        dense = library.layers.Dense
        model = library.Sequential([library.layers.Input((4,)), dense(6, "tanh"), dense(1)])
        optimizer = library.optimizers.AdamW(0.01, gradient_accumulation_steps=5, ema_overwrite_frequency=2, **options)
        model.compile(optimizer, "mse")
        return model

    x = rows(44)
    models = twins(build)
    same_history(*fit_both(models, x, x[:, :1] - x[:, 1:2], batch_size=8, epochs=2))
    same_weights(models)
    theirs, ours = models
    state = ours._model.compiled.opt_state
    assert ours.optimizer.iterations(state) == int(theirs.optimizer.iterations) == 2
    assert int(state.inner[0].waited) == 2
    for variable, kept in zip(ours.trainable_variables, theirs.optimizer._accumulated_gradients, strict=True):
        np.testing.assert_allclose(state.inner[0].total[variable.path], kept, rtol=1e-4, atol=1e-6)
    assert [key[0] for key in ours.programs] == ["train"]
