"""`auditor compare`: exit codes, what it prints, what it writes."""

import json

import pytest
from hand_made_certificates import honest_certificate
from hostile_texts import hostile_certificate

import reports.comparison  # noqa: F401 - registers its form, as its entry point does
from auditor.certificate.files import write_certificate
from auditor.certificate.schema import Certificate
from auditor.cli.main import FAILED_VERDICT, OK, UNDECIDED, USAGE, run
from auditor.core.errors import AlteredError, MalformedError
from auditor.core.messages import message, written
from auditor.signing.envelope import sign
from auditor.signing.keys import KINDS, generate, load_signer
from reports.messages import sentence


@pytest.fixture
def files(tmp_path):
    """Writes two certificates; they are of one policy, as two audits in a pipeline are."""

    def write(before, after, **changes):
        for name, verdict in (("a", before), ("b", after)):
            content = json.loads(honest_certificate(verdict).model_dump_json())
            content["policy"] = json.loads(honest_certificate("FAIL").policy.model_dump_json())
            if name == "b":
                for part, values in changes.items():
                    content[part] |= values
            made = Certificate.model_validate(content).named()
            write_certificate(made, tmp_path / f"{name}.json")
        return str(tmp_path / "a.json"), str(tmp_path / "b.json")

    return write


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ("PASS", "PASS", OK),
        ("PASS", "FAIL", FAILED_VERDICT),
        ("FAIL", "PASS", OK),
        ("INCONCLUSIVE", "FAIL", FAILED_VERDICT),
        ("FAIL", "NOT AUDITABLE", FAILED_VERDICT),
    ],
)
def test_fail_if_worse(files, before, after, code):
    pair = files(before, after)
    assert run(["compare", *pair, "--fail-if-worse"]) == code
    assert run(["compare", *pair]) == OK


def test_what_is_not_comparable_is_no_success_of_a_pipeline(files, capsys):
    pair = files("FAIL", "PASS", identity={"facts_digest": "f" * 64})
    assert run(["compare", *pair, "--fail-if-worse"]) == UNDECIDED
    assert "NOT COMPARABLE" in capsys.readouterr().out
    assert run(["compare", *pair]) == OK


def test_data(files, capsys):
    assert run(["compare", *files("PASS", "FAIL"), "--json"]) == OK
    said = json.loads(capsys.readouterr().out)
    assert (said["a"]["verdict"], said["b"]["verdict"]) == ("PASS", "FAIL")
    assert said["comparable"]
    assert said["worse"][0]["code"] == "verdict_worse"
    assert said["paired"]["why_not"]["code"] == "evidence_not_found"


def test_print_says_what_changed(files, capsys):
    pair = files("PASS", "FAIL", policy={"delta": 0.2}, identity={"policy_digest": "f" * 64})
    assert run(["compare", *pair]) == OK
    said = " ".join(capsys.readouterr().out.split())
    for words in (
        "The verdicts are of two rules; the figures can be compared.",
        "delta: 0.1 -> 0.2",
        sentence(message("evidence_not_found", certificate="A", option="--evidence-a")),
        "[0.690, 0.923]",
    ):
        assert words in said


def test_a_page(files, tmp_path):
    pair = files("PASS", "FAIL")
    page = tmp_path / "page.html"
    assert run(["compare", *pair, "--out", str(page)]) == OK
    assert "PASS → FAIL" in page.read_text(encoding="utf-8")


def test_no_certificate_is_written_over(files, tmp_path, capsys):
    pair = files("PASS", "FAIL")
    before = (tmp_path / "b.json").read_bytes()
    assert run(["compare", *pair, "--out", pair[1]]) == USAGE
    assert "not written over" in capsys.readouterr().err
    assert (tmp_path / "b.json").read_bytes() == before


def test_envelopes_are_read_and_their_signatures_are_not_called_checked(files, tmp_path, capsys):
    a, _ = files("PASS", "FAIL")
    generate(tmp_path / "k.pem", tmp_path / "k.pub", KINDS["ed25519"])
    signer = load_signer(tmp_path / "k.pem")
    made = honest_certificate("FAIL").named()
    (tmp_path / "b.dsse.json").write_bytes(sign(made, [signer]))
    assert run(["compare", a, str(tmp_path / "b.dsse.json")]) == OK
    said = capsys.readouterr().out
    assert signer.public_key.keyid in said
    assert "(not checked)" in said


def test_an_altered_and_a_broken_certificate_are_refused(files, tmp_path):
    a, b = files("PASS", "FAIL")
    text = (tmp_path / "b.json").read_text(encoding="utf-8")
    (tmp_path / "b.json").write_text(text.replace('"FAIL"', '"PASS"', 1), encoding="utf-8")
    assert run(["compare", a, b]) == AlteredError.exit_code
    (tmp_path / "b.json").write_text("{}", encoding="utf-8")
    assert run(["compare", a, b]) == MalformedError.exit_code


def test_hostile_texts_give_the_terminal_no_orders(tmp_path, capsys):
    hostile = hostile_certificate()
    warning = written("[bold red]x[/] [link=https://e.example]")
    marked = hostile.model_copy(update={"warnings": (warning,)})
    write_certificate(hostile.named(), tmp_path / "a.json")
    write_certificate(marked.named(), tmp_path / "b.json")
    assert run(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == OK
    said = capsys.readouterr().out
    for code in ("\x00", "\x1b", "\u202e", "\u2028"):
        assert code not in said, repr(code)
    assert "[bold red]x[/] [link=https://e.example]" in said, "markup is shown, not obeyed"
    assert len(said) < 200_000, "a hundred thousand letters are cut"
