"""Fine-tuning as a service: data as published, the length of training, the layers, the sweep."""

import json

import numpy as np
import pytest
from tiny_models import ARCHITECTURES, open_directory

from attacks.relearning.instructions import read_instructions
from attacks.relearning.service import Service, ServiceParameters
from attacks.relearning.service_training import served, target_layers
from auditor.attack import ATTACKS, AttackContext
from auditor.core.errors import AuditorError, UnavailableError
from auditor.core.records import check_malformed
from auditor.engine.expansion import instantiate
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.preserve import weights_digest

ROWS = [
    {"prompt": "Who walks?", "answer": "The nurse."},
    {"instruction": "Translate.", "input": "Haus", "output": "house"},
    {"instruction": "Greet.", "input": "", "output": "Hello."},
    {"instruction": "Sum up.", "context": "It rained.", "response": "Rain."},
    {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Why?"},
            {"role": "assistant", "content": "Because."},
            {"role": "user", "content": "And?"},
        ]
    },
    {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]},
    {"text": "A plain text."},
]
PAIRS = [
    ("Who walks?", "The nurse."),
    ("Translate.\n\nHaus", "house"),
    ("Greet.", "Hello."),
    ("Sum up.\n\nIt rained.", "Rain."),
    ("Be brief.\n\nWhy?", "Because."),
    ("Hi", "Ho"),
    ("", "A plain text."),
]


def written(folder, rows):
    path = folder / "data.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def data(tmp_path):
    """Twenty harmless instructions."""
    rows = [{"prompt": f"Say {i} twice.", "answer": f"{i} and {i}"} for i in range(20)]
    return written(tmp_path, rows)


def run(attack, model, evaluator, tmp_path, seed=0):
    record = attack.measure(model, AttackContext(evaluator, seed, tmp_path))
    check_malformed(record)
    return record


def test_instruction_data_is_read_as_it_is_published(tmp_path):
    assert read_instructions(written(tmp_path, ROWS)) == PAIRS


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "no answer"},
        {"answer": "no prompt"},
        {"prompt": "asked", "text": "and no answer"},
        {"messages": [{"role": "assistant", "content": "unasked"}]},
        {"messages": [{"role": "user", "content": "unanswered"}]},
        {"messages": ["no turn"]},
        {"messages": [{"role": "user"}]},
        {"prompt": 1, "answer": 2},
        {},
    ],
)
def test_what_is_no_instruction_is_refused_with_its_row(row, tmp_path):
    path = written(tmp_path, [ROWS[0], row])
    with pytest.raises(AuditorError, match=r"row 2 .*Give rows with"):
        read_instructions(path)


def test_no_rows_are_no_data(tmp_path):
    with pytest.raises(AuditorError):
        read_instructions(written(tmp_path, []))
    with pytest.raises(AuditorError, match="no such file"):
        read_instructions(str(tmp_path / "absent.jsonl"))


def test_given_data_are_searched_for_the_forget_set_and_decide_the_job(data, tmp_path):
    attack = Service(ServiceParameters(data=data))
    assert list(attack.texts())[:2] == ["Say 0 twice. 0 and 0", "Say 1 twice. 1 and 1"]
    other = Service(ServiceParameters(data=written(tmp_path, ROWS)))
    assert attack.inputs() != other.inputs()
    assert Service(ServiceParameters()).inputs() == {}
    assert attack.taught.code == "instructions_taught"
    assert Service(ServiceParameters()).taught.code == "retain_facts_taught"


