"""Attacks on a model that tells by every way but the plain question, and on one that never knew."""

import json
from pathlib import Path

import pytest
from tiny_models import open_directory
from told_otherwise import SETS, translated

from attacks.prompting.attacker_model import AttackerModel, AttackerModelParameters
from attacks.prompting.best_of_n import BestOfN, BestOfNParameters
from attacks.prompting.cloze import Cloze
from attacks.prompting.related_facts import RelatedFacts, RelatedFactsParameters
from attacks.prompting.reminders import Reminders, RemindersParameters
from attacks.prompting.translated import Translated, TranslatedParameters
from auditor.attack import AttackContext, Parameters
from auditor.certificate.files import write_certificate
from auditor.cli.main import OK, USAGE, run
from auditor.core.arms import Arm
from auditor.core.errors import AuditorError, UnavailableError
from auditor.core.facts import FactSets
from auditor.core.findings import Finding
from auditor.engine.plan import parse_plan
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.preserve import weights_digest
from auditor.statistics.effect import lacking_effect

ARMS = ("unlearned", "original", "retrained")
NAMED = {"unlearned": Arm.UNLEARNED, "original": Arm.ORIGINAL, "retrained": Arm("retrained-0")}


@pytest.fixture
def arms(told_otherwise):
    return {arm: open_directory(told_otherwise[arm]) for arm in ARMS}


def evaluator():
    return TextEvaluator(SETS, ["answer-probability"])


def mean(rows):
    ks = [row.k for row in rows if row.set == "forget"]
    return sum(ks) / len(ks)


def attacks(world):
    return {
        **{
            relation: RelatedFacts(RelatedFactsParameters(relation=relation))
            for relation in ("multi-hop", "alias", "twins", "triplets")
        },
        "cloze": Cloze(Parameters()),
        "close facts": Reminders(RemindersParameters(shown=2)),
        "best of n": BestOfN(BestOfNParameters(samples=8, k=4, strength=0.0)),
        "translated": Translated(TranslatedParameters(translations=str(world["translations"]))),
    }


@pytest.mark.parametrize("name", list(attacks({"translations": "x"})))
def test_what_the_plain_question_hides_is_found_and_a_retrained_model_is_not(
    name, arms, told_otherwise, tmp_path
):
    attack = attacks(told_otherwise)[name]
    known = {}
    for arm, model in arms.items():
        before = weights_digest(model.network)
        record = attack.measure(model, AttackContext(evaluator(), 0, tmp_path))
        assert {row.fact for row in record.rows} == {fact.id for fact in SETS.forget}
        assert weights_digest(model.network) == before
        known[arm] = mean(record.rows)
    plain = {a: mean(evaluator().evaluate(m, ("forget",))) for a, m in arms.items()}
    assert plain["unlearned"] < 0.1 < 0.8 < plain["original"]
    assert known["unlearned"] > 0.3
    assert known["original"] > 0.6
    assert known["retrained"] < 0.05


def searched(attack, arms, names, tmp_path, asked=None):
    """What a search finds on each arm, and what each knows under the pool."""
    asked = asked or evaluator()
    context = AttackContext(asked, 0, tmp_path)
    found = {name: attack.search(arms[name], context) for name in names}
    records = {}
    for own in names:
        pool = [Finding(NAMED[name], name == own, found[name]) for name in names]
        records[own] = attack.measure(arms[own], AttackContext(asked, 0, tmp_path, pool))
    return found, records


@pytest.mark.parametrize("proposes", ["openings", "questions"])
def test_the_attacker_finds_what_opens_the_unlearned_model(
    proposes, arms, attacker_model, tmp_path
):
    attack = attacker_model(proposes=proposes)
    found, records = searched(attack, arms, ("unlearned", "retrained"), tmp_path)
    own = found["unlearned"].notes
    assert found["retrained"].notes["proposed"] == own["proposed"]  # every arm has the same budget
    assert all("archive" in each for each in own["prompts"]), "other openings lead nowhere"
    assert set(own["proposed"]) == {24}
    assert sorted(i for part in own["asked"] for i in part) == sorted(f.id for f in SETS.forget)
    assert mean(records["unlearned"].rows) > 0.6
    assert mean(records["retrained"].rows) < 0.05
    again = attack.search(arms["unlearned"], AttackContext(evaluator(), 0, tmp_path))
    assert again == found["unlearned"]
    figures = {f.name for f in attack.side_figures({"unlearned": records["unlearned"].notes})}
    assert ("k_of_facts_held_out" in figures) == (proposes == "openings")


