"""The documentation of the attacks is what their code says."""

from pathlib import Path

import pytest
from auditor.documentation import SECTIONS, documentation

from auditor.attack import ATTACKS
from auditor.cli.attack_pages import page, pages
from auditor.cli.main import OK, run

DOCS = Path(__file__).parents[3] / "docs" / "attacks"


@pytest.mark.parametrize("name", ATTACKS.names())
def test_every_attack_says_against_whom_it_stands(name):
    said = documentation(ATTACKS.get(name))
    assert said.summary.endswith(".")
    missing = [label for field, label in SECTIONS.items() if not getattr(said, field)]
    assert not missing, f"the docstring of {name} has no paragraph for {missing}"


@pytest.mark.parametrize("name", ATTACKS.names())
def test_every_parameter_says_what_it_is(name):
    schema = ATTACKS.get(name).parameters_type.model_json_schema()
    silent = [
        n for n, entry in schema.get("properties", {}).items() if not entry.get("description")
    ]
    assert not silent


@pytest.mark.parametrize("name", ATTACKS.names())
def test_every_attack_has_a_place_in_a_profile(name):
    assert ATTACKS.get(name).levels


def test_the_pages_in_the_docs_are_those_of_the_code(tmp_path, capsys):
    assert run(["attacks", "document", "--out", str(tmp_path)]) == OK
    made = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert made == pages()
    assert made == {file.name: file.read_text() for file in DOCS.glob("*.md")}, (
        "the attacks changed: run `auditor attacks document`"
    )
    assert f"{len(made)} pages" in capsys.readouterr().out


def test_a_page_holds_what_the_docstring_says():
    text = page("none/as-is", ATTACKS.get("none/as-is"))
    assert "**Threat model.** A curious user." in text
    assert "| `none/as-is full precision` | quick | mandatory |" in text
