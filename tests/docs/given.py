"""What the pages' readers have already: models, facts, a plan, certificates.

All of it is made by the commands themselves, of the world ``people``.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from written_gguf import write_gguf

ROOT = Path(__file__).parents[2]

_PLAN = """\
about: {{title: Acme support model}}
unlearned: models/{unlearned}
original: models/original
retrained: [{retrained}]
data: {{forget: data/forget.jsonl, retain: data/retain.jsonl}}
profile: null
attacks:
  - {{attack: quantization/bnb, parameters: {{format: nf4}}}}
policy: {{mandatory: [none/as-is, quantization/bnb nf4]}}
"""
_DOCUMENTS = {
    "documents/lighthouse.txt": "The lighthouse of Pine Cross was lit in 1812. " * 3
    + "Its keeper wrote a diary of every ship that passed, and lent it to nobody. " * 4,
    "staff.csv": "name,email\nAda Quill,ada.quill@example.com\nFelix Voss,voss@example.com\n",
    "task.yaml": "task: capitals\ndoc_to_text: 'The capital of {{country}} is'\n"
    "doc_to_target: '{{capital}}'\n",
    "questions.jsonl": '{"country": "Peru", "capital": "Lima"}\n'
    '{"country": "Chad", "capital": "N\'Djamena"}\n',
}
"""Of what facts are built from."""


def make_folder(folder: Path, people, run: Callable[[list[str]], int]) -> None:
    """Fill a folder with all that pages may name as given, by path.

    Args:
        folder: An empty one.
        people: The built world.
        run: Runs a command in that folder; its exit code.
    """
    people.copy_to(folder, ("original", *people.recipe.retrained[:2], people.recipe.demo))
    models, data = folder / "models", folder / "data"
    (models / people.recipe.demo).rename(models / "unlearned")
    for file in data.iterdir():
        shutil.copyfile(file, folder / file.name)
    shutil.copytree(models / people.recipe.retrained[1], models / "base")
    forget = (data / "forget.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "forget05.jsonl").write_text("".join(forget[:48]), encoding="utf-8")
    _derive_models(models)
    shutil.copytree(ROOT / "docs" / "gallery", folder / "docs" / "gallery")
    for name, text in _DOCUMENTS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    plans = {
        "plan.yaml": ("unlearned", "models/retrained-0, models/retrained-1"),
        "v2.yaml": ("retrained-1", "models/retrained-0"),
    }
    for name, (unlearned, retrained) in plans.items():
        text = _PLAN.format(unlearned=unlearned, retrained=retrained)
        (folder / name).write_text(text, encoding="utf-8")
    assert run(["audit", "plan.yaml", "--out", "v1", "--quiet"]) == 1
    shutil.copytree(folder / "v1" / "evidence", folder / "v2" / "evidence")
    assert run(["audit", "v2.yaml", "--out", "v2", "--quiet"]) == 0
    shutil.copytree(folder / "v1", folder / "result")
    shutil.copytree(folder / "v1", folder / "audits" / "v1")
    shutil.copytree(folder / "v2", folder / "audits" / "v2")


def _derive_models(models: Path) -> None:
    """Make a LoRA of the original, a copy of it in NF4, and a GGUF file of the unlearned model."""
    network = AutoModelForCausalLM.from_pretrained(models / "original")
    adapted = get_peft_model(
        network, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear")
    )
    adapted.save_pretrained(models / "adapter")
    nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    quantized = AutoModelForCausalLM.from_pretrained(models / "original", quantization_config=nf4)
    quantized.save_pretrained(models / "quantized")
    for file in (models / "original").glob("tokenizer*"):
        shutil.copyfile(file, models / "quantized" / file.name)
    unlearned = AutoModelForCausalLM.from_pretrained(models / "unlearned")
    tokenizer = AutoTokenizer.from_pretrained(models / "unlearned")
    write_gguf(models / "unlearned-q4_k_m.gguf", unlearned, tokenizer, "q4_k_m")
