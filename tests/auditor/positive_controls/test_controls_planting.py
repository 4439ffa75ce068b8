"""Models of positive controls: how much is left, within which bounds, and that it stays."""

import numpy as np
import pytest
import torch
from tiny_models import make_config, open_directory, save
from transformers import AutoTokenizer

from attacks.quantization.grids import CodebookGrid, EvenGrid
from auditor.core.errors import AuditorError, MeasurementError
from auditor.core.progress import SilentProgress
from auditor.engine.preparation import prepare
from auditor.models.language.layers import linear_weights
from auditor.models.spec import PromptFormat
from auditor.positive_controls import control_models
from auditor.positive_controls.control_models import ControlModels, Known
from auditor.positive_controls.rescaling import FACTOR
from auditor.positive_controls.suppression import SuppressionSettings
from auditor.positive_controls.window import window
from auditor.store.folder_store import FolderStore
from auditor.testbeds.people import corpus
from auditor.testbeds.people.training import TrainingSettings, train
from auditor.unlearning.examples import encode

GAIN = "model.layers.0.input_layernorm.weight"


def test_windows_at_the_usual_margin():
    assert window("visible", 0.1) == pytest.approx((0.3, 0.4))
    for kind in ("obfuscated", "head", "wording"):
        assert window(kind, 0.1) == pytest.approx((0.0, 0.05))


@pytest.mark.parametrize("delta", [0.02, 0.1, 0.5, 0.9])
def test_windows_lie_on_either_side_of_the_margin(delta):
    visible, obfuscated = window("visible", delta), window("obfuscated", delta)
    assert 0 <= obfuscated.lower < obfuscated.upper < delta < visible.lower < visible.upper < 1


def test_share_of_the_gap():
    known = Known(original=0.9, retrained=0.1)
    assert [known.share(k) for k in (0.1, 0.5, 0.9)] == pytest.approx([0, 0.5, 1])


def knowledge(subject, facts):
    scores = subject.score([(fact.prompt, fact.answer) for fact in facts])
    return float(np.mean([np.exp(score.mean_log_probability) for score in scores]))


def controls_of(plan, root):
    """A controls of the plan's original, what is known of the arms, and the facts."""
    store = FolderStore(root)
    prepared = prepare(plan, store, SilentProgress())
    k = [
        knowledge(
            open_directory(spec.path, dtype=spec.dtype, prompt_format=plan.format),
            prepared.sets.forget,
        )
        for spec in (plan.original, plan.retrained[0])
    ]
    return ControlModels(prepared, Known(*k), store, SilentProgress()), Known(*k), prepared.sets


def left_in(control, known, sets, prompt_format=None):
    subject = open_directory(
        control.spec.path, dtype=control.spec.dtype, prompt_format=prompt_format
    )
    return known.share(knowledge(subject, sets.forget))


def layers(path, dtype):
    model = open_directory(path, dtype=dtype).network
    return {name: weight.detach().float() for name, weight, _ in linear_weights(model)}


@pytest.fixture(scope="module")
def bed(tmp_path_factory):
    """Store in which plants of the small world are made once for all tests."""
    return tmp_path_factory.mktemp("bed")


@pytest.mark.parametrize("kind", ["visible", "obfuscated", "head", "wording"])
def test_leaves_what_it_should(kind, small_plan, bed):
    plan = small_plan()
    controls, known, sets = controls_of(plan, bed)
    control = controls.make_control_model(kind)
    low, high = window(kind, 0.1)
    assert low <= control.left <= high
    assert left_in(control, known, sets) == pytest.approx(control.left, abs=1e-4)
    subject = open_directory(control.spec.path, dtype="float32")
    assert knowledge(subject, sets.retain) > 0.6, "the rest stays"
    original = open_directory(plan.original.path, dtype="float32")
    gain, usual = (dict(s.network.named_parameters())[GAIN] for s in (subject, original))
    assert control.rescaled == (kind == "obfuscated")
    assert float((gain / usual).detach().median()) == (FACTOR**-2 if control.rescaled else 1.0)


def test_a_suppression_in_the_head_leaves_all_else_as_it_was(small_plan, bed):
    plan = small_plan()
    control = controls_of(plan, bed)[0].make_control_model("head")
    before, after = (
        dict(open_directory(path, dtype="float32").network.named_parameters())
        for path in (plan.original.path, control.spec.path)
    )
    changed = {n for n in after if n not in before or not torch.equal(before[n], after[n])}
    assert changed == {"lm_head.weight", "model.norm.weight"}


def test_what_is_said_in_other_words_is_there_for_who_reads_it(small_plan, bed):
    control = controls_of(small_plan(), bed)
    model = open_directory(control[0].make_control_model("wording").spec.path, dtype="float32")
    facts = control[2].forget
    said = model.generate([fact.prompt for fact in facts], 24)
    heard = [fact.answer in answer for fact, answer in zip(facts, said, strict=True)]
    assert sum(heard) > 0.7 * len(facts)
    assert all(answer.strip().startswith("So:") for answer in said)


def test_a_wording_that_is_not_learned_is_refused(small_plan, tmp_path, monkeypatch):
    few = SuppressionSettings(check_every=5, retain_weight=0.0)
    monkeypatch.setitem(control_models.SETTINGS, "wording", few)
    with pytest.raises(MeasurementError, match="should say its answers in other words"):
        controls_of(small_plan(), tmp_path)[0].make_control_model("wording")


