"""The site of documentation builds without a warning."""

import os
import subprocess
import sys

import pytest
from console_blocks import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    for name in ("mkdocs", "material", "mkdocstrings", "mkdocs_click", "griffe_pydantic"):
        pytest.importorskip(name, reason=f"the extra `docs` is not installed ({name})")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.mark.parametrize(
    ("page", "texts"),
    [
        ("reference/command-line", ["auditor baseline build", "--even-if-it-does-not-fit"]),
        ("reference/plan", ["token_budget", "Padded tokens in a batch", "allow_pickle"]),
        ("reference/policy", ["leak_limit", "0.1"]),
        ("reference/certificate", ["VerdictPart", "certificate-4.0.0.schema.json"]),
        ("reference/python", ["run_attack", "wrap_model", "KnowledgeCallback"]),
        ("tutorial", ["answers 96 of 96 facts"]),
    ],
)
def test_the_reference_is_made_from_the_code(site, page, texts):
    shown = (site / page / "index.html").read_text(encoding="utf-8")
    for text in texts:
        assert text in shown


def test_schemas_lie_beside_their_page_and_nothing_is_loaded_from_elsewhere(site):
    schema = "certificate-4.0.0.schema.json"
    assert (site / "reference" / schema).read_bytes() == (
        ROOT / "auditor" / "certificate" / schema
    ).read_bytes()
    home = (site / "index.html").read_text(encoding="utf-8")
    assert "fonts.googleapis" not in home