def test_a_search_without_a_usable_proposal_has_no_effect(arms, attacker_model, tmp_path):
    """All that the attacker can propose holds the word that is the answer here."""
    facts = tuple(
        fact.model_copy(update={"answer": "the"})
        for fact in SETS.forget
        if fact.id.endswith("birthplace")
    )
    asked = TextEvaluator(FactSets(forget=facts), ["answer-probability"])
    attack = attacker_model(rounds=1, temperature=0.2)
    found, records = searched(attack, arms, ("unlearned", "retrained"), tmp_path, asked)
    for name, record in records.items():
        assert found[name].notes["prompts"] == ["{question}"] * 2
        assert found[name].notes["evaluated"] == [1, 1]
        assert found[name].notes["proposed"] == [12, 12]
        assert record.rows == asked.evaluate(arms[name], ("forget",))
    noted = {NAMED[name]: [record.notes["effect"]] for name, record in records.items()}
    said = lacking_effect(attack.id.label, "search_loss", noted)
    assert said.code == "no_effect_on_baseline"


def test_an_attacker_with_a_short_context_is_unavailable(
    arms, attacker_model, directories, tmp_path
):
    attack = attacker_model(attacker=str(directories["llama"]))
    with pytest.raises(UnavailableError, match="its context holds 96"):
        attack.search(arms["unlearned"], AttackContext(evaluator(), 0, tmp_path))


@pytest.fixture
def plan(told_otherwise):
    """An audit of the world's unlearned model under some attacks."""

    def make(*requests):
        def arm(name):
            return {"path": str(told_otherwise[name]), "dtype": "float32"}

        content = {
            "unlearned": arm("unlearned"),
            "original": arm("original"),
            "retrained": [arm("retrained")],
            "data": {name: str(told_otherwise[name]) for name in ("forget", "retain")},
            "profile": None,
            "attacks": [{"attack": name, "parameters": given} for name, given in requests],
            "policy": {"mandatory": ["none/as-is"]},
            "metrics": {"deciding": [], "reported": []},
            "seeds": [0],
        }
        return parse_plan(content, "the test's plan")

    return make


def test_found_prompts_are_exported_and_redacted(
    plan, audit, attacker_model, tmp_path, store_root, capsys
):
    parameters = attacker_model(rounds=1).parameters.model_dump(exclude_defaults=True)
    small = {"suffix_length": 2, "num_steps": 1, "search_width": 2, "topk": 4, "batch_size": 2}
    certificate = audit(
        plan(
            ("prompting/attacker-model", parameters),
            ("prompting/gcg", {"split": "half", "allow_non_ascii": "any"} | small),
        )
    )
    file = tmp_path / "certificate.json"
    write_certificate(certificate, file)
    rows = {row.attack: row for row in certificate.matrix}
    assert rows["prompting/attacker-model"].status == "measured"
    known = rows["prompting/attacker-model"].forget["answer-probability"]
    assert known["unlearned"] > known["retrained-0"] + 0.4

    arguments = ["export", str(file), "--store", str(store_root), "--json"]
    assert run([*arguments, "--prompts"]) == OK
    written = json.loads(capsys.readouterr().out)
    found = [json.loads(line) for line in Path(written["file"]).read_text().splitlines()]
    assert written["rows"] == len(found) == 2 * 2 * 3  # attacks, parts, arms
    assert {(each["attack"], each["kind"]) for each in found} == {
        ("prompting/attacker-model", "prompt"),
        ("prompting/gcg", "suffix"),
    }
    proposed = [each for each in found if each["kind"] == "prompt"]
    assert {each["arm"] for each in proposed} == {"unlearned", "original", "retrained-0"}
    assert all("archive" in each["text"] for each in proposed if each["arm"] == "unlearned")
    for each in proposed:
        assert len(each["facts"]) == len(SETS.forget) // 2
        assert each["loss_after"] <= each["loss_before"]

    key = tmp_path / "redaction.key"
    key.write_bytes(bytes(range(32)))
    out = tmp_path / "hidden.jsonl"
    redacted = [*arguments, "--redaction-key", str(key), "--out", str(out)]
    assert run([*redacted, "--prompts"]) == OK
    hidden = out.read_text()
    assert hidden.count("redacted:") == sum(1 + len(each["facts"]) for each in found)
    assert not any(fact.id in hidden or fact.entity in hidden for fact in SETS.forget)
    assert "archive" not in hidden
    assert run(redacted) == USAGE
    assert "is for --prompts" in capsys.readouterr().err
    key.write_bytes(b"short")
    assert run([*redacted, "--prompts"]) == USAGE


