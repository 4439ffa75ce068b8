"""A redacted certificate keeps its numbers and loses its texts."""

import base64
import io
import json

import pytest
from hand_made_certificates import honest_certificate
from hand_made_pictures import pictured_certificate
from hostile_texts import hostile_certificate
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from markupsafe import escape
from PIL import Image

from auditor.certificate.redaction import redact
from auditor.certificate.schema import Certificate
from auditor.core.errors import AuditorError
from auditor.core.messages import message, written
from auditor.core.roles import Status
from auditor.core.text_safety import visible
from reports.html import render

GPU_MISSING = message("gpu_missing")
KEY = bytes(range(32))
OTHER_KEY = bytes(32)


def strings(value):
    """Every text of a JSON value, names of entries among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def numbers(value):
    if isinstance(value, dict):
        return [n for name in sorted(value) for n in numbers(value[name])]
    if isinstance(value, list):
        return [n for item in value for n in numbers(item)]
    return [value] if isinstance(value, int | float) else []


def content(certificate):
    return json.loads(certificate.model_dump_json())


def test_texts_go_and_all_else_stays():
    before = honest_certificate("FAIL")
    after = redact(before, KEY)
    assert after.redaction == "keyed digests"
    assert after.certificate_id == after.content_digest != before.certificate_id
    assert Certificate.model_validate_json(after.model_dump_json()) == after
    assert after.verdict.claim == before.verdict.claim
    for said, hidden in zip(before.verdict.reasons, after.verdict.reasons, strict=True):
        assert said.code == hidden.code
    assert after.identity == before.identity
    assert numbers(content(after)["worst_facts"]) == numbers(content(before)["worst_facts"])
    assert [row.figures for row in after.matrix] == [row.figures for row in before.matrix]
    assert [row.label for row in after.matrix] == [row.label for row in before.matrix]
    shown = "\n".join(strings(content(after)))
    for fact in before.worst_facts:
        for text in (fact.fact, fact.entity, fact.prompt, fact.answer, *fact.said.values()):
            assert len(text) < 6 or text not in shown


def test_equal_texts_stay_equal_and_unequal_ones_unequal():
    before, after = honest_certificate("FAIL"), redact(honest_certificate("FAIL"), KEY)
    texts = [t for f in before.worst_facts for t in (f.fact, f.entity, f.prompt, f.answer)]
    marks = [t for f in after.worst_facts for t in (f.fact, f.entity, f.prompt, f.answer)]
    assert len(set(texts)) == len(set(marks)) < len(texts)
    assert len(set(zip(texts, marks, strict=True))) == len(set(texts))
    entities = {s.entity: m.entity for s, m in zip(
        before.worst_entities, after.worst_entities, strict=True
    )}  # fmt: skip
    for fact, mark in zip(before.worst_facts, after.worst_facts, strict=True):
        assert entities.get(fact.entity, mark.entity) == mark.entity


def test_digests_are_those_of_hmac():
    # the test vector of RFC 4231, 4.3, has a short key; this is HMAC-SHA256 of the text "Hi There"
    # under 4.2's key, extended with the zeros that HMAC itself would extend it with
    key = b"\x0b" * 20 + bytes(12)
    fact = honest_certificate("FAIL").worst_facts[0].model_copy(update={"entity": "Hi There"})
    after = redact(honest_certificate("FAIL").model_copy(update={"worst_facts": (fact,)}), key)
    assert after.worst_facts[0].entity == "redacted:b0344c61d8db3853"


def test_another_key_gives_other_digests():
    marks = {redact(honest_certificate("FAIL"), k).worst_facts[0].entity for k in (KEY, OTHER_KEY)}
    assert len(marks) == 2


@pytest.mark.parametrize(
    "certificate",
    [honest_certificate("FAIL"), hostile_certificate(), pictured_certificate()],
    ids=["honest", "hostile", "pictured"],
)
def test_a_redacted_certificate_comes_back_as_it_is(certificate):
    once = redact(certificate, KEY)
    assert redact(once, KEY) == once
    assert redact(once, OTHER_KEY) == once


def test_the_word_redacted_is_not_believed():
    claimed = honest_certificate("FAIL").model_copy(update={"redaction": "keyed digests"})
    assert redact(claimed, KEY).worst_facts == redact(honest_certificate("FAIL"), KEY).worst_facts


def pictures(certificate):
    return [
        picture
        for fact in certificate.image_examples.facts
        for view in fact.views
        for picture in view.pictures.values()
    ]


@pytest.mark.parametrize("side", [5, 16, 64])
def test_of_pictures_a_few_cells_are_left(side):
    before, after = pictured_certificate(side), redact(pictured_certificate(side), KEY)
    assert Certificate.model_validate_json(after.model_dump_json()) == after
    assert len(pictures(before)) == len(pictures(after)) == 59
    assert not set(pictures(before)) & set(pictures(after))
    for picture in pictures(after):
        with Image.open(io.BytesIO(base64.b64decode(picture))) as left:
            assert left.size == (4, 4)
    texts = "\n".join(strings(content(after)))
    page = render(after)
    for fact, hidden in zip(before.image_examples.facts, after.image_examples.facts, strict=True):
        assert [view.k for view in fact.views] == [view.k for view in hidden.views]
        assert [view.attack for view in fact.views] == [view.attack for view in hidden.views]
        for text in (fact.fact, fact.prompt):
            assert text not in texts
            assert text not in page
        for name in ("fact", "entity", "prompt", "answer"):
            assert getattr(hidden, name).startswith("redacted:")
    assert not any(picture in page for picture in pictures(before))
    assert all(picture in page for picture in pictures(after))


@pytest.mark.parametrize("length", [0, 31])
def test_a_short_key_is_refused(length):
    with pytest.raises(AuditorError, match="at least 32"):
        redact(honest_certificate("FAIL"), bytes(length))


def with_reason(status, reason):
    before = honest_certificate("FAIL")
    changes = {"status": status, "reason": reason, "figures": None}
    row = before.matrix[0].model_copy(update=changes)
    said = message("not_measured", attack=row.label, status=status, reason=reason)
    verdict = before.verdict.model_copy(update={"reasons": (said,)})
    return before.model_copy(update={"matrix": (row,), "verdict": verdict})


def test_what_the_engine_says_stays():
    reason = message("on_arm", arm="original", reason=message("gpu_missing"))
    before = with_reason(Status.UNAVAILABLE, reason)
    after = redact(before, KEY)
    assert after.matrix[0].reason == reason
    assert after.verdict.reasons == before.verdict.reasons


def test_what_an_error_says_goes_wherever_it_is_repeated():
    error = "no loss for Ada Lovelace"
    reason = message("error", quoted=("error",), type="MeasurementError", error=error)
    before = with_reason(Status.FAILED, message("on_arm", arm="original", reason=reason))
    warning = message("preset_changed", attack="a/b c", changed=[f"{error}!"])
    after = redact(before.model_copy(update={"warnings": (warning,)}), KEY)
    shown = after.matrix[0].reason.nested("reason")
    assert shown.params["type"] == "MeasurementError"
    assert shown.params["error"].startswith("redacted:")
    assert after.verdict.reasons[0].nested("reason").nested("reason") == shown
    assert after.warnings[0].params["changed"] == [f"{shown.params['error']}!"]
    assert "Lovelace" not in after.model_dump_json()


def test_codes_stay_whatever_the_facts_are_called():
    """A fact whose answer is the code of a message does not change the message's code."""
    before = with_reason(Status.UNAVAILABLE, message("on_arm", arm="x", reason=GPU_MISSING))
    worst = before.worst_facts[0].model_copy(update={"answer": "gpu_missing", "fact": "on_arm"})
    after = redact(before.model_copy(update={"worst_facts": (worst,)}), KEY)
    assert after.matrix[0].reason.nested("reason") == GPU_MISSING
    assert after.worst_facts[0].answer.startswith("redacted:")


