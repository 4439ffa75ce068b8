"""Sample certificates of the documentation: real, signed, of this schema, and small."""

import re

import pytest
from console_blocks import ROOT

from auditor.api.certificates import load_signed, verify
from auditor.certificate.schema import SCHEMA_VERSION

GALLERY = ROOT / "docs" / "gallery"
KEY = GALLERY / "auditor.pub.pem"
SAMPLES = sorted(GALLERY.glob("*/certificate.dsse.json"))
AGAIN = "make them again: python scripts/make_gallery.py"
VERDICTS = {"fail": "FAIL", "pass": "PASS", "inconclusive": "INCONCLUSIVE"}
VERDICTS |= {"not-auditable": "NOT AUDITABLE", "text-to-image": "FAIL"}
MOST, MOST_OF_ALL = 150_000, 2_000_000
"""Bytes of a picture, and of the whole gallery."""


def test_each_verdict_has_a_sample():
    found = {sample.parent.name for sample in SAMPLES}
    assert {"fail", "pass", "inconclusive", "not-auditable"} <= found <= set(VERDICTS)
    page = (GALLERY / "index.md").read_text(encoding="utf-8")
    for name in found:
        assert f"]({name}/certificate.dsse.json)" in page
        assert f"]({name}/sheet.png)" in page


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.parent.name)
def test_a_sample_is_signed_of_this_schema_and_says_no_path(sample):
    signed = load_signed(sample, [KEY])
    certificate = signed.certificate
    assert signed.signers
    assert certificate.verdict.verdict == VERDICTS[sample.parent.name]
    assert certificate.written_version == SCHEMA_VERSION, AGAIN
    assert certificate.timing.expires is None, "a sample holds for ever"
    assert not re.search(r'"/(?:home|root|srv|tmp)\b', certificate.model_dump_json())
    picture = sample.with_name("sheet.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) <= MOST


def test_the_sample_with_evidence_is_worked_out_again():
    done = verify(GALLERY / "fail" / "certificate.dsse.json", keys=[KEY], require_evidence=True)
    assert done.jobs, AGAIN


def test_the_gallery_is_small():
    files = [file for file in GALLERY.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= MOST_OF_ALL
