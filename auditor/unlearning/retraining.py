"""Fine-tuning of a checkpoint on the retain set alone, by transformers' Trainer.

What comes out never saw the forget set, if the checkpoint did not: it stands in for a model that
was retrained without it, where the data came in by fine-tuning (arXiv 2401.06121 and 2407.06460
make their retrained models so).
"""

import math
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from auditor.core.errors import AuditorError
from auditor.core.facts import Fact
from auditor.core.progress import Advance, Progress
from auditor.models.causal_lm.prompting import encode_pair
from auditor.models.language.loading import load_directory, load_tokenizer, read_config
from auditor.models.language.scoring import IGNORED
from auditor.models.language.spec import LanguageSpec
from auditor.models.manifest import Location, asking_files
from auditor.models.provenance import Recipe

_SHOWN = 5
_CONTEXT = "max_position_embeddings"


class Example(NamedTuple):
    """Token ids of a prompt and answer, and those that are learned."""

    ids: list[int]
    labels: list[int]


class Trained(NamedTuple):
    """A fine-tuned model, and how its training went."""

    model: PreTrainedModel
    steps: int
    loss: float
    """Mean loss of the last epoch, in nats a token."""
    device: str


def examples(
    facts: Sequence[Fact], spec: LanguageSpec, location: Location, recipe: Recipe
) -> list[Example]:
    """Turn facts into what is trained on, in their format.

    Raises:
        AuditorError: One is longer than the context, or than the recipe allows.
    """
    tokenizer = load_tokenizer(spec, location)
    config = read_config(spec, location.model).get_text_config()
    context = getattr(config, _CONTEXT, None)
    limits = [limit for limit in (recipe.max_tokens, context) if limit and limit > 0]
    found, long = [], []
    for fact in facts:
        for prompt in (fact.prompt, *(fact.paraphrases if recipe.paraphrases else ())):
            example = _example(tokenizer, prompt, fact.answer, recipe)
            found.append(example)
            if limits and len(example.ids) > min(limits):
                long.append(fact.id)
    if long:
        named = ", ".join(list(dict.fromkeys(long))[:_SHOWN])
        raise AuditorError(
            f"{len(long)} examples are longer than {min(limits)} tokens ({named}); cut them into "
            "passages (`auditor facts from-text`)."
        )
    return found


def _example(
    tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str, recipe: Recipe
) -> Example:
    pair = encode_pair(tokenizer, prompt, answer, recipe.format)
    end = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
    ids = [*pair.ids[: pair.answer[-1] + 1], *end]
    if recipe.loss_on == "all":
        return Example(ids, list(ids))
    learned = {*pair.answer, *range(pair.answer[-1] + 1, len(ids))}
    return Example(ids, [token if i in learned else IGNORED for i, token in enumerate(ids)])


def steps_of(count: int, recipe: Recipe) -> int:
    """Optimiser steps of a training on so many examples."""
    return math.ceil(math.ceil(count / recipe.batch_size) * recipe.epochs)


def fine_tune(
    prepared: Sequence[Example],
    spec: LanguageSpec,
    location: Location,
    recipe: Recipe,
    scratch: Path,
    progress: Progress,
) -> Trained:
    """Fine-tune a checkpoint.

    Args:
        prepared: What it is trained on.
        spec: How the checkpoint is opened.
        location: Its files.
        recipe: How it is trained.
        scratch: Folder for what the library writes; it is removed.
        progress: Told about every step, with the time that is left.
    """
    set_seed(recipe.seed)
    opened = spec.model_copy(update={"dtype": recipe.dtype})
    model = load_directory(AutoModelForCausalLM, opened, location.model)
    stored = read_config(spec, location.model).dtype or torch.float32
    pad = load_tokenizer(spec, location).pad_token_id
    trained: Any = model if recipe.lora is None else _adapted(model, recipe)
    total = steps_of(len(prepared), recipe)
    try:
        with progress.task("fine-tuning the base on the retain set", total) as advance:
            trainer = Trainer(
                model=trained,
                args=_arguments(recipe, scratch),
                train_dataset=list(prepared),
                data_collator=lambda batch: _collated(batch, int(pad)),
                callbacks=[_Steps(advance)],
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    last = losses[-max(1, round(len(losses) / recipe.epochs)) :]
    merged: PreTrainedModel = model if recipe.lora is None else trained.merge_and_unload()
    device = str(trainer.args.device)
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    return Trained(
        model=merged.to(stored).eval(),
        steps=trainer.state.global_step,
        loss=sum(last) / max(1, len(last)),
        device=device,
    )


def _adapted(model: PreTrainedModel, recipe: Recipe) -> Any:
    from peft import LoraConfig, get_peft_model

    lora = recipe.lora
    assert lora is not None  # noqa: S101 - only called with it
    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    if recipe.gradient_checkpointing:
        model.enable_input_require_grads()
    return get_peft_model(
        model,
        LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=targets,
            task_type="CAUSAL_LM",
        ),
    )


def _arguments(recipe: Recipe, scratch: Path) -> TrainingArguments:
    devices = max(1, torch.cuda.device_count())
    micro = recipe.micro_batch or -(-recipe.batch_size // devices)
    if recipe.batch_size % (micro * devices):
        raise AuditorError(
            f"a batch of {recipe.batch_size} is no multiple of {devices} device(s) times a "
            f"micro-batch of {micro}; give another `micro_batch`, or hide devices "
            "(CUDA_VISIBLE_DEVICES)."
        )
    return TrainingArguments(
        output_dir=str(scratch),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=recipe.batch_size // (micro * devices),
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="constant_with_warmup"
        if recipe.schedule == "constant"
        else recipe.schedule,
        warmup_steps=recipe.warmup,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.clip,
        gradient_checkpointing=recipe.gradient_checkpointing,
        seed=recipe.seed,
        data_seed=recipe.seed,
        save_strategy="no",
        logging_strategy="steps",
        logging_steps=1,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        use_cpu=not torch.cuda.is_available(),
        optim="adamw_torch",
    )


def _collated(batch: Sequence[Example], pad: int) -> dict[str, torch.Tensor]:
    """A batch, padded at its right."""

    def padded(rows: Iterable[list[int]], value: int) -> torch.Tensor:
        tensors = [torch.tensor(row) for row in rows]
        return pad_sequence(tensors, batch_first=True, padding_value=value)

    return {
        "input_ids": padded((row.ids for row in batch), pad),
        "attention_mask": padded(([1] * len(row.ids) for row in batch), 0),
        "labels": padded((row.labels for row in batch), IGNORED),
    }


class _Steps(TrainerCallback):  # type: ignore[misc]
    """Tells of each step, and how much time is left."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._began = time.monotonic()
        self._loss = ""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **rest: Any) -> None:
        """Keep the loss of the last step; nothing is printed."""
        if logs and "loss" in logs:
            self._loss = f"loss {logs['loss']:.3f}, "

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Tell of a step."""
        passed = time.monotonic() - self._began
        left = passed / state.global_step * (state.max_steps - state.global_step)
        self._advance(1, note=f"{self._loss}{_duration(left)} left")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def save(model: PreTrainedModel, location: Location, folder: Path) -> None:
    """Write a fine-tuned model with the base's other files.

    Args:
        model: The model.
        location: The base's files; its configuration, tokenizer and templates are copied as they
            are, so that both are opened and asked alike.
        folder: Where it goes.
    """
    model.save_pretrained(folder)
    for name in ("config.json", *asking_files(location.manifest.files)):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(location.model / name, target)
