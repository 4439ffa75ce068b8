"""A finished audit with its evidence, copied for each test that breaks it."""

import json
import shutil
from pathlib import Path

import pytest
from every_attack import built_worlds, every_attack
from filelock import FileLock
from told_otherwise import told_otherwise

from auditor.api.auditing import audit
from auditor.certificate.files import read_certificate, write_certificate
from auditor.engine.plan import parse_plan
from auditor.store.folder_store import FolderStore

__all__ = ["built_worlds", "every_attack", "told_otherwise"]


@pytest.fixture(scope="session")
def finished(people, shared_folder):
    """Folders of two audits in one store: one of the demo's unlearned model (FAIL), one PASS."""
    root = shared_folder / "finished"
    with FileLock(root.with_suffix(".lock")):  # one of the test processes audits, all wait
        if not (root / "all").exists():
            audit_twice(people, root)
            (root / "all").touch()
    return root


def audit_twice(people, root):
    """Audit the demo's unlearned model (``fail``) and a retrained one (``pass``)."""

    def spec(name):
        folder = root / "models" / name
        shutil.copytree(people.model_path(name), folder)
        return {"path": str(folder), "dtype": "float32"}

    models = {n: spec(n) for n in ("original", "retrained-0", "retrained-1", people.recipe.demo)}
    shared = {
        "about": {"title": "the model of the test", "forget": "what people told"},
        "original": models["original"],
        "data": {name: str(people.facts(name)) for name in ("forget", "retain")},
        "profile": None,
        "attacks": [
            {"attack": "quantization/bnb", "parameters": {"format": "nf4"}},
            {"attack": "relearning/held-out-facts", "parameters": {"checkpoints": [1, 2]}},
        ],
        "metrics": {"reported": ["rouge-l-recall"]},
        "policy": {
            "name": "test",
            "mandatory": ["none/as-is", "quantization/bnb nf4"],
            "valid_days": 30,
        },
    }
    for name, unlearned, retrained in (
        ("fail", models[people.recipe.demo], [models["retrained-0"], models["retrained-1"]]),
        ("pass", models["retrained-1"], [models["retrained-0"]]),
    ):
        plan = parse_plan(shared | {"unlearned": unlearned, "retrained": retrained}, name)
        audit(plan, out=root / name, store=root / "evidence", reports=())


@pytest.fixture
def copied(finished, tmp_path):
    """The certificate and the store of one of them, free to be changed."""

    def copy(name="pass"):
        shutil.copytree(finished / "evidence", tmp_path / "evidence", dirs_exist_ok=True)
        path = tmp_path / "certificate.json"
        shutil.copy(finished / name / "certificate.json", path)
        shutil.copy(finished / name / "plan.resolved.yaml", tmp_path)
        return path, FolderStore(tmp_path / "evidence", read_only=True)

    return copy


@pytest.fixture
def forged():
    """Change a certificate, and give it the id of its new content: valid JSON, valid schema."""

    def change(path: Path, edit):
        content = json.loads(path.read_text(encoding="utf-8"))
        edit(content)
        original = read_certificate(path)
        certificate = type(original).model_validate(content).named()
        write_certificate(certificate, path)
        return certificate

    return change
