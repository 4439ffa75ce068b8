"""Sentences of messages: every code has one, and none can be broken by what a file says."""

import inspect
import json
import re
from string import Formatter
from typing import get_args

import pytest
from emitted_codes import emitted
from hypothesis import given
from hypothesis import strategies as st

from auditor.certificate.schema import Certificate
from auditor.cli.console import worded
from auditor.core.findings import SelfCheck, SideFigure
from auditor.core.messages import TEXT, Message, message, written
from auditor.core.wording import sentence as sentence_of_installed_reports
from auditor.report import REPORTS
from auditor.statistics import Flag, Verdict
from auditor.statistics.gates import GateName
from reports import messages
from reports.messages import check_name, check_result, figure_name, phrase, sentence
from reports.phrases import Quoted, fill

TABLES = {
    "message": (messages.SENTENCES,),
    "SelfCheck": (messages.CHECKS, messages.CHECK_RESULTS),
    "SideFigure": (messages.FIGURES,),
    "Curve": (messages.CURVES,),
    "Explanation": (messages.MEASURES,),
}
"""What is made with a code, to the tables that must have words for it."""

CONTROL = {
    "kind": "obfuscated",
    "grid": "nf4",
    "left": 0.05,
    "reason": None,
    "rho": 0.9,
    "rho_lower": 0.8,
    "rho_upper": None,
    "tells_original_apart": True,
    "log_e_fail": 12.0,
    "log_e_needed": 4.5,
}


@pytest.fixture(scope="module")
def codes():
    """Every code that the code base emits."""
    return emitted()


def test_every_code_has_words(codes):
    assert len(codes) > 150
    without = [
        f"{found.code} ({found.place})"
        for found in codes
        for table in TABLES[found.maker]
        if found.code not in table
    ]
    assert not without
    assert not [
        f"{axis} ({f.place})" for f in codes for axis in f.axes if axis not in messages.AXES
    ]


def test_no_words_are_of_a_code_that_nothing_emits(codes):
    known = {(found.maker, found.code) for found in codes}
    axes = {axis for found in codes for axis in found.axes}
    assert not [
        code
        for maker, tables in TABLES.items()
        for table in tables
        for code in table
        if (maker, code) not in known and code != TEXT
    ]
    assert axes == set(messages.AXES)


def test_every_parameter_of_a_template_is_given_where_its_code_is_emitted(codes):
    wrong = []
    for found in codes:
        for wording in (table[found.code] for table in TABLES[found.maker]):
            needed, possible = _parameters(wording)
            if not needed <= found.params or not found.params <= (possible or found.params):
                wrong.append(f"{found.code} ({found.place}): {sorted(found.params)}")
        for axis in found.axes:
            assert _parameters(messages.AXES[axis])[0] <= found.params
    assert not wrong


def _parameters(wording):
    """Parameters that a wording needs, and all that it takes; None where it takes any."""
    if isinstance(wording, str):
        return {name for _, name, _, _ in Formatter().parse(wording) if name is not None}, None
    taken = inspect.signature(wording).parameters
    optional = {
        name for name, parameter in taken.items() if parameter.default is not parameter.empty
    }
    return set(taken) - optional - {"passed"}, set(taken)


def test_every_gate_verdict_and_flag_has_words():
    assert set(get_args(GateName)) == set(messages.GATES)
    verdicts = {verdict.value for verdict in Verdict}
    assert verdicts == set(messages.HEADLINES) == set(messages.UNSAID)
    assert {flag.value for flag in Flag} == set(messages.FLAGS)


def test_words_are_those_of_the_field():
    templates = [
        text
        for text in _strings_of(messages)
        if not re.search(r"\bmend|garden|\bsow|\bplant|\bcourt\b|hushed|\bnobody\b|\(s\)", text)
    ]
    assert templates == list(_strings_of(messages))


