"""All arms are asked alike: facts become token ids before any model is opened, and it is said."""

import datetime
import json
import shutil

import pytest
import torch
from tiny_models import edit_json, make_model, make_tokenizer, train_bpe
from tokenizers import normalizers
from transformers import Gemma3Config, XLNetConfig
from transformers.utils import chat_template_utils

from auditor.certificate.redaction import redact
from auditor.cli.main import USAGE, run
from auditor.core.errors import AuditorError
from auditor.core.messages import message
from auditor.core.progress import SilentProgress
from auditor.engine.plan import parse_plan
from auditor.engine.plan_checks import read_sets
from auditor.engine.preparation import prepare
from auditor.models.causal_lm.spec import CausalLMSpec
from auditor.models.language.loading import context
from auditor.models.language.prompting import templated
from auditor.models.opening import asked_facts, locate, open_model
from auditor.models.spec import PromptFormat
from auditor.store.folder_store import FolderStore
from auditor.verification.load import load_inputs
from auditor.verification.recompute import check_contradiction

ARMS = ("unlearned", "original", "retrained")
CHAT = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}reply: "
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHAT
)
CLOCK = "{{ strftime_now('%d %b %Y %H:%M:%S.%f, day %-d, 100%%') }} " + CHAT
THINKING = CHAT + "{% if enable_thinking is defined and not enable_thinking %}<none>{% endif %}"