def test_notes_keep_what_says_how_and_lose_other_texts():
    before = honest_certificate("FAIL")
    notes = {
        "unlearned": {
            "kernel": "AwqTorchLinear",
            "metric": "rouge-l-recall",
            "texts": "0" * 64,
            "sample": "Ada",
            "samples": ["Ada wrote the first program", 7],
            "wordings": {"question and answer": {"mean_k": 3.0, "Ada": 4.0}},
            "by fact": {"Ada": 0.5, "12": 0.25, "before": 1.0, "retrained-0": 2.0},
        }
    }
    row = before.matrix[0].model_copy(update={"notes": notes})
    after = redact(before.model_copy(update={"matrix": (row,)}), KEY).matrix[0].notes["unlearned"]
    assert {after[name] for name in ("kernel", "metric", "texts")} == {
        "AwqTorchLinear",
        "rouge-l-recall",
        "0" * 64,
    }
    assert "Ada" not in " ".join(strings(after))
    assert sorted(numbers(after)) == [0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 7]
    assert set(after.pop("wordings")["question and answer"]) == {"mean_k", after["sample"]}
    (inner,) = (note for note in after.values() if isinstance(note, dict))
    assert set(inner) == {after["sample"], "12", "before", "retrained-0"}


TEXTS = st.text(st.characters(exclude_categories=("Cs",)), min_size=6, max_size=40)


