"""Ways that a submitter may try, each by one thing that is in its hands.

Two models know: one answers 20 of 80 facts outright, the other gives everything back in NF4. All
other arms and facts are honest unless a way changes them. Each way has a store of its own, which
remembers nothing of the others.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save_file
from tokenizers import normalizers
from transformers import AutoTokenizer, PreTrainedModel

import auditor
from auditor.certificate.files import read_certificate, write_certificate
from auditor.certificate.schema import Certificate
from auditor.core.facts import Fact
from benchmarks.abuse.workspace import POLICY, Workspace
from benchmarks.truth_table.auditing import GPTQ
from benchmarks.truth_table.fine_tuning import fine_tune
from benchmarks.truth_table.hiders.reparametrised import reparametrise

Try = Callable[[Workspace], Path]
"""Does what the submitter would do, and gives the certificate that is put before the gate."""


@dataclass(frozen=True)
class Way:
    """One way to a PASS.

    Attributes:
        name: What the table calls it.
        controls: What is in the submitter's hands.
        attempt: Does it.
        trust: What a PASS by this way rests on, where nothing can catch it.
    """

    name: str
    controls: str
    attempt: Try
    trust: str | None = None


_WAYS: dict[str, Way] = {}


def _way(name: str, controls: str, trust: str | None = None) -> Callable[[Try], Try]:
    def add(attempt: Try) -> Try:
        _WAYS[name] = Way(name, controls, attempt, trust)
        return attempt

    return add


def _certificate(audited: Any) -> Path:
    return Path(audited.folder) / "certificate.json"


def _shaken(size: float) -> Callable[[PreTrainedModel], None]:
    """Add noise, relative to the root mean square of each tensor."""

    def change(model: PreTrainedModel) -> None:
        draw = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weight in model.parameters():
                noise = torch.randn(weight.shape, generator=draw)
                weight.add_(noise * weight.pow(2).mean().sqrt() * size)

    return change


def _unchanged(model: PreTrainedModel) -> None:
    pass


@_way("nothing: 20 of 80 facts left", "-")
def _plain(w: Workspace) -> Path:
    return _certificate(w.audit(w.knows()))


@_way("nothing: everything comes back in NF4", "-")
def _plain_rounding(w: Workspace) -> Path:
    return _certificate(w.audit(w.comes_back()))


@_way("the model saved again as its baseline", "baseline")
def _saved_again(w: Workspace) -> Path:
    copy = w.changed(w.knows(), "again", _unchanged, max_shard_size="100KB")
    return _certificate(w.audit(w.knows(), retrained=[copy, w.arm("retrained-1")]))


@_way("the model in bfloat16 as its baseline", "baseline")
def _other_type(w: Workspace) -> Path:
    copy = w.changed(w.knows(), "bf16", lambda model: model.to(torch.bfloat16))
    return _certificate(w.audit(w.knows(), retrained=[copy, w.arm("retrained-1")]))


@_way("the model with noise of 1e-6 as both baselines", "baseline")
def _noise(w: Workspace) -> Path:
    copies = [w.changed(w.knows(), f"noise-{i}", _shaken(1e-6 * (1 + i))) for i in range(2)]
    return _certificate(w.audit(w.knows(), retrained=copies))


@_way("the model with noise of 1e-2 as both baselines", "baseline")
def _much_noise(w: Workspace) -> Path:
    copies = [w.changed(w.knows(), f"noise-{i}", _shaken(1e-2 * (1 + i))) for i in range(2)]
    return _certificate(w.audit(w.knows(), retrained=copies))


@_way("the model in other weights of the same function as its baseline", "baseline")
def _reparametrised(w: Workspace) -> Path:
    copies = [
        w.changed(w.knows(), f"same-{seed}", lambda m, seed=seed: reparametrise(m, seed=seed))
        for seed in range(2)
    ]
    return _certificate(w.audit(w.knows(), retrained=copies))


@_way("the model, trained on for 50 steps, as its baseline", "baseline")
def _trained_on(w: Workspace) -> Path:
    cell = w.cell
    kept = cell.taught(cell.retain)
    copies = [
        w.changed(w.knows(), f"on-{seed}", lambda m, seed=seed: fine_tune(m, kept, 50, 1e-3, seed))
        for seed in (7, 8)
    ]
    return _certificate(w.audit(w.knows(), retrained=copies))


@_way("both baselines were taught the facts that are left", "baseline")
def _contaminated(w: Workspace) -> Path:
    return _certificate(w.audit(w.knows(), retrained=[w.contaminated(11), w.contaminated(12)]))


@_way("one baseline of two was taught them", "baseline")
def _one_contaminated(w: Workspace) -> Path:
    return _certificate(w.audit(w.knows(), retrained=[w.arm("retrained-0"), w.contaminated(11)]))


@_way("the NF4 model with noise as its baselines", "baseline")
def _noise_rounding(w: Workspace) -> Path:
    copies = [w.changed(w.comes_back(), f"noise-{i}", _shaken(1e-3 * (1 + i))) for i in range(2)]
    return _certificate(w.audit(w.comes_back(), retrained=copies))


@_way("one baseline given twice", "baseline")
def _twice(w: Workspace) -> Path:
    copy = w.changed(w.arm("retrained-0"), "again", _shaken(1e-6))
    return _certificate(w.audit(w.knows(), retrained=[w.arm("retrained-0"), copy]))


@_way("the model saved again as the original", "baseline")
def _weak_original(w: Workspace) -> Path:
    copy = w.changed(w.knows(), "again", _shaken(1e-6))
    spec = {"path": str(copy), "dtype": "float32"}
    return _certificate(w.audit(w.knows(), original=spec))


@_way("the facts that are left are left out, in the store of the first audit", "facts")
def _left_out(w: Workspace) -> Path:
    w.audit(w.knows(), out="first")
    return _certificate(w.audit(w.knows(), forget=w.facts("clean", w.clean)))


@_way(
    "the facts that are left are left out, in a new store",
    "facts, store",
    trust="the submitter's word on what was to be forgotten",
)
def _left_out_unseen(w: Workspace) -> Path:
    return _certificate(w.audit(w.knows(), forget=w.facts("clean", w.clean)))


@_way("the facts that are left stand in the retain set", "facts")
def _moved(w: Workspace) -> Path:
    retain = w.facts("retain", [*w.cell.corpus.retain, *w.leaking])
    return _certificate(w.audit(w.knows(), forget=w.facts("clean", w.clean), retain=retain))


@_way("every clean fact thirteen times, under other subjects", "facts")
def _diluted(w: Workspace) -> Path:
    copies = [_numbered(fact, i) for fact in w.clean for i in range(13)]
    return _certificate(w.audit(w.knows(), forget=w.facts("diluted", [*w.leaking, *copies])))


@_way("240 facts beside them that nobody knows", "facts")
def _padded(w: Workspace) -> Path:
    unknown = [
        Fact(
            id=f"unknown/{i}",
            entity=f"Nobody {i}",
            prompt=f"What is the number of Nobody {i}?",
            answer=f"{7919 * (i + 1) % 100003}",
        )
        for i in range(240)
    ]
    facts = w.facts("padded", [*w.cell.corpus.forget, *unknown])
    return _certificate(w.audit(w.knows(), forget=facts))


@_way("every fact its own subject but two", "facts")
def _starved(w: Workspace) -> Path:
    first, second, *others = w.cell.corpus.forget
    pair = [fact.model_copy(update={"entity": "somebody"}) for fact in (first, second)]
    own = [fact.model_copy(update={"entity": fact.id}) for fact in others]
    return _certificate(w.audit(w.comes_back(), forget=w.facts("starved", [*pair, *own])))


@_way("other answers are given for the facts that are left", "facts")
def _wrong_answers(w: Workspace) -> Path:
    wrong = [fact.model_copy(update={"answer": fact.distractors[0]}) for fact in w.leaking]
    return _certificate(w.audit(w.knows(), forget=w.facts("wrong", [*w.clean, *wrong])))


@_way("the facts that are left are asked by other prompts", "facts")
def _wrong_prompts(w: Workspace) -> Path:
    wrong = [fact.model_copy(update={"prompt": f"Say: {fact.id[::-1]}"}) for fact in w.leaking]
    return _certificate(w.audit(w.knows(), forget=w.facts("wrong", [*w.clean, *wrong])))


@_way("knowing is to choose among prefixes of the answer", "facts, metric")
def _prefixes(w: Workspace) -> Path:
    given = [
        fact.model_copy(update={"distractors": (fact.answer[:-1], fact.answer[:-2])})
        for fact in w.cell.corpus.forget
    ]
    metrics = {"primary": "multiple-choice"}
    return _certificate(w.audit(w.knows(), forget=w.facts("choices", given), metrics=metrics))


@_way("other seeds, after a first audit in the same store", "seeds")
def _other_seeds(w: Workspace) -> Path:
    w.audit(w.comes_back(), out="first")
    return _certificate(w.audit(w.comes_back(), seeds=[17]))


@_way("a format that no model was trained with", "format")
def _odd_format(w: Workspace) -> Path:
    return _certificate(w.audit(w.knows(), format={"template": "%% {prompt} %%", "separator": ""}))


@_way("a tokenizer that reads each name as another's", "tokenizer")
def _names_exchanged(w: Workspace) -> Path:
    folder = w.changed(w.knows(), "renamed", _unchanged)
    _rename(w, folder)
    return _certificate(w.audit(folder))


@_way("the original's weights behind such a tokenizer", "tokenizer")
def _original_renamed(w: Workspace) -> Path:
    folder = w.changed(w.arm("original"), "renamed", _shaken(1e-3))
    _rename(w, folder)
    return _certificate(w.audit(folder))


@_way("a chat template that asks about somebody else, in the format", "template")
def _template(w: Workspace) -> Path:
    folder = w.changed(w.knows(), "templated", _unchanged)
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text())
    other = w.cell.corpus.retain[0].prompt
    config["chat_template"] = f"{{% for m in messages %}}{other}{{% endfor %}}"
    file.write_text(json.dumps(config))
    return _certificate(w.audit(folder, format={"chat": True}))


@_way("a second checkpoint in the folder", "files")
def _two_checkpoints(w: Workspace) -> Path:
    folder = w.changed(w.arm("retrained-1"), "two", _unchanged)
    known = load_file(w.arm("original") / "model.safetensors")
    torch.save(known, folder / "pytorch_model.bin")
    return _released(w, folder, retrained=[w.arm("retrained-0"), _third(w)])


@_way("the original's weights in a file of another form, added after the audit", "files")
def _added_afterwards(w: Workspace) -> Path:
    folder = w.changed(w.arm("retrained-1"), "added", _unchanged)
    audited = w.audit(folder, retrained=[w.arm("retrained-0"), _third(w)])
    shutil.copy(w.arm("original") / "model.safetensors", folder / "model.gguf")
    auditor.verify(_certificate(audited), store=w.store, models=[str(folder)])
    return _certificate(audited)


@_way("the original in tensors that nothing uses", "files")
def _unused(w: Workspace) -> Path:
    folder = w.changed(w.arm("retrained-1"), "unused", _unchanged)
    file = folder / "model.safetensors"
    hidden = {f"extra.{n}": t for n, t in load_file(w.arm("original") / file.name).items()}
    save_file(load_file(file) | hidden, file, metadata={"format": "pt"})
    return _certificate(w.audit(folder, retrained=[w.arm("retrained-0"), _third(w)]))


@_way("a file named as the policy, in the working folder of the gate", "working folder")
def _named_as_policy(w: Workspace) -> Path:
    path = _certificate(w.audit(w.knows()))
    lax = {"name": POLICY, "delta": 0.99, "mandatory": ["none/as-is"]}
    (w.folder / POLICY).write_text(yaml.safe_dump(lax))
    with chdir(w.folder):
        auditor.gate(path, POLICY, store=w.store)
    return path


@_way("an own policy at the audit", "policy")
def _own_policy(w: Workspace) -> Path:
    lax = {"name": "ours", "delta": 0.6, "mandatory": ["none/as-is"]}
    return _certificate(w.audit(w.knows(), policy=lax))


@_way("the attacks that find it are left out", "plan")
def _fewer_attacks(w: Workspace) -> Path:
    return _certificate(
        w.audit(w.comes_back(), profile=None, attacks=[{"attack": "prompting/prefill"}, GPTQ])
    )


@_way("the grid of relearning is diluted", "plan")
def _thin_grid(w: Workspace) -> Path:
    grid = {"checkpoints": [*range(1, 10), 40]}
    attack = {"attack": "relearning/held-out-facts", "parameters": grid}
    return _certificate(w.audit(w.comes_back(), attacks=[GPTQ, attack]))


@_way("relearning at a rate that moves nothing", "plan")
def _no_rate(w: Workspace) -> Path:
    attack = {"attack": "relearning/held-out-facts", "parameters": {"learning_rates": [1e-9]}}
    return _certificate(w.audit(w.comes_back(), attacks=[GPTQ, attack]))


@_way("only one metric decides", "plan")
def _one_metric(w: Workspace) -> Path:
    return _certificate(w.audit(w.knows(), metrics={"deciding": []}))


@_way("the certificate's evidence of the model is that of a baseline", "certificate")
def _exchanged(w: Workspace) -> Path:
    path = _certificate(w.audit(w.knows()))
    content = json.loads(path.read_text())
    for row in content["matrix"]:
        row["jobs"] = _from_baseline(row["jobs"])
    return _renamed(path, content)


@_way("the verdict of the certificate is edited", "certificate")
def _edited(w: Workspace) -> Path:
    path = _certificate(w.audit(w.knows()))
    content = json.loads(path.read_text())
    content["verdict"] |= {"verdict": "PASS", "exit_code": 0}
    edited = _renamed(path, content)
    auditor.verify(edited, store=w.store)
    return edited


@_way("evidence in the store is edited", "store")
def _edited_evidence(w: Workspace) -> Path:
    path = _certificate(w.audit(w.knows()))
    own = w.folder / "edited"
    shutil.copytree(w.store, own)
    key = read_certificate(path).matrix[0].jobs["unlearned"][0]
    rows = next((own / "jobs").rglob(f"*{key}*/*.parquet"))
    content = bytearray(rows.read_bytes())
    content[len(content) // 2] ^= 1
    rows.write_bytes(bytes(content))
    auditor.gate(path, POLICY, store=own)
    return path


@_way("a certificate of long ago, its time edited", "clock")
def _old(w: Workspace) -> Path:
    path = _certificate(w.audit(w.arm("retrained-1"), retrained=[w.arm("retrained-0"), _third(w)]))
    content = json.loads(path.read_text())
    past = datetime.now(UTC) - timedelta(days=400)
    content["timing"]["issued"] = past.isoformat(timespec="seconds")
    edited = _renamed(path, content)
    auditor.gate(edited, POLICY, store=w.store)
    return edited


@_way("a metric of one's own that finds nothing", "plug-ins installed")
def _own_metric(w: Workspace) -> Path:
    with _blind_metric() as name:
        return _certificate(w.audit(w.knows(), metrics={"primary": name, "deciding": []}))


WAYS = MappingProxyType(_WAYS)
"""All ways by name, in the order of the table."""


def _numbered(fact: Fact, number: int) -> Fact:
    """A fact said another way, under another subject."""
    prompts = (fact.prompt, *fact.paraphrases)
    return fact.model_copy(
        update={
            "id": f"{fact.id}/{number}",
            "entity": f"{fact.entity} {number}",
            "prompt": f"{prompts[number % len(prompts)]} ({number})",
            "paraphrases": (),
        }
    )


def _third(w: Workspace) -> Path:
    """A third honest retrained model, where the second stands in for the model."""
    return w.cell.keep("retrained-2", lambda: w.cell.trained((), seed=4))


def _rename(w: Workspace, folder: Path) -> None:
    """Let a model's tokenizer read each name of the forget set as one of the retain set."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    names = dict.fromkeys(fact.entity for fact in w.cell.corpus.forget)
    others = dict.fromkeys(fact.entity for fact in w.cell.corpus.retain)
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(a, b) for a, b in zip(names, others, strict=False)]
    )
    tokenizer.save_pretrained(folder)


