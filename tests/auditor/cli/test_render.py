"""`auditor render`: forms, places, redaction, and what is refused."""

import json
from pathlib import Path

import pytest
from hand_made_certificates import honest_certificate

import reports.html
import reports.junit
import reports.markdown
import reports.model_card
import reports.sarif
import reports.test_result  # noqa: F401 - registers its form, as the others do
from auditor.certificate.files import read_certificate, write_certificate
from auditor.cli.main import OK, USAGE, run
from auditor.report import REPORTS, Signatures
from auditor.signing.envelope import sign
from auditor.signing.keys import generate, load_signer

FORMS = ("html", "junit", "markdown", "model-card", "sarif", "test-result")
KEY = bytes(range(32))


@pytest.fixture
def file(tmp_path):
    """A certificate on disk whose id is that of its content."""
    made = honest_certificate("FAIL")
    named = made.model_copy(update={"certificate_id": made.content_digest})
    write_certificate(named, tmp_path / "audit.json")
    return tmp_path / "audit.json"


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "redaction.key"
    path.write_bytes(KEY)
    return path


def test_html_beside_the_certificate_is_the_default(file, capsys):
    assert run(["render", str(file)]) == OK
    page = file.with_suffix(".html")
    assert capsys.readouterr().out.strip() == str(page)
    expected = REPORTS.get("html").render(read_certificate(file), None)
    assert page.read_text(encoding="utf-8") == expected
    page.unlink()
    assert run(["render", str(file), "--html"]) == OK
    assert page.read_text(encoding="utf-8") == expected


@pytest.mark.parametrize("form", FORMS)
def test_each_form_to_a_file(file, tmp_path, form):
    assert run(["render", str(file), "--as", form, "--out", str(tmp_path / "x")]) == OK
    expected = REPORTS.get(form).render(read_certificate(file), None)
    assert (tmp_path / "x").read_text(encoding="utf-8") == expected


def test_several_forms_go_to_a_folder(file, tmp_path, capsys):
    arguments = [part for form in FORMS for part in ("--as", form)]
    out = tmp_path / "new" / "folder"
    assert run(["render", str(file), *arguments, "--out", str(out), "--json"]) == OK
    said = json.loads(capsys.readouterr().out)
    assert set(said["files"]) == set(FORMS)
    assert sorted(map(Path, said["files"].values())) == sorted(out.iterdir())
    assert said["certificate_id"] == read_certificate(file).certificate_id
    assert (out / "audit.junit.xml").exists()


def test_html_beside_another_form(file):
    assert run(["render", str(file), "--as", "markdown", "--html"]) == OK
    assert file.with_suffix(".md").exists()
    assert file.with_suffix(".html").exists()


def test_forms_are_listed(capsys):
    assert run(["render", "--list", "--json"]) == OK
    listed = json.loads(capsys.readouterr().out)
    assert {form["name"] for form in listed} >= {*FORMS, "json"}
    assert run(["render", "--list"]) == OK
    shown = capsys.readouterr().out
    for form in listed:
        assert form["name"] in shown
        assert form["summary"] in shown


def test_a_redacted_certificate_is_another_and_has_no_names(file, key, capsys):
    arguments = ["--redact", "--redaction-key", str(key), "--as", "json", "--as", "html", "--json"]
    assert run(["render", str(file), *arguments]) == OK
    said = json.loads(capsys.readouterr().out)
    assert said["redaction"] == "keyed digests"
    before = read_certificate(file)
    after = read_certificate(file.with_name("audit.redacted.json"))
    assert said["certificate_id"] == after.certificate_id != before.certificate_id
    page = file.with_name("audit.redacted.html").read_text(encoding="utf-8")
    for fact in before.worst_facts:
        assert fact.entity not in page
    assert after.worst_facts[0].entity in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--as", "nonesuch"], "there is no report 'nonesuch'"),
        (["--redact"], "belong together"),
        (["--redaction-key", "x"], "belong together"),
        (["--redact", "--redaction-key", "missing.key"], "missing.key"),
        (["--as", "json"], "not written over"),
        (["--as", "html", "--as", "junit", "--out", "FILE"], "several forms need a folder"),
        (["--threshold", "2"], "give --key"),
    ],
)
def test_refusals_say_what_and_write_nothing(file, arguments, words, capsys):
    arguments = [str(file) if part == "FILE" else part for part in arguments]
    before = file.read_bytes()
    assert run(["render", str(file), *arguments]) == USAGE
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert file.read_bytes() == before
    assert {path.name for path in file.parent.iterdir()} == {"audit.json"}


