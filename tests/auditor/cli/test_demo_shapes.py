import json

import pytest

from auditor.cli.main import OK, run


@pytest.mark.slow
@pytest.mark.timeout(1800)  # six minutes of one core, which other tests may share
def test_demo_of_a_text_to_image_model_shows_a_fail_and_a_pass(shapes_world, tmp_path, capsys):
    out = tmp_path / "demo"
    assert run(["demo", "--world", "shapes", "--out", str(out), "--quiet"]) == OK
    said = capsys.readouterr().out
    assert "exit code of this audit: 1" in said
    assert "exit code of this audit: 0" in said
    failed, passed = (
        json.loads((out / name / "certificate.json").read_text())
        for name in ("unlearned", "retrained")
    )
    assert failed["verdict"]["verdict"] == "FAIL"
    assert failed["utility"]["state"] == "kept"
    assert any(
        row["attack"] == "image/concept-inversion" for row in failed["matrix"] if row["named"]
    )
    assert passed["verdict"]["verdict"] == "PASS"
    assert all(row["status"] == "measured" for row in passed["matrix"])
    for name in ("unlearned", "retrained"):
        assert "data:image/png;base64," in (out / name / "certificate.html").read_text()