def quoting(fact, entity, prompt, answer, said):
    """A certificate that quotes the texts of a fact wherever it can."""
    before = honest_certificate("FAIL")
    worst = before.worst_facts[0].model_copy(
        update={"fact": fact, "entity": entity, "prompt": prompt, "answer": answer}
        | {"said": {"unlearned": said, "original": answer}}
    )
    people = before.worst_entities[0].model_copy(update={"entity": entity})
    figure = {"name": "k_of", "of": "unlearned", "value": 0.5, "params": {"fact": f"K of {fact}"}}
    said_so = written(f"asked {prompt!r}, it said {said}").model_dump(mode="json")
    row = content(before)["matrix"][0] | {
        "notes": {"unlearned": {"said": said, "list": [answer], entity: {fact: prompt}}},
        "side_figures": [figure | {"remarks": [said_so]}],
        "parameters": {"suffix": f"{answer}!"},
    }
    row["readings"][0]["gates"][0]["message"] = written(f"{entity} is known").model_dump(
        mode="json"
    )
    failed = message("error", quoted=("error",), type="E", error=f"failed on {entity}")
    check = {"code": "x", "passed": False, "params": {"error": said}, "quoted": ["error"]}
    quoted = content(before) | {
        "matrix": [row],
        "worst_facts": [content(worst)],
        "worst_entities": [content(people)],
        "warnings": [written(f"{fact}: {prompt} {answer}").model_dump(mode="json")],
        "self_checks": [check],
    }
    quoted["verdict"]["reasons"] = [failed.model_dump(mode="json")]
    return Certificate.model_validate(quoted)


@pytest.fixture(scope="module")
def wordless():
    """What a redacted certificate says that quotes nothing."""
    plain = honest_certificate("FAIL").model_copy(update={"worst_facts": (), "worst_entities": ()})
    return "\n".join(strings(content(redact(plain, KEY))))


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(texts=st.lists(TEXTS, min_size=5, max_size=5, unique=True))
@example(texts=["000000", "000001", "000002", "000003", "000004"])
def test_no_text_of_a_fact_survives(wordless, texts):
    assume(not any(text.strip() in wordless or "redacted:" in text for text in texts))
    shown = "\n".join(strings(content(redact(quoting(*texts), KEY))))
    for text in texts:
        assert text not in shown


def test_no_text_of_a_fact_survives_on_the_page():
    """The page is made of the redacted certificate alone, so one example stands for all."""
    texts = [
        "fact <1> & \u202eon",
        "Ada Quill",
        "Where was <b>Ada</b>?",
        "Port Lorne!",
        "in Hale's",
    ]
    page = render(redact(quoting(*texts), KEY))
    for text in texts:
        assert text not in page
        assert escape(visible(text)) not in page
