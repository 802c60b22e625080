"""The Trainer of transformers: planted causes, what it logs, and that nothing of a training changes."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pytest
import torch
import transformers
from torch.utils.data import DataLoader

from verax.ledger import Cause, Gap
from verax.ledger.verdict import Kind
from verax.torch import TrainerExplain

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
transformers.logging.set_verbosity_error()


class Rows(torch.utils.data.Dataset):
    """Rows of sorted tokens; of the labels of a language model a part is ignored."""

    def __init__(self, n: int, seed: int, language: bool = True):
        generator = torch.Generator().manual_seed(seed)
        self.rows: list[dict[str, Any]] = []
        for _ in range(n):
            tokens = torch.randint(0, 30, (12,), generator=generator).sort().values
            labels: Any = int(tokens[0] > 2)
            if language:
                labels = tokens.clone()
                labels[int(torch.randint(3, 12, (1,), generator=generator)) :] = -100
            self.rows.append({"input_ids": tokens, "labels": labels})

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return self.rows[i]


def gpt(drop: float = 0.0) -> Any:
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=30, n_positions=16, n_embd=16, n_layer=1, n_head=2, resid_pdrop=drop, embd_pdrop=drop,
            attn_pdrop=drop, bos_token_id=0, eos_token_id=0, initializer_range=0.5,
        )
    )  # fmt: skip


def bert(drop: float = 0.0) -> Any:
    return transformers.BertForSequenceClassification(
        transformers.BertConfig(
            vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
            hidden_dropout_prob=drop, attention_probs_dropout_prob=drop, initializer_range=0.5,
        )
    )  # fmt: skip


def trained(
    make: Any, callback: Any, folder: Path, seed: int = 0, n: int = 96, same: bool = False, **asked: Any
) -> Any:
    torch.manual_seed(seed)
    model = make()
    language = isinstance(model, transformers.GPT2LMHeadModel)
    train, validation = Rows(n, seed, language), Rows(64, seed if same else seed + 100, language)
    arguments = {
        "output_dir": str(folder), "num_train_epochs": 1, "per_device_train_batch_size": 8, "save_strategy": "no",
        "per_device_eval_batch_size": 16, "eval_strategy": "epoch", "logging_strategy": "epoch", "report_to": [],
        "disable_tqdm": True, "use_cpu": True, "learning_rate": 1e-5, "seed": seed, **asked,
    }  # fmt: skip
    callbacks = [] if callback is None else [callback]
    trainer = transformers.Trainer(
        model, transformers.TrainingArguments(**arguments), train_dataset=train, eval_dataset=validation,
        callbacks=callbacks,
    )  # fmt: skip
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    return trainer


def logged(trainer: Any, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def explained(make: Any, folder: Path, seed: int = 0, **asked: Any) -> tuple[Gap, Any]:
    callback = TrainerExplain(print=None)
    trainer = trained(make, callback, folder, seed, **asked)
    assert callback.gap is not None
    return callback.gap, trainer


def largest(gap: Gap) -> tuple[Cause, float]:
    bookkeeping = {cause: amount for cause, amount in gap.by_cause().items() if cause is not Cause.ROWS}
    return max(bookkeeping.items(), key=lambda item: abs(item[1]))


LONGER = {"num_train_epochs": 9, "learning_rate": 0.02}
PLANTED: dict[str, tuple[Any, dict[str, Any], Cause, int]] = {
    "dropout": (lambda: gpt(0.3), LONGER, Cause.DROPOUT, -1),
    "dropout, accumulated": (
        lambda: gpt(0.3),
        {"gradient_accumulation_steps": 4, **LONGER},
        Cause.DROPOUT,
        -1,
    ),
    "weights moved": (gpt, {"learning_rate": 0.03}, Cause.WEIGHTS_MOVED, -1),
    # transformers adds up the losses of a step here: this model takes num_items_in_batch, and does not use it
    "twice the loss": (bert, {"gradient_accumulation_steps": 2}, Cause.OBJECTIVE, -1),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_cause_is_found(name: str, seed: int, tmp_path: Path):
    make, asked, cause, sign = PLANTED[name]
    gap, _ = explained(make, tmp_path, seed, **asked)
    found, amount = largest(gap)
    assert found is cause
    assert np.sign(amount) == sign
    assert abs(gap.residual) < 1e-9


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("asked", [{}, {"label_smoothing_factor": 0.1}, {"gradient_accumulation_steps": 4}])
def test_the_same_rows_have_no_gap(asked: dict[str, Any], seed: int, tmp_path: Path):
    gap, _ = explained(gpt, tmp_path, seed, n=64, same=True, learning_rate=1e-9, **asked)
    assert abs(gap.by_cause().get(Cause.OBJECTIVE, 0.0)) < 1e-6
    assert abs(gap.total) < 0.05 * gap.train.value
    assert gap.verdict.kind is Kind.NONE


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"gradient_accumulation_steps": 4},  # 13 batches: the last step has one
        {"label_smoothing_factor": 0.1},
        {"logging_strategy": "steps", "logging_steps": 3, "eval_strategy": "steps", "eval_steps": 4},
        {"logging_strategy": "steps", "logging_steps": 5, "eval_strategy": "steps", "eval_steps": 5},
        {"bf16": True},
    ],
)
@pytest.mark.parametrize("make", [gpt, bert])
def test_the_numbers_are_those_that_the_trainer_logged(make: Any, asked: dict[str, Any], tmp_path: Path):
    callback = TrainerExplain(print=None)
    trainer = trained(lambda: make(0.1), callback, tmp_path, n=100, num_train_epochs=2, **asked)
    losses, found = logged(trainer, "loss"), [gap.train.value for gap in callback.gaps]
    assert [gap.validation.value for gap in callback.gaps] == pytest.approx(logged(trainer, "eval_loss"), rel=1e-5)
    assert all(any(value == pytest.approx(one, rel=1e-5) for one in losses) for value in found)
    assert len(found) == len(logged(trainer, "eval_loss"))
    assert not [note for gap in callback.gaps for note in gap.notes if "no usual average" in note]


def test_explained_once_at_the_end(tmp_path: Path):
    lines: list[str] = []
    callback = TrainerExplain("end", print=lines.append)
    trained(gpt, callback, tmp_path, num_train_epochs=3)
    assert len(callback.gaps) == len(lines) == 1
    assert lines[0].startswith("eval_loss - loss = ")
    assert callback.gaps[0].validation.facts.params == "step 36"


@pytest.mark.parametrize("make", [gpt, bert])
@pytest.mark.parametrize("explain", ["epoch", "end"])
def test_a_training_is_bit_for_bit_the_same(explain: str, make: Any, tmp_path: Path):
    found: list[Any] = []
    for callback in (None, TrainerExplain(explain, print=None)):
        trainer = trained(lambda: make(0.2), callback, tmp_path, 5, num_train_epochs=2, gradient_accumulation_steps=2)
        history = [
            {name: value for name, value in entry.items() if name in ("loss", "eval_loss", "grad_norm", "step")}
            for entry in trainer.state.log_history
        ]
        weights = [value.tolist() for value in trainer.model.state_dict().values()]
        numbers = np.random.get_state()  # noqa: NPY002
        found.append([history, weights, torch.get_rng_state().tolist(), numbers[1].tolist(), random.getstate()])
    assert found[0] == found[1]


def left_behind(model: Any) -> list[Any]:
    hooks = [h for m in model.modules() for h in (*m._forward_hooks.values(), *m._forward_pre_hooks.values())]
    mode = torch.overrides._get_current_function_mode()
    patched = [f for f in (DataLoader.__iter__,) if f.__module__ != "torch.utils.data.dataloader"]
    return [*hooks, *([] if mode is None else [mode]), *patched]


def test_nothing_is_left_behind(tmp_path: Path):
    trainer = trained(gpt, TrainerExplain(print=None), tmp_path)
    assert not left_behind(trainer.model)


@pytest.mark.parametrize("how", ["call", "close"])
def test_after_an_exception_the_next_call_of_the_model_lets_go(how: str, tmp_path: Path):
    callback, models = TrainerExplain(print=None), []

    class Fails(transformers.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            models.append(kwargs["model"])
            if state.global_step == 3:
                raise KeyError("not now")

    def make() -> Any:
        return gpt(0.1)

    torch.manual_seed(0)
    trainer = transformers.Trainer(
        make(), transformers.TrainingArguments(output_dir=str(tmp_path), report_to=[], use_cpu=True, disable_tqdm=True),
        train_dataset=Rows(64, 0), callbacks=[callback, Fails()],
    )  # fmt: skip
    with pytest.raises(KeyError, match="not now"):
        trainer.train()
    if how == "call":
        models[0](input_ids=torch.zeros(1, 4, dtype=torch.long))
    else:
        callback.close()
    assert not left_behind(models[0])