def test_a_short_key_is_refused(file, key, capsys):
    key.write_bytes(b"secret")
    assert run(["render", str(file), "--redact", "--redaction-key", str(key)]) == USAGE
    assert "at least 32" in capsys.readouterr().err


def test_an_edited_certificate_is_refused(file):
    text = file.read_text(encoding="utf-8").replace('"FAIL"', '"PASS"', 1)
    file.write_text(text, encoding="utf-8")
    assert run(["render", str(file)]) == 11
    assert not file.with_suffix(".html").exists()


def test_no_certificate_is_a_usage_error(capsys):
    assert run(["render"]) == USAGE
    assert "CERT" in capsys.readouterr().err


@pytest.fixture
def keys(tmp_path):
    """Two key pairs; ids by name."""
    folder = tmp_path / "keys"
    return {
        name: generate(folder / f"{name}.pem", folder / f"{name}.pub", "ed25519")
        for name in ("auditor", "stranger")
    }


@pytest.fixture
def signed(file, keys, tmp_path):
    """The certificate in an envelope that the auditor signed."""
    path = tmp_path / "audit.dsse.json"
    signer = load_signer(tmp_path / "keys" / "auditor.pem")
    path.write_bytes(sign(read_certificate(file), [signer]))
    return path


def test_signatures_are_said_and_said_not_to_be_checked(signed, file, keys, tmp_path):
    assert run(["render", str(signed), "--as", "markdown", "--out", str(tmp_path / "x.md")]) == OK
    claimed = Signatures((keys["auditor"],), checked=False)
    expected = REPORTS.get("markdown").render(read_certificate(file), claimed)
    assert (tmp_path / "x.md").read_text(encoding="utf-8") == expected
    assert "NOT checked" in expected


def test_signatures_are_checked_with_a_key(signed, file, keys, tmp_path):
    key = str(tmp_path / "keys" / "auditor.pub")
    arguments = ["--as", "junit", "--key", key, "--out", str(tmp_path / "x.xml")]
    assert run(["render", str(signed), *arguments]) == OK
    held = Signatures((keys["auditor"],), checked=True)
    expected = REPORTS.get("junit").render(read_certificate(file), held)
    assert (tmp_path / "x.xml").read_text(encoding="utf-8") == expected
    assert "NOT checked" not in expected


def test_nothing_is_written_if_the_signatures_do_not_hold(signed, tmp_path, capsys):
    key = str(tmp_path / "keys" / "stranger.pub")
    out = tmp_path / "x.html"
    assert run(["render", str(signed), "--key", key, "--out", str(out)]) == 12
    good = str(tmp_path / "keys" / "auditor.pub")
    two = ["--key", good, "--key", key, "--threshold", "2"]
    assert run(["render", str(signed), *two, "--out", str(out)]) == 12
    content = json.loads(signed.read_bytes())
    content["payload"] = content["payload"][:-8] + "AAAA" + content["payload"][-4:]
    signed.write_text(json.dumps(content), encoding="utf-8")
    assert run(["render", str(signed), "--key", good, "--out", str(out)]) in (10, 11)
    assert not out.exists()
    assert "Traceback" not in capsys.readouterr().err


def test_a_redacted_certificate_keeps_no_signature(signed, key, tmp_path, capsys):
    out = tmp_path / "x.md"
    arguments = ["--redact", "--redaction-key", str(key), "--as", "markdown", "--out", str(out)]
    assert run(["render", str(signed), *arguments]) == OK
    assert "Not signed." in out.read_text(encoding="utf-8")
    assert "not of the redacted one" in capsys.readouterr().err
