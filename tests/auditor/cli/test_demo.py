import json

import pytest

from auditor.cli.main import FAILED_VERDICT, OK, run


@pytest.mark.nightly
def test_demo_shows_a_fail_and_a_pass(people, tmp_path, capsys):
    assert run(["demo", "--out", str(tmp_path / "demo"), "--quiet"]) == OK
    said = capsys.readouterr().out
    assert "exit code of this audit: 1" in said
    assert "exit code of this audit: 0" in said
    assert said.count("on purpose") == 2, "both audits calibrate on fewer texts"
    failed, passed = (
        json.loads((tmp_path / "demo" / name / "certificate.json").read_text())
        for name in ("unlearned", "retrained")
    )
    assert failed["verdict"]["verdict"] == "FAIL"
    assert failed["utility"]["state"] == "kept"
    named = {row["variant"] for row in failed["matrix"] if row["named"]}
    assert named == {"nf4", "1 token", "by attribute", "by attribute full"}
    assert passed["verdict"]["verdict"] == "PASS"
    unmeasured = {row["attack"] for row in passed["matrix"] if row["status"] != "measured"}
    assert unmeasured == {"prompting/original-tokenizer"}, "all arms have the original's files"
    for name in ("unlearned", "retrained"):
        page = (tmp_path / "demo" / name / "certificate.html").read_text()
        assert page.count("<script") == 1, "our own, for search and sorting"

    out = tmp_path / "demo" / "unlearned"
    page = (out / "certificate.html").read_text()
    (out / "certificate.html").unlink()
    assert run(["render", str(out / "certificate.json"), "--html"]) == OK
    assert (out / "certificate.html").read_text() == page
    replayed = failed["reproduction"]["command"].split()[1:]
    assert run([*replayed, "--quiet"]) == FAILED_VERDICT
    again = json.loads((out / "certificate.json").read_text())
    del failed["timing"], again["timing"]
    assert again == failed
