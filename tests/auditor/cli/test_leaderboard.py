"""`auditor leaderboard`: what it prints and writes, and what is never dropped."""

import json

import pytest
from hand_made_certificates import honest_certificate
from hostile_texts import hostile_certificate

import reports.leaderboard  # noqa: F401 - registers its form, as its entry point does
from auditor.certificate.files import write_certificate
from auditor.cli.main import OK, USAGE, run
from auditor.core.errors import MalformedError


@pytest.fixture
def folder(tmp_path):
    """A folder of certificates, one of them altered."""
    for verdict in ("PASS", "FAIL"):
        (tmp_path / verdict).mkdir()
        path = tmp_path / verdict / "certificate.json"
        write_certificate(honest_certificate(verdict).named(), path)
    text = path.read_text(encoding="utf-8").replace('"FAIL"', '"PASS"', 1)
    (tmp_path / "altered.json").write_text(text, encoding="utf-8")
    return tmp_path


def test_altered_files_are_shown_and_are_strictly_a_failure(folder, capsys):
    assert run(["leaderboard", str(folder)]) == OK
    said = capsys.readouterr().out
    assert "altered.json" in said
    assert "was edited" in said
    assert run(["leaderboard", str(folder), "--strict"]) == MalformedError.exit_code
    (folder / "altered.json").unlink()
    assert run(["leaderboard", str(folder), "--strict"]) == OK


def test_data(folder, capsys):
    assert run(["leaderboard", str(folder), "--json"]) == OK
    said = json.loads(capsys.readouterr().out)
    assert sorted(
        (entry["verdict"], entry["paths"][0]) for g in said["groups"] for entry in g["entries"]
    ) == [("FAIL", "FAIL/certificate.json"), ("PASS", "PASS/certificate.json")]
    assert [file["path"] for file in said["unreadable"]] == ["altered.json"]


def test_bounds_are_printed(folder, capsys):
    assert run(["leaderboard", str(folder)]) == OK
    said = capsys.readouterr().out
    assert "[-0.030, 0.090]" in said
    assert "[0.690, not bounded]" in said, "not every mandatory attack was measured"


def test_a_page_is_written_over_no_certificate(folder, tmp_path, capsys):
    assert run(["leaderboard", str(folder), "--out", str(tmp_path / "page.html")]) == OK
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "PASS/certificate.json" in page
    assert "altered.json" in page
    certificate = folder / "PASS" / "certificate.json"
    before = certificate.read_bytes()
    assert run(["leaderboard", str(folder), "--out", str(certificate)]) == USAGE
    assert "not written over" in capsys.readouterr().err
    assert certificate.read_bytes() == before


def test_an_empty_folder_and_none(tmp_path, capsys):
    assert run(["leaderboard", str(tmp_path)]) == OK
    assert "No certificate was found" in capsys.readouterr().out
    assert run(["leaderboard", str(tmp_path / "nonesuch")]) == USAGE


def test_hostile_texts_give_the_terminal_no_orders(tmp_path, capsys):
    write_certificate(hostile_certificate().named(), tmp_path / "[bold]a[!]\x1b[31m.json")
    (tmp_path / "\x1b[2J.json").write_text("{", encoding="utf-8")
    assert run(["leaderboard", str(tmp_path)]) == OK
    said = capsys.readouterr().out
    for code in ("\x00", "\x1b", "\u202e", "\u2028"):
        assert code not in said, repr(code)
    assert "[bold]a[!]\\x1b" in said
