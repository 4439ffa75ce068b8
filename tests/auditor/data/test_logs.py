"""Logs of other tools: what is read, and what is refused, in one line."""

import json
import math
import shutil

import hostile_inputs
import pytest
import written_logs
from written_logs import FACTS, Known

from auditor.api.logs import import_logs
from auditor.core.errors import AuditorError
from auditor.data.logs.layouts import LAYOUTS
from auditor.data.logs.log import Tasks, bounded_ratio

WRITERS = {
    "tofu": written_logs.tofu,
    "open-unlearning": written_logs.open_unlearning,
}
OF_A_TASK = Tasks(("wmdp_made_up",), ("mmlu_made_up",))


def read(path, layout, tasks=OF_A_TASK):
    found = LAYOUTS[layout]
    return found.read(found.files(path, tasks), tasks)


def changed(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


class TestReading:
    def test_of_tofu(self, tmp_path):
        log = read(written_logs.tofu(tmp_path / "log.json", Known(knows=True, seed=0)), "tofu")
        assert len(log.of("forget")) == len(log.of("retain")) == FACTS
        first = log.facts[0]
        assert first.prompt == written_logs.question("forget", 0)
        assert first.answer == written_logs.answer("forget", 0)
        assert {fact.entity for fact in log.of("forget")} == {f"forget author 0{n}" for n in "012"}
        assert 0.9 < first.k["answer-probability"] < 1
        assert set(log.figures) == {"model_utility", "truth_ratio"}

    def test_of_open_unlearning(self, tmp_path):
        path = written_logs.open_unlearning(tmp_path / "TOFU_EVAL.json", Known(knows=True, seed=0))
        log = read(tmp_path, "open-unlearning")
        content = json.loads(path.read_text())
        for index, fact in enumerate(log.of("forget")):
            held = content["forget_Q_A_Prob"]["value_by_index"][str(index)]
            assert fact.k["answer-probability"] == held["prob"]
            assert fact.prompt == written_logs.question("forget", index)
        assert log.facts[0].k["truth-ratio"] == pytest.approx(1 / (1 + math.exp(-1.5)))
        assert log.figures["model_utility"] == 0.5
        assert log.figures["model_utility_of_nine"] != 0.5
        assert log.auc == {"mia_min_k": 0.9}
        assert log.lacking == ("forget_quality",)

    def test_of_muse_in_both_layouts(self, tmp_path):
        new, old = (
            read(write(tmp_path / write.__name__, Known(knows=False, seed=0)), "muse")
            for write in (written_logs.muse, written_logs.first_muse)
        )
        assert new.facts == old.facts
        assert new.auc == {"forget_holdout_Min-40%": 0.5}
        assert [f.id for f in new.facts][:1] == ["forget-knowmem-0000"]
        assert len(new.of("retain")) == FACTS

    def test_of_lm_eval(self, tmp_path):
        log = read(written_logs.lm_eval(tmp_path / "run", Known(knows=True, seed=0)), "lm-eval")
        fact = log.of("forget")[5]
        lines = next((tmp_path / "run").glob("samples_wmdp*")).read_text().splitlines()
        values = [float(value) for value, _ in json.loads(lines[5])["filtered_resps"]]
        expected = math.exp(values[1]) / sum(map(math.exp, values))
        assert fact.k["option-probability"] == pytest.approx(expected)
        assert fact.k["multiple-choice"] == 1
        assert fact.answer == f"{written_logs.answer('forget', 5)} x"
        assert len(fact.distractors) == 3

    def test_of_generations_of_lm_eval(self, tmp_path):
        row = {"doc_id": 0, "doc": {}, "target": "Paris", "resps": [["It is Paris."]]}
        row |= {"arguments": [["Where?", {"until": []}]], "filtered_resps": ["It is Paris."]}
        (tmp_path / "samples_towns.jsonl").write_text(json.dumps(row))
        (fact,) = read(tmp_path, "lm-eval", Tasks()).facts
        assert (fact.prompt, fact.answer, fact.said) == ("Where?", "Paris", "It is Paris.")

    def test_the_bounded_ratio_is_the_one_of_probabilities(self):
        right, wrong = math.exp(-1.2), math.exp(-(2.0 + 3.0) / 2)
        assert bounded_ratio(1.2, [2.0, 3.0]) == pytest.approx(right / (right + wrong))
        assert bounded_ratio(1e6, [0.0]) == 0


def at(*keys, value):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        if value is None:
            del content[keys[-1]]
        else:
            content[keys[-1]] = value

    return change


TOFU, OPEN = "eval_log_forget.json", "forget_Q_A_"
BROKEN = [
    ("tofu", at(TOFU, "avg_gt_loss", "7", value=math.nan), "eval_log_forget.json 7: avg_gt_loss"),
    ("tofu", at(TOFU, "avg_gt_loss", "7", value="0.5"), "7: avg_gt_loss is '0.5'"),
    ("tofu", at(TOFU, "avg_gt_loss", "7", value=-0.5), "is -0.5, below 0"),
    ("tofu", at(TOFU, "avg_gt_loss", "7", value=None), "has 60 entries and avg_gt_loss 59"),
    ("tofu", at(TOFU, "avg_gt_loss", value=None), "no avg_gt_loss"),
    ("tofu", at(TOFU, "rougeL_recall", "7", value=1.5), "rougeL_recall is 1.5, not in"),
    ("tofu", at(TOFU, "generated_text", "7", value=["a"]), "7: the generation in generated_text"),
    ("tofu", at(TOFU, "generated_text", value=None), "has no generated_text"),
    ("tofu", at(TOFU, "average_perturb_loss", "7", value=[]), "average_perturb_loss is empty"),
    ("tofu", at(TOFU, value=None), "has no eval_log_forget.json; it has"),
    ("tofu", at(TOFU, value=[1]), "eval_log_forget.json is no object"),
    ("open-unlearning", at(f"{OPEN}Prob", "value_by_index", "3", "prob", value=math.nan), "prob"),
    ("open-unlearning", at(f"{OPEN}Prob", "value_by_index", "3", "prob", value=0.2), "not that of"),
    ("open-unlearning", at(f"{OPEN}ROUGE", "value_by_index", "3", "generation", value=None), "gen"),
    ("open-unlearning", at(f"{OPEN}ROUGE", "value_by_index", "3", "input", value=" "), "3: input"),
    ("open-unlearning", at(f"{OPEN}ROUGE", "value_by_index", "3", value=7), "3 is no object"),
    ("open-unlearning", at(f"{OPEN}Prob", "value_by_index", "3", value=None), "59 values"),
    ("open-unlearning", at(f"{OPEN}ROUGE", value=None), "forget_Q_A_ROUGE"),
    ("open-unlearning", at(f"{OPEN}ROUGE", "agg_value", value=0.3), "not the mean"),
    (
        "open-unlearning",
        at(f"{OPEN}ROUGE", value={"agg_value": 1.0, "values_by_index": {}}),
        "did you mean `values_by_index`",
    ),
]


@pytest.mark.parametrize(("layout", "change", "said"), BROKEN)
def test_what_a_log_lacks_is_named_in_one_line(tmp_path, layout, change, said):
    path = changed(WRITERS[layout](tmp_path / "log.json", Known(knows=True, seed=0)), change)
    with pytest.raises(AuditorError) as refused:
        read(path, layout)
    assert said in str(refused.value)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("layout", ["tofu", "open-unlearning", "lm-eval"])
def test_hostile_files_are_refused_in_one_line(tmp_path, layout):
    name = {"lm-eval": "samples_a.jsonl"}.get(layout, "log.json")
    for what, content in hostile_inputs.broken_json(b'{"a": 1}'):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AuditorError) as refused:
            read(tmp_path / name, layout, Tasks())
        assert "\n" not in str(refused.value), what