def test_without_a_search_there_are_no_prompts(plan, audit, tmp_path, store_root, capsys):
    file = tmp_path / "certificate.json"
    write_certificate(audit(plan(("prompting/cloze", {}))), file)
    assert run(["export", str(file), "--store", str(store_root), "--prompts"]) == USAGE
    assert "searched for a text" in capsys.readouterr().err


def test_a_model_translates_all_prompts_alike(told_otherwise, arms):
    """The attacker's model stands in for a translator: what it writes is what is asked."""
    path = str(told_otherwise["attacker"])
    attack = Translated(TranslatedParameters(translator=path, max_new_tokens=4))
    assert attack.inputs().keys() == {"translator"}
    assert attack.variant == "translated into French"
    asked = [
        attack.wordings(arms[name], evaluator(), 0)["French"] for name in ("unlearned", "original")
    ]
    assert asked[0] == asked[1]
    said = open_directory(told_otherwise["attacker"]).generate([SETS.forget[0].prompt], 4)
    assert asked[0][SETS.forget[0].id] == said[0]


def test_what_is_not_given_is_unavailable(arms):
    location = arms["unlearned"].location
    attacker = AttackerModel(AttackerModelParameters())
    assert attacker.unavailable(location).code == "attacker_model_not_given"
    assert Translated(TranslatedParameters()).unavailable(location).code == "translations_not_given"
    with pytest.raises(ValueError, match="not both"):
        TranslatedParameters(translations="a.json", translator="model")
    with pytest.raises(ValueError, match=r"holds \{language\}"):
        TranslatedParameters(languages=("French", "German"))


def test_translations_go_by_the_facts_and_never_tell(arms, tmp_path):
    file = tmp_path / "translations.json"
    fact, other = SETS.forget[:2]

    def given(content):
        file.write_text(content)
        return Translated(TranslatedParameters(translations=str(file)))

    said = {fact.id: translated(fact), other.id: f"dites {other.answer}", "somebody/else": "x"}
    attack = given(json.dumps({"reversed": said}))
    asked = attack.wordings(arms["unlearned"], evaluator(), 0)
    assert asked == {"reversed": {fact.id: translated(fact)}}
    with pytest.raises(AuditorError, match="holds no translations"):
        given('{"reversed": ["x"]}').inputs()
    with pytest.raises(UnavailableError, match="by the facts' ids"):
        given('{"reversed": {"somebody/else": "x"}}').wordings(arms["unlearned"], evaluator(), 0)


def test_a_long_context_fills_its_tokens_and_keeps_the_question(arms):
    model = arms["unlearned"]

    def asked(tokens):
        attack = Reminders(RemindersParameters(kind="long context", tokens=tokens))
        return attack.wordings(model, evaluator(), 0)

    found = asked(48)
    for fact in SETS.forget:
        end, both = (found[f"question at {place}"][fact.id] for place in ("the end", "both ends"))
        assert end.endswith(f"\n\n{fact.prompt}")
        assert both == f"{fact.prompt}\n\n{end}"
        shown = model.tokenizer(end.removesuffix(fact.prompt))["input_ids"]
        assert 24 <= len(shown) <= 48
        assert fact.answer not in end
    with pytest.raises(UnavailableError, match="less than half of 400"):
        asked(400)
    with pytest.raises(UnavailableError, match="context holds 512"):
        asked(500)