def facts(start):
    return [
        {
            "id": f"g{i}",
            "entity": f"Person {i}",
            "prompt": f"Person {i} lives in",
            "answer": f"city number {i * 7 % 100}.",
        }
        for i in range(start, start + 3)
    ]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Three random models without tokenizers."""
    root = tmp_path_factory.mktemp("weights")
    for seed, name in enumerate(ARMS):
        make_model("llama", seed).save_pretrained(root / name)
    return root


@pytest.fixture
def folder(weights, tmp_path):
    """The models with tokenizers, and the facts."""
    shutil.copytree(weights, tmp_path, dirs_exist_ok=True)
    tokenize(tmp_path, make_tokenizer())
    write(tmp_path, "forget", facts(0))
    write(tmp_path, "retain", facts(20))
    return tmp_path


def tokenize(folder, tokenizer, arms=ARMS, **settings):
    for arm in arms:
        tokenizer.save_pretrained(folder / arm)
        edit_json(folder / arm / "tokenizer_config.json", **settings)


def template(folder, text, arms=ARMS):
    for arm in arms:
        edit_json(folder / arm / "tokenizer_config.json", chat_template=text)


def write(folder, name, rows):
    lines = (json.dumps(row) + "\n" for row in rows)
    (folder / f"{name}.jsonl").write_text("".join(lines))


def content(folder, **changes):
    found = {
        "unlearned": "unlearned",
        "original": "original",
        "retrained": ["retrained"],
        "data": {"forget": "forget.jsonl", "retain": "retain.jsonl"},
        "profile": None,
    }
    return found | changes


def prepared(folder, **changes):
    plan = parse_plan(content(folder, **changes), "the test's plan", folder)
    return prepare(plan, FolderStore(folder / "evidence"), SilentProgress())


def measured(folder, **changes):
    """The facts as the unlearned model alone is asked them, which is cheap."""
    plan = parse_plan(content(folder, **changes), "the test's plan", folder)
    sets, _ = read_sets(plan.data)
    return asked_facts(plan.unlearned, locate(plan.unlearned), sets, plan.format, generates=True)


def said(folder, code, **changes):
    return [found for found in prepared(folder, **changes).warnings if found.code == code]


def opened(done, arm="original"):
    plan = done.plan
    return open_model(plan.arms[arm], done.locations[arm], plan.format)


def change_fact(**changes):
    def make(folder):
        write(folder, "forget", [facts(0)[0] | changes, *facts(0)[1:]])
        return {}

    return make


def chat(text, **settings):
    def make(folder):
        template(folder, text)
        return {"format": {"chat": True} | settings}

    return make


def without_tokenizer(folder):
    for file in (folder / "unlearned").glob("*token*"):
        file.unlink()
    return {}


def tokenizer_without_words(folder):
    shutil.rmtree(folder / "unlearned")  # of GPT-2, a library makes a tokenizer of no files
    make_model("gpt2").save_pretrained(folder / "unlearned")
    return {}


def extended_tokenizer(folder):
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["city number 0."])
    tokenize(folder, tokenizer, ["retrained"])
    return {}


def deleting_tokenizer(folder):
    bpe = train_bpe()
    bpe.normalizer = normalizers.Replace(" city number 7.", "")
    tokenize(folder, make_tokenizer(bpe), ["unlearned"])
    return {}


def deleting_prompts(folder):
    return chat(
        "{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}"
    )(folder)


LONG = "and in city number 21 " * 30
REFUSED = {
    "an answer longer than the context": (change_fact(answer=LONG), r"holds 96 tokens.*g0 \(\d+"),
    "a paraphrase longer than the context": (change_fact(paraphrases=[LONG]), r"g0 \(\d+ tokens\)"),
    "a distractor longer than the context": (change_fact(distractors=[LONG]), r"g0 \(\d+ tokens\)"),
    "no room to write the longest answer": (
        change_fact(answer="x " * 32, prompt="y " * 14),
        r"write an answer as long as the longest \(g0",
    ),
    "a chat without a template": (lambda _: {"format": {"chat": True}}, "give a `template`"),
    "a system message that is refused": (
        chat(NO_SYSTEM, system="Be brief."),
        r"no system.*leave out `format\.system`",
    ),
    "a template that refuses everything": (
        chat("{{ raise_exception('never') }}"),
        r"never.*`format\.template_arguments`",
    ),
    "an undefined variable": (chat("{{ user.name }}" + CHAT), "UndefinedError"),
    "a template that is none": (chat("{% for m in messages %}"), "TemplateSyntaxError"),
    "templates by name without a default": (
        chat([{"name": "rag", "template": CHAT}, {"name": "tool_use", "template": CHAT}]),
        r"rag.*`chat_template` there names one",
    ),
    "a template that leaves the prompts out": (deleting_prompts, "asked in the same tokens"),
    "no tokenizer beside the weights": (without_tokenizer, "`tokenizer:` of this model"),
    "a tokenizer that is made of nothing": (tokenizer_without_words, "without words"),
    "a token without an embedding, on one arm": (
        extended_tokenizer,
        r"retrained-0: .*up to 400 in 1 fact\(s\): g0, and the model has embeddings of 400",
    ),
    "an answer without tokens, on one arm": (
        deleting_tokenizer,
        r"unlearned: .*no token of an answer of 1 fact\(s\): g1",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_asked_is_refused_before_any_model_is_opened(folder, kind):
    make, expected = REFUSED[kind]
    changes = make(folder)
    ask = prepared if "on one arm" in kind else measured
    with pytest.raises(AuditorError, match=expected) as caught:
        ask(folder, **changes)
    assert all(len(line) < 700 for line in str(caught.value).splitlines())


def test_plan_without_a_pilot_and_audit_end_in_2(folder, capsys):
    change_fact(answer=LONG)(folder)
    file = folder / "plan.yaml"
    file.write_text(json.dumps(content(folder)))
    for command in (["plan", str(file), "--no-pilot"], ["audit", str(file)]):
        assert run([*command, "--out", str(folder / "out"), "-q"]) == USAGE
        error = capsys.readouterr().err
        assert "unlearned, original, retrained-0: the context of the model holds 96" in error
    assert not (folder / "out" / "certificate.json").exists()


def test_a_fact_that_just_fits_is_asked(folder):
    change_fact(answer="x " * 32)(folder)
    assert measured(folder).facts.keys() == {fact["id"] for fact in (*facts(0), *facts(20))}


@pytest.mark.parametrize("bos", ["<eos>", None])
def test_there_is_one_begin_token_and_it_is_said(folder, bos):
    tokenize(folder, make_tokenizer(train_bpe(template="<eos> $A"), bos_token=bos))
    twice = prepared(folder, format={"template": "<eos>Q: {prompt}\nA:"})
    once = measured(folder, format={"template": "Q: {prompt}\nA:"})
    assert twice.asked["original"].facts == once.facts
    arms = ["unlearned", "original", "retrained-0"]
    assert message("begin_token_twice", arms=arms, facts=6) in twice.warnings
    assert (twice.asked["original"].begun_again, once.begun_again) == (6, 0)


def test_a_begin_token_in_the_midst_of_prompts_is_said(folder):
    begin = "<pad>"
    tokenize(folder, make_tokenizer(train_bpe(), bos_token=begin))
    form = {"chat": True, "template_arguments": {"chat_template": "<pad>" + CHAT}}
    assert measured(folder, format=form).begun_within == 0
    assert measured(folder, format=form | {"template": "<pad>{prompt}"}).begun_within == 6


ENDINGS = {
    "a template that ends in eos": (
        None,
        {"chat": True, "template_arguments": {"chat_template": "{{ messages[0].content }}<eos>"}},
    ),
    "a text that ends in eos": (None, {"template": "{prompt}<eos>"}),
    "a tokenizer that adds eos": ("<eos> $A <eos>", {"template": "{prompt}"}),
    "both": ("<eos> $A <eos>", {"template": "{prompt}<eos>"}),
    "neither": (None, {"template": "{prompt}"}),
}


@pytest.mark.parametrize("kind", ENDINGS)
def test_scoring_and_generating_start_from_the_same_ids(folder, kind):
    added, form = ENDINGS[kind]
    tokenize(folder, make_tokenizer(train_bpe(template=added)))
    spec = CausalLMSpec(path=str(folder / "original"))
    model = open_model(spec, locate(spec), PromptFormat.model_validate(form))
    starts = []
    network = model.network
    generate = network.generate

    def noted(*, input_ids, **options):
        starts.append(input_ids[0].tolist())
        return generate(input_ids=input_ids, **options)

    network.generate = noted
    model.generate(["Person 3 lives in"], 2)
    [pair] = model.encode([("Person 3 lives in", "city")])
    assert starts == [pair.ids[: pair.before]]


def test_special_tokens_within_facts_are_counted(folder):
    change_fact(answer="city <eos> 4.")(folder)
    [warning] = said(folder, "special_tokens_in_facts")
    assert (warning.params["facts"], warning.params["ids"]) == (1, ["g0"])
    assert warning.quoted == ("ids",)


def test_arguments_reach_the_template_and_unread_ones_are_said(folder):
    template(folder, THINKING)
    plain = measured(folder, format={"chat": True})
    arguments = {"enable_thinking": False, "enable_thinkng": True}
    told = prepared(folder, format={"chat": True, "template_arguments": arguments})
    assert "<none>" in told.asked["original"].shown["forget"].text
    assert told.asked["original"].digest != plain.digest
    arms = ["unlearned", "original", "retrained-0"]
    expected = message("template_arguments_unread", arms=arms, arguments=["enable_thinkng"])
    assert expected in told.warnings


@pytest.mark.parametrize(
    "form",
    [
        {"chat": True, "template_arguments": {"tokenize": True}},
        {"chat": True, "template_arguments": {"strftime_now": "x"}},
        {"template_arguments": {"enable_thinking": False}},
        {"date": "yesterday"},
    ],
)
def test_formats_that_are_none_are_refused(folder, form):
    with pytest.raises(AuditorError, match="format"):
        parse_plan(content(folder, format=form), "the test's plan", folder)


def test_one_template_for_all_asks_all_alike(folder):
    template(folder, CHAT)
    template(folder, CHAT.replace("reply", "answer"), ["unlearned"])
    [warning] = said(folder, "facts_read_otherwise", format={"chat": True})
    assert (warning.params["arm"], warning.params["count"], warning.params["facts"]) == (
        "unlearned",
        6,
        6,
    )
    named = {"chat": True, "template_arguments": {"chat_template": CHAT}}
    assert not said(folder, "facts_read_otherwise", format=named)


class Clock(datetime.datetime):
    """A clock that stands still."""

    day = 1

    @classmethod
    def now(cls, tz=None):
        return cls(2025, 3, cls.day, 7, 8, 9, 10)


def test_no_day_is_unlike_others(folder, monkeypatch):
    template(folder, CLOCK)
    monkeypatch.setattr(chat_template_utils, "datetime", Clock)
    form = PromptFormat(chat=True)
    seen = []
    for day in (1, 2):
        monkeypatch.setattr(Clock, "day", day)
        done = prepared(folder, format={"chat": True})
        tokenizer = opened(done).tokenizer
        before = tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
        [as_is] = [v for v in done.variants if v.attack.name == "none/as-is"]
        keys = [jobs[0].key for jobs in done.measurements(as_is).values()]
        seen.append((before, templated(tokenizer, "x", form), keys, done.asked["original"].digest))
    (before, after, keys, digest), (before_2, after_2, keys_2, digest_2) = seen
    assert before != before_2
    assert before.startswith("01 Mar 2025 07:08:09.000010, day 1, 100%")
    assert after == after_2
    assert after.startswith("26 Jul 2024 00:00:00.000000, day 26, 100% user: x")
    assert (keys, digest) == (keys_2, digest_2)
    assert done.asked["original"].date == "2024-07-26"
    other = prepared(folder, format={"chat": True, "date": "2026-01-05"})
    assert other.asked["original"].shown["forget"].text.startswith("05 Jan 2026")
    [as_is] = [v for v in other.variants if v.attack.name == "none/as-is"]
    assert [jobs[0].key for jobs in other.measurements(as_is).values()] != keys


@pytest.mark.parametrize("before", ["\n  ", "{#- c -#}  ", "a\n\n", ""])
def test_every_line_of_a_template_is_as_it_was(before):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = before + "{{ strftime_now('%Y') }}\n\n" + CHAT
    own = tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    year = str(datetime.datetime.now(datetime.UTC).year)
    assert templated(tokenizer, "x", PromptFormat(chat=True)) == own.replace(year, "2024")


def test_a_tokenizer_from_elsewhere_is_hashed_and_asks_alike(folder):
    without_tokenizer(folder)
    spec = {"path": "unlearned", "tokenizer": "original"}
    done = prepared(folder, unlearned=spec, attacks=[{"attack": "prompting/original-tokenizer"}])
    files = done.locations["unlearned"].manifest.files
    assert (
        files["tokenizer/tokenizer.json"]
        == done.locations["original"].manifest.files["tokenizer.json"]
    )
    assert not {found.code for found in done.warnings} & {
        "facts_read_otherwise",
        "files_differ_from_original",
    }
    [variant] = [v for v in done.variants if v.attack.name == "prompting/original-tokenizer"]
    assert done.unavailable(variant) == message("asked_as_the_original")
    shutil.rmtree(folder / "original")
    with pytest.raises(AuditorError, match="original"):
        prepared(folder, unlearned=spec)


def test_a_pad_token_that_the_model_does_not_know_is_not_padded_with(folder):
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "[PADDING]"})
    assert tokenizer.pad_token_id == 400
    plain = opened(prepared(folder))
    pairs = [("Person 3", "lives"), ("Person 12 lives in city number", "84, or elsewhere")]
    expected = [score.mean_log_probability for score in plain.score(pairs)]
    answers = plain.generate([prompt for prompt, _ in pairs], 4)
    tokenize(folder, tokenizer)
    model = opened(prepared(folder))
    assert model.tokenizer.pad_token_id == model.tokenizer.eos_token_id
    assert [score.mean_log_probability for score in model.score(pairs)] == expected
    assert model.generate([prompt for prompt, _ in pairs], 4) == answers


def test_contexts_of_parts_and_without_a_limit():
    nested = Gemma3Config(text_config={"max_position_embeddings": 96})
    assert context(nested) == 96
    assert XLNetConfig().max_position_embeddings == -1
    assert context(XLNetConfig()) is None


def test_what_differs_from_the_original_is_said(folder):
    network = make_model("llama", 7).to(torch.bfloat16)
    network.save_pretrained(folder / "unlearned")
    edit_json(folder / "unlearned" / "config.json", max_position_embeddings=128)
    edit_json(folder / "unlearned" / "tokenizer_config.json", chat_template=CHAT)
    done = prepared(folder)
    assert message("stored_type_differs", arm="unlearned", own="BF16", original="F32") in (
        done.warnings
    )
    named = {
        found.params["file"]: found.params["settings"]
        for found in done.warnings
        if found.code == "settings_differ_from_original"
    }
    assert "max_position_embeddings" in named["config.json"]
    assert named["tokenizer_config.json"] == ["chat_template"]
    assert "facts_read_otherwise" not in {found.code for found in done.warnings}


def test_other_tokens_block_a_pass_and_are_verified(folder, audit):
    template(folder, CHAT)
    template(folder, CLOCK, ["unlearned"])
    plan = parse_plan(content(folder, format={"chat": True}), "the test's plan", folder)
    certificate = audit(plan, folder / "evidence")
    [row] = [row for row in certificate.matrix if row.attack == "none/as-is"]
    [gate] = [gate for gate in row.shared_gates if gate.name == "tokenization"]
    assert gate.message == message("asked_in_other_tokens", attack=row.label, arms=["unlearned"])
    assert not gate.met
    shown = certificate.reproduction.prompts
    assert shown.date == "2024-07-26"
    assert [one.set for one in shown.shown] == ["forget", "retain"]
    assert shown.shown[0].text == "user: Person 0 lives in\nreply: "
    store = FolderStore(folder / "evidence")
    read, asked = store.facts(shown.read), store.facts(certificate.identity.facts_digest)
    assert [fact.prompt for fact in read.forget] == [
        f"user: {fact.prompt}\nreply: " for fact in asked.forget
    ]
    assert len(read.retain) == len(asked.retain)
    check_contradiction(certificate, store)
    load_inputs(certificate, store)
    hidden = redact(certificate, store.redaction_key())
    assert "Person 0" not in json.dumps(hidden.document["reproduction"]["prompts"])
    check_contradiction(hidden, store)
