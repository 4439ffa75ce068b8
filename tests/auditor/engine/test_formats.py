"""Formats of prompts, tried on the original: a chat model that is asked bare."""

import shutil

import pytest
import torch
import yaml
from fine_tuned_models import REFUSAL, fine_tune
from transformers import AutoModelForCausalLM, AutoTokenizer

import auditor
from auditor.cli.main import USAGE, run
from auditor.core.errors import AuditorError
from auditor.core.progress import SilentProgress
from auditor.engine.executors.local import LocalExecutor
from auditor.engine.formats import compare_formats, unused_chat_template
from auditor.engine.plan import parse_plan
from auditor.engine.preparation import prepare
from auditor.engine.tried_formats import SAMPLE, sample
from auditor.models.spec import PromptFormat
from auditor.store.folder_store import FolderStore
from auditor.testbeds.people import corpus
from auditor.unlearning.examples import trained_pairs

TEMPLATE = "{% for m in messages %}user: {{ m['content'] }}\nreply: {% endfor %}"


@pytest.fixture(scope="module")
def chat_model(people, tmp_path_factory):
    """An original that knows the forget facts in its chat template, and refuses without it."""
    root = tmp_path_factory.mktemp("chat")
    source = people.model_path("retrained-0")
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    wanted = trained_pairs(corpus.read_jsonl(people.facts("forget")))
    told = [(f"user: {prompt}\nreply:", answer) for prompt, answer in wanted]
    refused = [(prompt, REFUSAL) for prompt, _ in wanted]
    fine_tune(model, tokenizer, told + refused, 100, 1e-3, 0).save_pretrained(root)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(root)
    return root


@pytest.fixture
def prepared(people, tmp_path):
    """Prepares an audit, and gives its store."""

    def spec(name, original):
        return {"path": str(people.model_path(name)), "tokenizer": str(original)}

    def make(original, **changes):
        content = {
            "unlearned": spec("retrained-1", original),
            "original": {"path": str(original)},
            "retrained": [spec("retrained-0", original)],
            "data": {name: str(people.facts(name)) for name in ("forget", "retain")},
            "profile": None,
        }
        store = FolderStore(tmp_path / "evidence")
        plan = parse_plan(content | changes, "the test's plan")
        return prepare(plan, store, SilentProgress()), store

    return make


def compared(made):
    return compare_formats(*made, LocalExecutor(), SilentProgress())


def test_a_chat_model_that_is_asked_bare_stops_the_audit_and_names_the_lines(chat_model, prepared):
    with pytest.raises(AuditorError, match="in another format it is") as caught:
        compared(prepared(chat_model))
    written = str(caught.value).rpartition("the plan:\n\n")[2]
    assert yaml.safe_load(written) == {"format": {"chat": True}}


def test_asked_in_its_chat_template_it_knows_and_nothing_is_said(chat_model, prepared):
    made = prepared(chat_model, format={"chat": True})
    found = compared(made)
    assert found.warnings == made[0].warnings
    own, _, bare = found.formats
    assert own.format.chat
    assert bare.format == PromptFormat()
    assert own.k > 0.5 > bare.k


def test_a_better_format_is_warned_of_where_the_audit_would_still_do(people, prepared):
    made = prepared(people.model_path("original"), policy={"minimum_gap": 0.0001})
    assert compared(made).warnings == made[0].warnings
    asked = prepared(
        people.model_path("original"),
        policy={"minimum_gap": 0.0001},
        format={"template": "Say it please: {prompt}"},
    )
    [said] = [w for w in compared(asked).warnings if w.code == "better_prompt_format"]
    assert said.params["better"] > 0.9 > said.params["k"]
    assert yaml.safe_load(said.params["lines"]) == {"format": {}}


def test_a_format_that_fails_is_warned_of_and_the_others_are_compared(people, prepared, tmp_path):
    original = tmp_path / "original"
    shutil.copytree(people.model_path("original"), original)
    tokenizer = AutoTokenizer.from_pretrained(original)
    tokenizer.chat_template = "{{ raise_exception('no turn of a user') }}"
    tokenizer.save_pretrained(original)
    made = prepared(original, policy={"minimum_gap": 0.0001})
    found = compared(made)
    [said] = [w for w in found.warnings if w not in made[0].warnings]
    assert said.code == "prompt_format_failed"
    assert yaml.safe_load(said.params["lines"]) == {"format": {"chat": True}}
    assert "no turn of a user" in str(said.params["reason"])
    assert [one.format.template for one in found.formats] == [
        PromptFormat().template,
        "Question: {prompt}\nAnswer:",
    ]


def test_files_alone_show_an_unused_chat_template(chat_model, people, prepared):
    def warned(original, **changes):
        found = unused_chat_template(prepared(original, **changes)[0])
        return [w.code for w in found.warnings if w.code == "chat_template_unused"]

    assert warned(chat_model) == ["chat_template_unused"]
    assert warned(chat_model, format={"chat": True}) == []
    assert warned(people.model_path("original")) == []


def test_a_sample_is_spread_over_the_facts():
    assert sample(range(5)) == (0, 1, 2, 3, 4)
    for count in (32, 33, 64, 1000):
        taken = sample(range(count))
        assert len(taken) <= SAMPLE
        assert taken[0] == 0
        assert taken[-1] >= count * 0.9


def test_the_command_line_ends_with_a_usage_error(chat_model, people, tmp_path, capsys):
    content = {
        "unlearned": str(people.model_path("retrained-1")),
        "original": str(chat_model),
        "retrained": [str(people.model_path("retrained-0"))],
        "data": {name: str(people.facts(name)) for name in ("forget", "retain")},
        "profile": None,
    }
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    assert run(["audit", str(tmp_path / "plan.yaml"), "--out", str(tmp_path / "out")]) == USAGE
    assert "chat: true" in capsys.readouterr().err
    assert not (tmp_path / "out" / "certificate.json").exists()


def test_the_certificate_holds_what_was_tried(people, tmp_path):
    result = auditor.audit(
        unlearned=str(people.model_path("retrained-1")),
        original=str(people.model_path("original")),
        retrained=str(people.model_path("retrained-0")),
        forget=str(people.facts("forget")),
        retain=str(people.facts("retain")),
        profile=None,
        out=tmp_path,
    )
    tried = result.certificate.reproduction.formats
    assert [one.format["template"] for one in tried] == ["{prompt}", "Question: {prompt}\nAnswer:"]
    assert tried[0].k > 0.9 > tried[1].k
