"""Files of a deployment as the unlearned model: one that leaks fails, a retrained one does not."""

import json

import pytest
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from auditor.cli.main import run
from auditor.core.cache import CACHE_VARIABLE
from auditor.core.hashing import digest_file

PASS, FAIL, INCONCLUSIVE = 0, 1, 3


def write_gguf(folder, source):
    """The source as a GGUF file of the level Q4_K_M; its path, and the file that is hashed."""
    written = pytest.importorskip("written_gguf")
    network = AutoModelForCausalLM.from_pretrained(source)
    file = folder / f"{source.name}-q4_k_m.gguf"
    written.write_gguf(file, network, AutoTokenizer.from_pretrained(source), "q4_k_m")
    return file, file


def write_compressed(folder, source):
    """The source as a checkpoint of 4-bit whole numbers; its path, and a file that is hashed."""
    written = pytest.importorskip("written_compressed")
    network = AutoModelForCausalLM.from_pretrained(source)
    made = folder / f"{source.name}-w4a16"
    written.write_compressed(made, network, AutoTokenizer.from_pretrained(source))
    return made, made / "model.safetensors"


WRITERS = {"gguf": write_gguf, "compressed-tensors": write_compressed}
ATTACKS = {
    "gguf": [{"attack": "quantization/bnb", "parameters": {"format": "nf4"}}],
    "compressed-tensors": [{"attack": "prompting/prefill"}],
}
MANDATORY = {
    "gguf": ["none/as-is", "quantization/bnb nf4"],
    "compressed-tensors": ["none/as-is", "prompting/prefill 1 token"],
}


@pytest.mark.nightly
@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize(
    ("subject", "expected"),
    [("unlearned", (FAIL,)), ("retrained", (PASS, INCONCLUSIVE))],
    ids=["leaks", "control"],
)
def test_a_leak_is_found_and_a_retrained_model_is_not_blamed(
    form, subject, expected, people, store_root, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    name = people.recipe.demo if subject == "unlearned" else people.recipe.retrained[2]
    path, file = WRITERS[form](tmp_path, people.model_path(name))
    plan = {
        "unlearned": {"path": path.name, "dtype": "float32"},
        "original": {"path": str(people.model_path("original")), "dtype": "float32"},
        "retrained": [
            {"path": str(people.model_path(other)), "dtype": "float32"}
            for other in people.recipe.retrained[:2]
        ],
        "data": {part: str(people.facts(part)) for part in ("forget", "retain", "holdout")},
        "profile": None,
        "attacks": ATTACKS[form],
        "policy": {"mandatory": MANDATORY[form]},
        "seeds": [0],
    }
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    audit = ["audit", "plan.yaml", "--out", "out", "--store", str(store_root), "-q"]
    assert run(audit) in expected, capsys.readouterr()
    certificate = json.loads((tmp_path / "out" / "certificate.json").read_text())
    [arm] = [part for part in certificate["identity"]["arms"] if part["arm"] == "unlearned"]
    assert arm["files"][file.name] == digest_file(file)
    assert not [row for row in certificate["matrix"] if row["status"] != "measured"]
    assert "facts_read_otherwise" not in json.dumps(certificate)
    checked = ["verify", "out/certificate.json", "--unsigned", "--evidence", str(store_root)]
    checked += ["--model", f"unlearned={path.name}"]
    assert run(checked) == 0, capsys.readouterr()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert run(checked) != 0