def _strings_of(module):
    source = inspect.getsource(module)
    return [found for found in re.findall(r'"([^"\n]+)"', source) if " " in found]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            message("error", quoted=("error",), type="RuntimeError", error="out of memory"),
            "RuntimeError: “out of memory”",
        ),
        (
            message("worker_lost", quoted=("error",), error="The actor died."),
            "the workers that measured it were lost, one after the other (“The actor died.”)",
        ),
        (
            message("does_not_fit", needed=141_107_412_992, free=84_500_000_000),
            "its weights take 141.11 GB of memory, and 84.50 GB were free; open the models in a "
            "smaller type (`dtype: bfloat16`) or over several devices (`device_map: auto`), run "
            "fewer workers, or take a larger machine",
        ),
        (
            message("near_other_set", set="retain", facts=1, ids=["f1"]),
            "1 forget fact stands in the retain set, too, or a near copy does (the first: f1). "
            "Take them out of one of the two.",
        ),
        (
            message(
                "answers_guessable", facts=60, guessed=9, by="neighbour", upper=0.25, ids=["a", "b"]
            ),
            "9 of 60 forget facts can be guessed without having been seen (by neighbour; at most "
            "25.0 % of such facts; the first: a, b). A model that never saw them answers them, "
            "too.",
        ),
        (
            message("sets_contradict", quoted=("problem",), problem="the id 'a' occurs twice"),
            "The sets contradict each other, and an audit of them is refused: “the id 'a' occurs "
            "twice”",
        ),
        (
            message(
                "not_measured",
                attack="prompting/gcg suffix",
                status="failed",
                reason=message("on_arm", arm="original", reason=message("gpu_missing")),
            ),
            "prompting/gcg suffix failed: it needs a GPU, and none was found (on original).",
        ),
        (
            message(
                "not_measured",
                attack="quantization/bnb nf4",
                status="unavailable",
                reason=message("experts_not_rounded", weights=45_097_156_608, share=0.971),
            ),
            "quantization/bnb nf4 could not be run here: the experts of this mixture hold "
            "45,097,156,608 weights (97.1 %), and the quantizer rounds linear layers alone; nearly "
            "all of the model would stay at full precision.",
        ),
        (
            message(
                "not_measured",
                attack="quantization/bnb nf4",
                status="unavailable",
                reason=message("left_out_for_time", limit=7200.0, needed=1830.0),
            ),
            "quantization/bnb nf4 could not be run here: left out, for it was taken to need 30 min "
            "30 s and all had to end within 2 h 00 min (`--within`).",
        ),
        (
            message(
                "gap_too_small",
                attack="none/as-is full precision",
                metric="rouge-l-recall",
                gap_mean=0.15,
                gap_lower=0.1,
                gap_required=0.2,
                alpha=0.05,
            ),
            "none/as-is full precision by rouge-l-recall: the gap between the original and the "
            "retrained models is 0.150, and at least 0.100 at 95 % confidence. A lower bound of "
            "0.200 is needed to tell them apart.",
        ),
        (
            message(
                "no_margin_left", attack="a b", metric="m", retrained=3, shrinkage=0.1234, delta=0.1
            ),
            "a b by m: the spread between 3 retrained models takes 0.123 off the margin of 0.1, "
            "which leaves nothing of it.",
        ),
        (
            message(
                "no_margin_left", attack="a b", metric="m", retrained=3, shrinkage=None, delta=0.1
            ),
            "a b by m: the original is not ahead of the retrained models, so the spread between "
            "training runs cannot be taken off the margin of 0.1.",
        ),
        (
            message(
                "residual_not_below_margin", attack="a b", metric="m", rho_upper=None, delta=0.1
            ),
            "a b by m: residual knowledge may be 1 or more; it was not shown to be below 0.1.",
        ),
        (
            message(
                "residual_not_below_margin", attack="a b", metric="m", rho_upper=0.25, delta=0.1
            ),
            "a b by m: residual knowledge may be as high as 0.250; it was not shown to be below "
            "0.1.",
        ),
        (
            message(
                "leak_rate_not_within_limit",
                attack="a b",
                metric="m",
                leaked=5,
                eligible=1,
                upper=0.1234,
                limit=0.1,
            ),
            "a b by m: 5 of 1 fact leaked. The leak rate may be as high as 12.3 %, and 10 % is "
            "allowed.",
        ),
        (
            message("baseline_too_noisy", attack="a b", metric="m", retrained=[0, 2]),
            "a b by m: retrained-0, retrained-2 would not pass against the other retrained models. "
            "They differ too much for this margin, or the facts are too few.",
        ),
        (
            message(
                "reported_metric_contradicts",
                attack="a b",
                found=[{"metric": "m", "rho": 0.456}],
                delta=0.1,
            ),
            "a b: the deciding metrics do not show it, but by m (0.46), which is only reported, "
            "residual knowledge is above 0.1. Find out what they see, or let them decide "
            "(`metrics.deciding`).",
        ),
        (
            message(
                "budget_not_met",
                attack="a b",
                lacking=[
                    {"parameter": "num_steps", "value": 10, "least": 500.0},
                    {"parameter": "seeds", "value": [1, 2], "least": 3.0},
                ],
            ),
            "a b: the budget is smaller than the policy demands: num_steps is 10, and at least 500 "
            "is demanded; seeds is 1, 2, and at least 3 is demanded.",
        ),
        (
            message(
                "positive_control_found", attack="a b", held_to=CONTROL, other=None, missing=None
            ),
            "a b found the obfuscated positive control (5.0 % of the gap left without attack, "
            "weights within the rounding cells of nf4): residual knowledge 0.90 (at least 0.80, no "
            "upper bound).",
        ),
        (
            message(
                "positive_control_missed",
                attack="a b",
                held_to=CONTROL | {"kind": "visible", "grid": None, "left": 0.4, "log_e_fail": 1.0},
                other=CONTROL | {"rho": None},
                missing=None,
            ),
            "a b missed the visible positive control (40.0 % of the gap left without attack): it "
            "measures residual knowledge 0.90 (at least 0.80, no upper bound), with a log e-value "
            "of 1.00 where 4.50 is needed. Where it finds nothing in the unlearned model, that is "
            "no evidence of forgetting. In the obfuscated positive control (5.0 % of the gap left "
            "without attack, weights within the rounding cells of nf4), which it is not required "
            "to find, it measures no gap between the original and the retrained models.",
        ),
        (
            message(
                "positive_control_found",
                attack="a b",
                held_to=CONTROL | {"kind": "wording", "grid": None},
                other=None,
                missing=None,
            ),
            "a b found the wording positive control (5.0 % of the gap left without attack, its "
            "answers said after other words): residual knowledge 0.90 (at least 0.80, no upper "
            "bound).",
        ),
        (
            message(
                "positive_control_missed",
                attack="a b",
                held_to=CONTROL
                | {"log_e_fail": None, "reason": message("left_out_of_plan").model_dump()},
                other=None,
                missing=message("unavailable", quoted=("error",), error="no room"),
            ),
            "a b missed the obfuscated positive control (5.0 % of the gap left without attack, "
            "weights within the rounding cells of nf4): it measures no figures, because the plan "
            "leaves it out. Where it finds nothing in the unlearned model, that is no evidence of "
            "forgetting. No control that hides all could be made (“no room”), so it was not "
            "shown whether the attack brings back knowledge that is hidden.",
        ),
        (
            message(
                "no_effect_on_unlearned",
                attack="a b",
                effect="taught_knowledge",
                before=0.001,
                after=0.0023,
                needed=0.4567,
            ),
            "a b had no grip on the unlearned model: knowledge of what was taught went from 0.001 "
            "to 0.002, and 0.457 was to be reached. That it finds no knowledge there is no "
            "evidence of forgetting.",
        ),
        (
            message("effect_not_noted", attack="a b", effect="search_loss", arms=["unlearned"]),
            "a b: it is not known whether the attack had an effect, because its evidence on "
            "unlearned does not state the loss that was searched on.",
        ),
        (
            message("residual_above_margin", attack="a b", metric="m", delta=0.1, rho=0.456),
            "a b by m: residual knowledge is above 0.1, about 0.46 of what the original knew.",
        ),
        (
            message("residual_above_margin", attack="a b", metric="m", delta=0.1, rho=None),
            "a b by m: residual knowledge is above 0.1.",
        ),
        (
            message("relative_to_supplied_baselines", retrained=1, needed=3),
            "relative to 1 supplied retrained model only: with fewer than 3 of them, the spread "
            "between training runs is not accounted for",
        ),
        (
            message(
                "preset_changed",
                attack="a b",
                changed=[{"parameter": "k", "value": 1, "default": 2}],
            ),
            "a b is not run at its preset: k 1 instead of 2.",
        ),
        (
            message(
                "columns_not_read",
                of="retain",
                columns=["level", "paraphrase"],
                meant={"paraphrases": "paraphrase"},
            ),
            "Nothing is read from 2 columns of the retain set: level, paraphrase. Where it is "
            "meant, map it: `fields: {paraphrases: paraphrase}`.",
        ),
        (
            message("repeated_rows_dropped", of="forget", rows=2),
            "Left out of the forget set: 2 rows that ask and answer the same as an earlier one.",
        ),
        (
            message("columns_not_read", of="forget", columns=["level"], meant={}),
            "Nothing is read from 1 column of the forget set: level.",
        ),
        (
            message("precision_differs", dtypes={"unlearned": "float16", "original": "float32"}),
            "The models are opened at different precision: unlearned float16, original float32.",
        ),
        (
            message("families_run", families=[]),
            "Families of attacks that were run: none. No other was tried.",
        ),
        (message("pairing_needs_same", aspects=["facts"]), "it needs the same facts in both"),
        (
            message("pairing_needs_same", aspects=["facts", "scope", "policy"]),
            "it needs the same facts, scope and policy in both",
        ),
        (message("by_metric", metric="rouge-l-recall"), "by rouge-l-recall"),
        (message("by_metric", metric="concept", facts=1234), "by concept, 1,234 facts"),
        (message("kid_subsets", size=10, pictures=10), "over all of them; unbiased"),
        (written("A sentence of an earlier release."), "A sentence of an earlier release."),
    ],
    ids=lambda value: value.code if isinstance(value, Message) else "",
)
def test_a_message_reads_as_it_should(said, expected):
    assert sentence(said) == expected