class TestFiles:
    def test_parts_of_single_gpus_are_named(self, tmp_path):
        for rank in range(2):
            (tmp_path / f"eval_log_forget_{rank}.json").write_text("{}")
        with pytest.raises(AuditorError, match=r"parts of single GPUs \(eval_log_forget_0.json"):
            read(tmp_path, "tofu")

    def test_the_log_of_one_task_is_no_whole_one(self, tmp_path):
        path = written_logs.tofu(tmp_path / "log.json", Known(knows=True, seed=0))
        path.write_text(json.dumps(json.loads(path.read_text())[TOFU]))
        with pytest.raises(AuditorError, match="the log of one task"):
            read(path, "tofu")

    @pytest.mark.parametrize(
        ("layout", "name", "text", "said"),
        [
            ("open-unlearning", "TOFU_SUMMARY.json", "{}", "aggregates only"),
            ("open-unlearning", "nothing/x", "", "neither of TOFU_EVAL.json"),
            ("tofu", "log.json", "[1, 2", "is no JSON"),
            ("tofu", "log.json", '{"a": 1, "a": 2}', "says 'a' twice"),
            ("muse", "result.csv", "name,verbmem_f", "means only"),
            ("muse", "nothing/x", "", "no log of the forget set"),
            ("rwku", "forget.json", "{}", "is no folder"),
            ("rwku", "run/x", "", "holds no forget.json"),
            ("rwku", "run/forget.json", '{"results": []}', "no list `results`"),
            ("rwku", "run/forget.json", '{"results": [{"query": "q"}]}', "prediction is missing"),
            ("lm-eval", "samples_a.jsonl", '{"doc_id": 0}\n{"doc_id": 0}', "is there twice"),
            ("lm-eval", "samples_a.jsonl", "", "there is no sample"),
            ("lm-eval", "samples_a.jsonl", "nothing", "line 1 is no JSON"),
        ],
    )
    def test_other_files_are_refused(self, tmp_path, layout, name, text, said):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        with pytest.raises(AuditorError, match=said):
            read(file.parent if "/" in name else file, layout, Tasks())

    def test_several_runs_of_a_task_are_refused(self, tmp_path):
        known = Known(knows=True, seed=0)
        written_logs.lm_eval(tmp_path, known)
        with pytest.raises(AuditorError, match="of 2 tasks"):
            read(tmp_path, "lm-eval", Tasks())
        with pytest.raises(AuditorError, match="did you mean `wmdp_made_up`"):
            read(tmp_path, "lm-eval", Tasks(("wmdp_madeup",)))
        written_logs.lm_eval(tmp_path, known, time="2026-02-02T03-04-05.6")
        with pytest.raises(AuditorError, match="several samples of the task"):
            read(tmp_path, "lm-eval")

    def test_several_models_of_muse_are_refused(self, tmp_path):
        for name in "ab":
            written_logs.muse(tmp_path / name, Known(knows=True, seed=0))
        with pytest.raises(AuditorError, match="several logs of forget-knowmem"):
            read(tmp_path, "muse")


