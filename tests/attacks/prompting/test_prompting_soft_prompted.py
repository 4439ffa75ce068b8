"""Vectors in the place of words: what the model sees, and that nothing of it stays."""

from pathlib import Path

import pytest
import torch
from tiny_models import ARCHITECTURES, make_model, make_tokenizer, open_directory, save

from attacks.prompting.soft_prompt import SoftPrompt, SoftPromptParameters
from attacks.prompting.soft_prompted import soft_prompted
from auditor.attack import AttackContext
from auditor.core.arms import Arm
from auditor.core.errors import MeasurementError, UnavailableError
from auditor.core.facts import Fact, FactSets
from auditor.core.findings import Finding
from auditor.core.records import Record
from auditor.models.causal_lm.prompting import Encoded
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.preserve import weights_digest
from auditor.models.spec import PromptFormat

WORDS = " city number"
PAIRS = [("Person 3 lives in", "x 21."), ("Where does person 12 live?", "city")]


def vectors_of(subject, text=WORDS):
    ids = torch.tensor(subject.tokenizer(text, add_special_tokens=False)["input_ids"])
    with torch.no_grad():
        return subject.network.get_input_embeddings()(ids)


def losses(subject, pairs):
    return [s.mean_log_probability for s in subject.score(pairs)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_embeddings_of_words_do_what_the_words_do(subjects, architecture):
    subject = subjects[architecture]
    told = [(prompt + WORDS, answer) for prompt, answer in PAIRS]
    with soft_prompted(subject, vectors_of(subject), "after") as prompted:
        found = losses(prompted, PAIRS)
        said = prompted.generate([p for p, _ in PAIRS], 6)
    assert found == pytest.approx(losses(subject, told), abs=1e-5)
    assert said == subject.generate([p for p, _ in told], 6)
    with soft_prompted(subject, vectors_of(subject), "before") as prompted:
        found = losses(prompted, [(f" {p}", a) for p, a in PAIRS])
    assert found == pytest.approx(
        losses(subject, [(f"{WORDS} {p}", a) for p, a in PAIRS]), abs=1e-5
    )


def test_vectors_stand_within_the_template(directories):
    template = PromptFormat(template="Question: {prompt}\nAnswer:")
    subject = open_directory(directories["llama"], prompt_format=template)
    with soft_prompted(subject, vectors_of(subject), "after") as prompted:
        found = losses(prompted, PAIRS)
    assert found == pytest.approx(losses(subject, [(p + WORDS, a) for p, a in PAIRS]), abs=1e-5)


def test_vectors_stand_within_a_chat(tmp_path):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}[{{ m['content'] }}]{% endfor %}"
    chat = PromptFormat(chat=True)
    folder = save(tmp_path / "chat", make_model("llama"), tokenizer)
    subject = open_directory(folder, prompt_format=chat)
    with soft_prompted(subject, vectors_of(subject), "after") as prompted:
        found = losses(prompted, PAIRS)
    assert found == pytest.approx(losses(subject, [(p + WORDS, a) for p, a in PAIRS]), abs=1e-5)


def test_nothing_stays_even_after_an_error(directories):
    subject = open_directory(directories["gpt2"])
    before, size, plain = (
        weights_digest(subject.network),
        len(subject.tokenizer),
        losses(subject, PAIRS),
    )
    embedding = subject.network.get_input_embeddings()
    with soft_prompted(subject, 9 * vectors_of(subject), "after") as prompted:
        assert losses(prompted, PAIRS) != pytest.approx(plain)
    with (
        soft_prompted(subject, 9 * vectors_of(subject), "after") as prompted,
        pytest.raises(MeasurementError, match="context"),
    ):
        prompted.score([("a prompt " * 60, "x")])
    assert not embedding._forward_hooks
    assert not embedding._forward_pre_hooks
    assert len(subject.tokenizer) == size
    assert subject.prompt_format == PromptFormat()
    assert losses(subject, PAIRS) == plain
    assert weights_digest(subject.network) == before


def test_the_meter_is_the_subjects(directories):
    subject = open_directory(directories["llama"])
    with soft_prompted(subject, vectors_of(subject), "after") as prompted:
        prompted.score(PAIRS)
    assert subject.meter.forward_tokens > 0


FACTS = tuple(
    Fact(
        id=f"f{i}",
        entity=f"s{i // 2}",
        prompt=f"Person {i} lives in",
        answer=f"city number {i * 7}",
    )
    for i in range(4)
)
SMALL = SoftPromptParameters(
    num_virtual_tokens=2, num_steps=8, batch_size=2, learning_rate=0.3, phrasings=1
)