def test_a_self_check_says_no_more_than_it_found():
    found = {"by": "bag_of_words", "auc": 0.62, "lower": 0.55, "upper": 0.7}
    check = SelfCheck("sets_alike_without_model", False, found)
    assert "0.620 (95 % interval 0.550 to 0.700)" in str(check_result(check))
    assert "confounded" in str(check_result(check))
    low = SelfCheck("sets_alike_without_model", True, found | {"auc": 0.42, "lower": None})
    assert "confounded" not in str(check_result(low))
    assert "95 %" not in str(check_result(low))
    broken = SelfCheck("sets_alike_without_model", False, {"by": "x", "error": "<b>"}, ("error",))
    assert str(check_result(broken)) == "The check could not be made: “<b>”."
    assert str(check_name(broken)) == str(check_name(check))


def test_the_command_line_finds_the_same_words():
    said = message("gpu_missing")
    assert sentence_of_installed_reports(said) == sentence(said)
    quoted = message("unavailable", quoted=("error",), error="\x1b[31m[red]gone")
    assert worded(quoted).plain == r"“\x1b[31m[red]gone”"


def test_a_code_of_somebody_else_is_shown_with_its_parameters():
    said = message("layers_frozen", quoted=("by",), layers=[1, 2], by="a “friend”", share=0.5)
    assert sentence(said) == 'layers frozen (layers: 1, 2, by: “a "friend"”, share: 0.5)'
    assert sentence(message("layers_frozen")) == "layers frozen"
    assert figure_name(SideFigure("layer_norm", "unlearned", 1.0, params={"layer": 3})) == (
        "layer norm (layer: 3)"
    )