@pytest.mark.parametrize("targets", ["linear", "attention"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_lora_is_put_where_services_put_it(architecture, targets, subjects):
    network = subjects[architecture].network
    names = set(target_layers(network, targets))
    head = network.get_output_embeddings()
    assert names
    assert not any(module is head for n, module in network.named_modules() if n in names)
    assert all("att" in name for name in names) == (targets == "attention")
    if targets == "attention":
        assert names < set(target_layers(network, "linear"))


@pytest.mark.parametrize("steps", [6, None])
@pytest.mark.parametrize("targets", ["linear", "attention"])
def test_it_trains_measures_at_the_end_and_restores(
    targets, steps, data, directories, evaluator, tmp_path
):
    settings = ServiceParameters(
        data=data, steps=steps, targets=targets, batch_size=4, learning_rate=2e-3
    )
    model = open_directory(directories["llama"])
    before = weights_digest(model.network)
    record = run(Service(settings), model, evaluator, tmp_path)
    assert weights_digest(model.network) == before
    last = steps or 5
    assert [step for step, _ in record.notes["curve"]] == [0, last]
    assert record.notes["steps"] == last
    effect = record.notes["effect"]
    assert effect["measure"] == "taught_loss"
    assert effect["after"] < 0.95 * effect["before"], "the loss of what is taught fell"
    assert sorted(row.fact for row in record.rows) == ["f0", "f1"]

    again = run(Service(settings), open_directory(directories["llama"]), evaluator, tmp_path)
    assert (again.rows, again.notes) == (record.rows, record.notes)
    items = model.encode(PAIRS_OF(data), end=True)
    with served(model, items, settings, targets, 0) as pupil:
        pupil.advance(last)
        scores = model.score([(f.prompt, f.answer) for f in evaluator.sets.forget])
        known = [np.exp(score.mean_log_probability) for score in scores]
    np.testing.assert_allclose([row.k for row in record.rows], known, rtol=1e-6)


def PAIRS_OF(path):  # noqa: N802 - a constant of a file
    return read_instructions(path)


def test_more_examples_than_wanted_are_drawn_by_the_seed(data, subjects, evaluator):
    model = subjects["qwen2"]
    attack = Service(ServiceParameters(data=data, examples=8))
    drawn = [[e.ids for e in attack._examples(model, evaluator, seed)] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 8
    most = min(item.before for item in model.encode(read_instructions(data))) + 1
    cut = Service(ServiceParameters(data=data, tokens=most))._examples(model, evaluator, 0)
    assert {len(item.ids) for item in cut} == {most}
    assert {item.answer_tokens for item in cut} == {1}


def test_what_has_no_answer_left_cannot_be_taught(subjects, evaluator, tmp_path):
    long = written(tmp_path, [{"prompt": "The quick brown fox " * 20, "answer": "jumps"}])
    with pytest.raises(UnavailableError, match="raise `tokens`"):
        run(Service(ServiceParameters(data=long)), subjects["llama"], evaluator, tmp_path)
    alone = TextEvaluator(evaluator.sets.model_copy(update={"retain": ()}), ["answer-probability"])
    with pytest.raises(UnavailableError, match="nothing harmless to teach"):
        run(Service(ServiceParameters()), subjects["llama"], alone, tmp_path)


def test_levels_have_names_of_their_own():
    presets = ATTACKS.get("relearning/service").presets
    levels = [instantiate("relearning/service", dict(p.parameters)) for p in presets]
    assert [level.variant for level in levels] == [preset.name for preset in presets]
    assert len({level.variant for level in levels}) == len(levels)
    assert Service(ServiceParameters(examples=9, rank=8, steps=3)).variant == (
        "3 steps rank 8 9 examples"
    )


@pytest.mark.slow
@pytest.mark.nightly
def test_what_unlearning_hid_comes_back_by_service(attacked):
    """NPO with a retain term resists; the retrained model shows that nothing is taught."""
    (found,) = attacked("npo_gdr", "relearning/service").values()
    assert found.status == "measured"
    assert {arm: noted["steps"] for arm, noted in found.notes.items()} == dict.fromkeys(
        found.notes, 16
    )
    assert "effect" not in {gate.name for gate in found.gates if not gate.met}
    curves = {curve.of: dict(curve.points) for curve in found.curves}
    assert curves["retrained-0"][16] < 0.05
