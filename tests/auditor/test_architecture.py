"""What the documents promise of the code, beside the contracts of import-linter."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_plugin_in_the_docs_is_the_one_that_is_tested():
    page = (ROOT / "docs" / "writing-an-attack.md").read_text(encoding="utf-8")
    plugin = ROOT / "tests" / "plugin_package" / "shouting" / "__init__.py"
    assert plugin.read_text(encoding="utf-8") in page