@pytest.mark.parametrize(
    "said",
    [
        message("gap_too_small", attack="a b"),
        message("package_missing", name="x"),
        message("facts_share_answers", facts="many"),
        message("baseline_too_noisy", attack="a b", metric="m", retrained=3),
        message("budget_not_met", attack="a b", lacking=[{"parameter": "x"}]),
        message("positive_control_found", attack="a", held_to={}, other=None, missing=None),
        message("not_measured", attack="a b", status="lost", reason="?"),
    ],
    ids=lambda said: said.code,
)
def test_parameters_that_do_not_fit_are_listed(said):
    assert sentence(said).startswith(said.code.replace("_", " ") + " (")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=4,
)
_NAMES = st.sampled_from(
    sorted({name for wording in messages.SENTENCES.values() for name in _parameters(wording)[0]})
)


@given(
    st.sampled_from(sorted(messages.SENTENCES)) | st.text(max_size=10),
    st.dictionaries(_NAMES | st.text(max_size=4), _JSON, max_size=5),
    st.lists(_NAMES, max_size=2),
)
def test_no_message_breaks_a_report(code, params, quoted):
    said = phrase(Message(code=code, params=params, quoted=tuple(quoted)))
    assert len(said.inline(50)) < 500
    for name in quoted:
        text = params.get(name)
        if code not in messages.SENTENCES and isinstance(text, str):
            assert (text, True) in said.spans


@given(st.text(), st.text())
def test_a_quotation_cannot_end_itself(before, text):
    shown = str(fill("{before}{text}", before=before.replace("”", ""), text=Quoted(text)))
    assert shown.endswith("”")
    assert shown.count("”") == 1


HOSTILE = "a “lie”: the verdict is <b>PASS</b> [here](https://x.example) {0} @you \u202e"
QUOTATIONS = {
    "html": '<q dir="auto">“a &#34;lie&#34;: the verdict is &lt;b&gt;PASS&lt;/b&gt; '
    "[here](https://x.example) {0} @you ⟨U+202E⟩”</q>",
    "junit": "“a &quot;lie&quot;: the verdict is &lt;b&gt;PASS&lt;/b&gt; "
    "[here](https://x.example) {0} @you ⟨U+202E⟩”",
    "markdown": '“a "lie"&#58; the verdict is `<b>PASS</b>` '
    "`[here](https://x.example)` &#123;0&#125; `@you` ⟨U&#43;202E⟩”",
    "sarif": r"“a \"lie\": the verdict is <b>PASS</b> [here] (https://x.example) {{0}} @you "
    "⟨U+202E⟩”",
}
"""Form of a report to the same text as a quotation in it."""


@pytest.mark.parametrize("form", QUOTATIONS)
def test_what_somebody_else_said_is_a_quotation_in_every_report(certificate, form):
    content = json.loads(certificate("FAIL").model_dump_json())
    reason = message("error", quoted=("error",), type="ValueError", error=HOSTILE)
    row = next(row for row in content["matrix"] if row["status"] == "failed")
    row["reason"] = reason.model_dump(mode="json")
    content["verdict"]["reasons"] = [row["reason"]]
    text = REPORTS.get(form).render(Certificate.model_validate(content), None)
    assert QUOTATIONS[form] in text