class TestArms:
    """Logs that may not stand beside each other."""

    @pytest.fixture
    def arms(self, tmp_path):
        made = {"unlearned": False, "original": True, "retrained": False}
        return {
            arm: written_logs.tofu(tmp_path / arm / "log.json", Known(knows=knows, seed=seed))
            for seed, (arm, knows) in enumerate(made.items())
        }

    def refusal(self, arms, tmp_path):
        with pytest.raises(AuditorError) as refused:
            import_logs("tofu", **arms, out=tmp_path / "out")
        return str(refused.value)

    @pytest.mark.parametrize(
        ("place", "text", "said"),
        [
            (0, "Question: Who else?\n", "first in the question"),
            (2, "Another Town", "first in the true answer"),
        ],
    )
    def test_that_were_asked_otherwise(self, arms, tmp_path, place, text, said):
        changed(
            arms["retrained"],
            lambda content: content[TOFU]["generated_text"]["7"].__setitem__(place, text),
        )
        found = self.refusal(arms, tmp_path)
        assert "retrained-0 and unlearned differ in 1 fact(s) (forget-0007)" in found
        assert said in found

    def test_of_other_lengths(self, arms, tmp_path):
        written_logs.tofu(arms["original"], Known(knows=True, seed=1), facts=40)
        assert "the log of original holds 40 forget" in self.refusal(arms, tmp_path)

    def test_of_which_one_is_given_twice(self, arms, tmp_path):
        shutil.copy(arms["unlearned"], arms["retrained"])
        assert "retrained-0 hold the same figures" in self.refusal(arms, tmp_path)
        content = json.loads(arms["unlearned"].read_text())
        arms["retrained"].write_text(json.dumps(content, indent=1))
        assert "retrained-0 hold the same figures" in self.refusal(arms, tmp_path)

    def test_faults_of_all_are_named(self, arms, tmp_path):
        for arm in ("unlearned", "original"):
            arms[arm].unlink()
        found = self.refusal(arms, tmp_path)
        assert len(found.splitlines()) == 2
        assert "unlearned: " in found

    def test_of_an_unknown_layout(self, arms, tmp_path):
        with pytest.raises(AuditorError, match="did you mean `tofu`"):
            import_logs("tofuu", **arms, out=tmp_path / "out")