def evaluator():
    return TextEvaluator(FactSets(forget=FACTS), ["answer-probability", "rouge-l-recall"])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_soft_prompts_on_every_architecture(subjects, architecture, tmp_path):
    subject, attack = subjects[architecture], SoftPrompt(SMALL)
    before = weights_digest(subject.network)
    found = attack.search(subject, AttackContext(evaluator(), 0, Path("unused")))
    again = attack.search(subject, AttackContext(evaluator(), 0, Path("unused")))
    assert (found.arrays["vectors"] == again.arrays["vectors"]).all()
    assert found.arrays["vectors"].shape == (2, 2, 128)
    for lower, higher in zip(found.notes["loss_after"], found.notes["loss_before"], strict=True):
        assert lower < higher
    pool = [Finding(Arm.UNLEARNED, True, found), Finding("original", False, again)]
    record = attack.measure(subject, AttackContext(evaluator(), 0, tmp_path, pool))
    plain = {(r.fact, r.metric): r.k for r in evaluator().evaluate(subject, ("forget",))}
    assert {(r.fact, r.metric) for r in record.rows} == plain.keys()
    assert all(row.k >= plain[row.fact, row.metric] for row in record.rows)
    assert weights_digest(subject.network) == before


def test_arms_of_other_widths_are_measured_with_their_own_vectors(subjects):
    def finding(arm, own, width):
        return Finding(arm, own, Record(arrays={"vectors": torch.zeros(2, 2, width).numpy()}))

    attack, subject = SoftPrompt(SMALL), subjects["llama"]
    same = [finding("unlearned", True, 128), finding("original", False, 128)]
    other = [finding("unlearned", True, 128), finding("original", False, 64)]
    assert list(attack.comparable(subject, same)) == same
    assert list(attack.comparable(subject, other)) == other[:1]


def test_vectors_that_exceed_the_context_say_so(subjects):
    attack = SoftPrompt(SMALL.model_copy(update={"num_virtual_tokens": 200}))
    with pytest.raises(UnavailableError, match="fewer `num_virtual_tokens`"):
        attack.search(subjects["llama"], AttackContext(evaluator(), 0, Path("unused")))


def named_facts():
    """Two facts of each of two entities, whose names are in the prompts."""
    told = [("Ann", "city"), ("Ann", "number"), ("Bo", "city"), ("Bo", "number")]
    return tuple(
        Fact(id=str(i), entity=name, prompt=f"The {what} of {name} is", answer=f"x {i}.")
        for i, (name, what) in enumerate(told)
    )


def test_vectors_in_the_place_of_names_are_each_entitys_own(directories):
    """Embeddings of two words, put where the two names stand, do what the words do."""
    subject = open_directory(directories["llama"])
    facts = named_facts()
    worded = SoftPrompt(SoftPromptParameters(place="entity", num_virtual_tokens=1)).wording(facts)
    words = [subject.tokenizer(w, add_special_tokens=False)["input_ids"][0] for w in ("x", "city")]
    vectors = subject.network.get_input_embeddings()(torch.tensor(words)).detach()
    with soft_prompted(subject, vectors, "entity") as prompted:
        items = prompted.encode([(worded(f).prompt, f.answer) for f in facts])
        losses_of = [prompted.loss([item]).item() for item in items]
    first = len(subject.tokenizer)
    assert [[i - first for i in item.ids if i >= first] for item in items] == [[0], [0], [1], [1]]
    spelled = [
        Encoded([words[i - first] if i >= first else i for i in item.ids], item.answer)
        for item in items
    ]
    assert losses_of == pytest.approx([subject.loss([item]).item() for item in spelled], abs=1e-5)


def test_names_are_searched_for_all_entities_at_once_on_some_facts_of_each():
    for wrong in ({"scope": "per-entity"}, {"split": "entity"}):
        with pytest.raises(ValueError, match="in the place of names"):
            SoftPromptParameters(place="entity", **wrong)


def test_a_name_that_no_prompt_has_leaves_no_place(directories):
    subject = open_directory(directories["llama"])
    facts = tuple(f.model_copy(update={"entity": f"{f.entity} Bohr"}) for f in named_facts())
    sets = FactSets(forget=facts)
    attack = SoftPrompt(SoftPromptParameters(place="entity", num_steps=1))
    context = AttackContext(TextEvaluator(sets, ["answer-probability"]), 0, Path("unused"))
    with pytest.raises(UnavailableError, match="name of its entity"):
        attack.search(subject, context)
