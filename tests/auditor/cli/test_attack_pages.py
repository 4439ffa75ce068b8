"""The documentation of the attacks is what their classes say."""

import json
from pathlib import Path

from auditor.attack import ATTACKS, SECTIONS
from auditor.cli.attack_pages import page, pages
from auditor.cli.main import OK, run

DOCS = Path(__file__).parents[3] / "docs" / "attacks"


def test_every_attack_is_described():
    for name in ATTACKS.names():
        described = ATTACKS.metadata(name)
        assert described.summary.endswith("."), name
        assert described.presets, name
        missing = [label for field, label in SECTIONS.items() if not getattr(described, field)]
        assert not missing, f"{name} has no {missing}"


def test_every_parameter_says_what_it_is():
    for name, cls in ATTACKS:
        properties = cls.parameters_type.model_json_schema().get("properties", {})
        silent = [key for key, entry in properties.items() if not entry.get("description")]
        assert not silent, name


def test_a_preset_has_the_name_of_its_variant():
    for name, cls in ATTACKS:
        names = [preset.name for preset in cls.presets]
        assert len(set(names)) == len(names)
        made = [cls(cls.parameters_type(**preset.parameters)).variant for preset in cls.presets]
        assert made == names, name


def test_the_pages_in_the_docs_are_those_of_the_code(tmp_path, capsys):
    assert run(["attacks", "document", "--out", str(tmp_path)]) == OK
    made = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert made == pages()
    assert made == {file.name: file.read_text() for file in DOCS.glob("*.md")}, (
        "the attacks changed: run `auditor attacks document`"
    )
    assert f"{len(made)} pages" in capsys.readouterr().out


def test_a_page_holds_what_the_class_says():
    text = page("none/as-is")
    assert "**Threat model.** " + ATTACKS.metadata("none/as-is").threat_model in text
    assert "| `none/as-is full precision` | quick | mandatory |" in text


def test_an_attack_is_shown_by_its_former_name(capsys):
    assert run(["attacks", "show", "latent/linear-readout", "--json"]) == OK
    shown = json.loads(capsys.readouterr().out)
    assert shown["name"] == "probing/linear-probe"
    assert shown["presets"][0]["role"] == "reported"
    assert "depth" in shown["parameters"]["properties"]
