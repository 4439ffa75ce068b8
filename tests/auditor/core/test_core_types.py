"""Arms, identities of attacks, messages and former names."""

import json

import pytest
from pydantic import ValidationError

from auditor.core import aliases
from auditor.core.arms import Arm
from auditor.core.attack_id import AttackId
from auditor.core.messages import Message, message, messages_within, written


def test_arms_come_in_the_order_of_a_plan():
    names = ["retrained-10", "original", "somebody", "retrained-2", "unlearned"]
    assert sorted(names, key=lambda name: Arm(name).place) == [
        "unlearned",
        "original",
        "retrained-2",
        "retrained-10",
        "somebody",
    ]


def test_an_arm_is_its_name():
    arm = Arm.retrained(3)
    assert arm == "retrained-3"
    assert json.dumps({arm: 1}) == '{"retrained-3": 1}'
    assert arm.number == 3
    assert arm.is_retrained
    assert not Arm.ORIGINAL.is_retrained
    assert Arm.UNLEARNED.number is None
    assert Arm("retrained-" + "9" * 40).number is None


def test_a_label_is_a_name_and_a_variant():
    attack = AttackId("quantization/bnb", "nf4 twice")
    assert AttackId.parse(attack.label) == attack
    assert attack.family == "quantization"
    assert AttackId.parse("quantization/bnb").label == "quantization/bnb"


def test_a_message_within_another_is_plain_data():
    inner = message("error", quoted=("error",), error="it broke")
    outer = message("not_measured", attack="a b", reason=inner, all=[inner], k=0.5)
    assert outer.nested("reason") == inner
    assert Message.model_validate_json(outer.model_dump_json()) == outer
    assert list(messages_within(outer.model_dump(mode="json"))) == [outer, inner, inner]
    assert hash(outer) == hash(outer.model_copy())
    assert "quoted" not in message("gpu_missing").model_dump(mode="json")


@pytest.mark.parametrize(
    "content",
    [{}, {"code": 1}, {"code": "x", "params": []}, {"code": "x", "sentence": "y"}, "x"],
)
def test_what_is_no_message_is_refused(content):
    with pytest.raises(ValidationError):
        Message.model_validate(content)


def test_a_former_sentence_is_a_message():
    assert written("So it is.") == Message(code="text", params={"text": "So it is."})


def test_former_names_are_todays():
    assert aliases.attack_label("image/quantization int8") == "quantization/unet int8"
    assert aliases.attack_label("image/quantization") == "quantization/unet"
    assert aliases.attack_label("quantization/bnb nf4") == "quantization/bnb nf4"
    assert aliases.attack_label("relearning/held-out-facts by subject") == (
        "relearning/held-out-facts by entity"
    )
    assert aliases.attack_label("prompting/gcg subject per-subject 60 steps") == (
        "prompting/gcg entity per-entity 60 steps"
    )
    given = {"split": ["subject", "attribute"], "steps": 3, "allowed": "ascii", "name": "subject"}
    assert aliases.attack_parameters("prompting/gcg", given) == {
        "split": ["entity", "attribute"],
        "num_steps": 3,
        "allow_non_ascii": False,
        "name": "subject",
    }
    assert aliases.attack_parameters("image/relearning", {"material": "retain"}) == {
        "data": "retain"
    }
    both = {"items": 1, "batch_size": 2}
    assert aliases.attack_parameters("prompting/gcg", both) == {"batch_size": 2}
    assert aliases.renamed({"probe": 1, "k": 2}, aliases.NOTES) == {"metric": 1, "k": 2}
    assert aliases.renamed({"probe": 1, "metric": 2}, aliases.NOTES) == {"metric": 2}
