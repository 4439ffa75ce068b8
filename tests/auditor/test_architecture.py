"""What the documents promise of the code, beside the contracts of import-linter."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_plugin_in_the_docs_is_the_one_that_is_tested():
    page = (ROOT / "docs" / "writing-an-attack.md").read_text(encoding="utf-8")
    plugin = ROOT / "tests" / "plugin_package" / "shouting" / "__init__.py"
    assert plugin.read_text(encoding="utf-8") in page


@pytest.mark.parametrize("room", ["auditor/statistics", "auditor/certificate", "reports"])
def test_nothing_after_the_evidence_knows_what_sort_of_model_it_is_about(room):
    files = [file for ending in ("py", "j2") for file in (ROOT / room).rglob(f"*.{ending}")]
    assert files
    for file in files:
        text = file.read_text(encoding="utf-8")
        for word in ("text-to-image", "causal-lm", "modality", "text_to_image", "causal_lm"):
            assert word not in text, f"{file.relative_to(ROOT)} speaks of {word}"
