"""Knowledge measured while a real tiny model unlearns."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

import auditor
from auditor.core.errors import AuditorError
from auditor.integrations.training import KnowledgeCallback


class Ascent(Trainer):
    """Gradient ascent on the forget set."""

    def compute_loss(self, model, inputs, **_):
        return -model(**inputs).loss


@pytest.fixture
def callback(people, few_facts, tmp_path):
    def make(**changes):
        tokenizer = AutoTokenizer.from_pretrained(people.model_path("original"))
        parts = {
            "original": people.model_path("original"),
            "retrained": [people.model_path("retrained-0")],
            "forget": few_facts["forget"],
            "retain": few_facts["retain"],
            "out": tmp_path / "unlearning",
        }
        return KnowledgeCallback(tokenizer, **parts | changes)

    return make


@pytest.fixture
def examples(people, few_facts):
    tokenizer = AutoTokenizer.from_pretrained(people.model_path("original"))
    texts = [f"{f.prompt} {f.answer}" for f in auditor.load_facts(few_facts["forget"])]
    ids = [tokenizer(text)["input_ids"] for text in texts]
    return [{"input_ids": torch.tensor(i), "labels": torch.tensor(i)} for i in ids]


def trained(people, callback, examples, folder, **arguments):
    model = AutoModelForCausalLM.from_pretrained(people.model_path("original"), dtype=torch.float32)
    settings = {"max_steps": 6, "per_device_train_batch_size": 1, "learning_rate": 1e-3}
    settings |= {"report_to": "none", "use_cpu": True, "save_strategy": "no", "disable_tqdm": True}
    trainer = Ascent(
        model=model,
        args=TrainingArguments(output_dir=str(folder), **settings | arguments),
        train_dataset=examples,
        callbacks=[callback],
    )
    trainer.train()
    return trainer


def test_ascent_lowers_what_is_known_and_the_store_serves_the_others(
    people, few_facts, callback, examples, tmp_path
):
    watcher = callback(every=2)
    trainer = trained(people, watcher, examples, tmp_path, learning_rate=2e-4)
    history = watcher.history
    assert [row["step"] for row in history] == [2, 4, 6]
    first, last = history[0], history[-1]
    assert last["forget/answer-probability"] < first["forget/answer-probability"]
    facts = auditor.load_facts(few_facts["forget"])

    def mean_k(model):
        frame = auditor.run_attack("none/as-is", model, facts, metrics=["answer-probability"])
        return frame.k.mean()

    tokenizer = AutoTokenizer.from_pretrained(people.model_path("original"))
    u = mean_k(auditor.wrap_model(trainer.model, tokenizer))
    o, r = (
        mean_k(auditor.load_model(people.model_path(name), dtype="float32"))
        for name in ("original", "retrained-0")
    )
    assert last["forget/answer-probability"] == pytest.approx(u, abs=1e-4)
    assert last["residual/answer-probability"] == pytest.approx((u - r) / (o - r), abs=1e-3)
    assert last["residual/answer-probability"] < first["residual/answer-probability"] < 1.01
    logged = [row for row in trainer.state.log_history if "knowledge/residual/answer-recall" in row]
    assert [row["step"] for row in logged] == [2, 4, 6]
    assert list(watcher.to_frame()["step"]) == [2, 4, 6]

    jobs = set(watcher._store.keys())
    again = callback(every=6)
    trained(people, again, examples, tmp_path, max_steps=1)
    assert set(again._store.keys()) == jobs, "the original and the retrained model were kept"


def test_a_model_that_does_not_move_has_the_residual_of_the_original(
    people, callback, examples, tmp_path
):
    watcher = callback()
    trained(people, watcher, examples, tmp_path, learning_rate=0.0, max_steps=1)
    (row,) = watcher.history
    assert row["residual/answer-probability"] == pytest.approx(1.0, abs=1e-4)
    assert row["residual/answer-recall"] == pytest.approx(1.0, abs=1e-4)
    assert row["retain/answer-recall"] > 0.9


def test_no_residual_is_told_where_the_original_knows_nothing(people, callback, examples, tmp_path):
    watcher = callback(
        original=people.model_path("retrained-1"), retrained=people.model_path("retrained-0")
    )
    trained(people, watcher, examples, tmp_path, learning_rate=0.0, max_steps=1)
    assert "forget/answer-recall" in watcher.history[0]
    assert not any(name.startswith("residual/") for name in watcher.history[0])


def test_steps_of_none_are_refused(callback):
    with pytest.raises(AuditorError, match="every=0"):
        callback(every=0)