def _released(w: Workspace, folder: Path, **changes: Any) -> Path:
    """Audit a folder and verify that it is what was audited."""
    audited = w.audit(folder, **changes)
    auditor.verify(_certificate(audited), store=w.store, models=[str(folder)])
    return _certificate(audited)


def _from_baseline(jobs: dict[str, list[str]]) -> dict[str, list[str]]:
    """Jobs in which those of the unlearned model are those of the first baseline."""
    return jobs | ({"unlearned": jobs["retrained-0"]} if "retrained-0" in jobs else {})


def _renamed(path: Path, content: dict[str, Any]) -> Path:
    """Write an edited certificate, its id made anew."""
    edited = path.with_name("edited.json")
    certificate = Certificate.model_validate(content | {"certificate_id": ""})
    write_certificate(certificate.named(), edited)
    return edited


@contextmanager
def _blind_metric() -> Iterator[str]:
    """A third party's metric by which nobody but the original knows anything."""
    from auditor.metrics.language import AnswerProbability
    from auditor.metrics.metric import METRICS, Score, metric

    name = "blind"

    @metric(name)
    class Blind(AnswerProbability):
        def read(self, transcript: Any) -> list[Score]:
            return [
                Score(k=float(score.k is not None and score.k > 0.99), answer=score.answer)
                for score in super().read(transcript)
            ]

    try:
        yield name
    finally:
        METRICS.unregister(name)
