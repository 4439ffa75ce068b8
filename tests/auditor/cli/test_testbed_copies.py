"""Copies of a world's models and facts, laid out as an auditor's own."""

import pytest

from auditor.core.errors import AuditorError
from auditor.core.hashing import digest_file


def test_models_and_facts_are_copied_and_nothing_is_written_over(people, tmp_path):
    people.copy_to(tmp_path, ["retrained-0"])
    weights = "retrained-0/model.safetensors"
    copied = digest_file(tmp_path / "models" / weights)
    assert copied == digest_file(people.model_path("retrained-0") / "model.safetensors")
    for name in ("forget", "retain", "holdout"):
        copied = (tmp_path / "data" / f"{name}.jsonl").read_bytes()
        assert copied == people.facts(name).read_bytes()
    (tmp_path / "data" / "forget.jsonl").write_text("mine")
    with pytest.raises(AuditorError, match=r"data/forget\.jsonl.*exist already"):
        people.copy_to(tmp_path, ["retrained-0"])
    assert (tmp_path / "data" / "forget.jsonl").read_text() == "mine"