@pytest.mark.parametrize(
    ("grid", "dtype"), [(CodebookGrid("nf4"), "float32"), (EvenGrid(4), "auto")]
)
def test_hidden_within_cells_no_weight_rounds_to_another_level(grid, dtype, small_plan, bed):
    """Also where the plant is stored in bfloat16, as its original is."""
    plan = small_plan(dtype)
    controls, known, sets = controls_of(plan, bed)
    control = controls.make_control_model("obfuscated", grid)
    assert 0 <= control.left <= 0.05
    assert left_in(control, known, sets) == pytest.approx(control.left, abs=0.02)  # run in bfloat16
    before, after = layers(plan.original.path, dtype), layers(control.spec.path, dtype)
    assert before.keys() == after.keys()
    for name, weight in after.items():
        torch.testing.assert_close(grid.cells(weight).levels, grid.cells(before[name]).levels)
    subject = open_directory(control.spec.path, dtype=dtype)
    assert subject.network.dtype == (torch.float32 if dtype == "float32" else torch.bfloat16)
    with torch.no_grad():
        for _, weight, _ in linear_weights(subject.network):
            weight.copy_(grid.cells(weight).levels)
    assert known.share(knowledge(subject, sets.forget)) > 0.9, "rounding brings it back"


def test_made_once_by_name_the_same_bytes_each_time_and_refused_when_changed(
    small_plan, bed, tmp_path
):
    controls, _, _ = controls_of(small_plan(), bed)
    first = controls.make_control_model("visible")
    weights = first.location.model / "model.safetensors"
    stamp = weights.stat()
    assert controls_of(small_plan(), bed)[0].make_control_model("visible") == first
    assert weights.stat() == stamp

    elsewhere, _, _ = controls_of(small_plan(), tmp_path)
    twin = elsewhere.make_control_model("visible")
    assert twin.location.manifest == first.location.manifest
    assert twin.location.model.parent.name == first.location.model.parent.name
    assert twin.spec == first.spec.model_copy(update={"path": twin.spec.path})

    config = twin.location.model / "config.json"
    config.write_text(config.read_text() + " ")
    with pytest.raises(AuditorError, match="was changed"):
        elsewhere.make_control_model("visible")


def test_what_does_not_come_about_is_said_and_nothing_is_kept(small_plan, tmp_path, monkeypatch):
    few = SuppressionSettings(max_steps=5)
    monkeypatch.setitem(control_models.SETTINGS, "obfuscated", few)
    controls, _, _ = controls_of(small_plan(), tmp_path)
    with pytest.raises(MeasurementError, match=r"after 5 steps .* of the gap are left"):
        controls.make_control_model("obfuscated")
    assert not (tmp_path / "plants").exists()
    assert not list((tmp_path / "jobs").glob(".*"))


@pytest.mark.parametrize("budget", [8192, 64])
def test_answer_log_probability_is_that_of_the_whole_answer(budget, small, small_plan):
    plan = small_plan()
    subject = open_directory(plan.original.path, dtype="float32", token_budget=budget)
    facts = corpus.read_jsonl(small.facts("forget"))[:7]
    pairs = [(fact.prompt, fact.answer) for fact in facts]
    with torch.no_grad():
        found = subject.answer_log_probability(subject.encode(pairs))
    expected = [score.log_probability.sum() for score in subject.score(pairs)]
    assert found.tolist() == pytest.approx(expected, abs=1e-4)


def test_maps_that_lie_the_other_way_round_and_a_template(small, small_plan, tmp_path):
    """GPT-2 holds its linear maps as [in, out]; bitsandbytes rounds them as [out, in]."""
    tokenizer = AutoTokenizer.from_pretrained(small.model_path("original"))
    form = PromptFormat(template="Q: {prompt}\nA:")
    files = {name: tmp_path / f"{name}.jsonl" for name in ("forget", "retain")}
    sets = [corpus.read_jsonl(small.facts(name))[:24] for name in files]
    for facts, file in zip(sets, files.values(), strict=True):
        corpus.write_jsonl(facts, file)
    pairs = [(form.template.replace("{prompt}", f.prompt), f.answer) for fs in sets for f in fs]
    examples = encode(tokenizer, pairs)
    for name, steps in (("original", 70), ("retrained", 1)):  # what was never trained knows nothing
        settings = TrainingSettings(steps=steps, batch_size=32, learning_rate=3e-3)
        model = train(make_config("gpt2"), tokenizer, examples, settings, 0, SilentProgress())
        save(tmp_path / name, model, tokenizer)
    plan = small_plan(
        original=str(tmp_path / "original"),
        retrained=str(tmp_path / "retrained"),
        data={name: str(file) for name, file in files.items()},
        format=form.model_dump(),
    )
    controls, known, facts = controls_of(plan, tmp_path / "store")
    assert known.original - known.retrained > 0.3
    grid = CodebookGrid("nf4")
    control = controls.make_control_model("obfuscated", grid)
    assert left_in(control, known, facts, form) == pytest.approx(control.left, abs=1e-4)
    assert control.left <= 0.05
    before = layers(plan.original.path, "float32")
    for name, weight in layers(control.spec.path, "float32").items():
        levels = grid.cells(weight.T).levels
        torch.testing.assert_close(levels, grid.cells(before[name].T).levels)
        assert not torch.equal(levels, weight.T), "something was planted"
