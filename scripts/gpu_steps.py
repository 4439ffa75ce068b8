"""Steps of the check on a GPU, each of which measures one thing.

A step prints its figures as lines of JSON while it goes, so that one that is killed keeps them:

    python scripts/gpu_steps.py score --device cuda --scratch /dev/shm/check
"""

import argparse
import gc
import importlib.metadata
import importlib.util
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

MODEL_BYTES = 16 << 30
"""Disk that the large model takes."""
_GIB = 1 << 30
_ALIKE = {"float32": 1e-3, "bfloat16": 0.03}
"""Largest difference of K between the processor and the device, by type of the weights."""
_SCORING = 1.10
"""Most time of scoring, relative to the forward passes in it."""
_LOAN_SECONDS = 20
_LEFT_SHARE = 0.01
"""Share of a model's weights that may stay on the device when it is closed."""


class Step(NamedTuple):
    """A step of the check."""

    name: str
    limit: float
    """Seconds after which it is killed."""
    run: Callable[["Check"], None]
    needs_model: bool = False


class Check:
    """One step on one device.

    Args:
        device: ``cuda`` or ``cpu``.
        tiny: Whether models are tiny.
        scratch: Folder that the steps of a check share.
    """

    def __init__(self, device: str, tiny: bool, scratch: Path) -> None:
        self.device, self.tiny, self.scratch = device, tiny, scratch

    @property
    def cuda(self) -> bool:
        """Whether the device is a GPU."""
        return self.device == "cuda"

    def figures(self, **values: float | str) -> None:
        """Report figures; the end of a name is its unit."""
        rounded = {n: float(f"{v:.4g}") if isinstance(v, float) else v for n, v in values.items()}
        print(json.dumps({"figures": rounded}), flush=True)

    def absent(self, name: str, reason: str) -> None:
        """Report that a figure cannot be measured here."""
        print(json.dumps({"absent": {name: reason}}), flush=True)

    def fault(self, text: str) -> None:
        """Report what is wrong."""
        print(json.dumps({"faults": [text]}), flush=True)

    def check(self, right: bool, text: str) -> None:
        """Report a fault unless something is right."""
        if not right:
            self.fault(text)

    def has(self, figure: str, *packages: str) -> bool:
        """Whether packages are there; a figure that needs them is absent otherwise."""
        lacking = [name for name in packages if importlib.util.find_spec(name) is None]
        if lacking:
            self.absent(figure, f"{', '.join(lacking)} is not installed")
        return not lacking

    def synchronize(self) -> None:
        """Wait for what was asked of the device."""
        if self.cuda:
            import torch

            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], object]) -> float:
        """Seconds of some work, to its end on the device."""
        self.synchronize()
        began = time.perf_counter()
        work()
        self.synchronize()
        return time.perf_counter() - began

    @contextmanager
    def peak(self, name: str) -> Iterator[None]:
        """Report the most memory that tensors took on the device meanwhile."""
        if not self.cuda:
            yield
            self.absent(f"{name}_peak_bytes", "memory of tensors is counted on GPUs alone")
            return
        import torch

        torch.cuda.reset_peak_memory_stats()
        yield
        self.figures(**{f"{name}_peak_bytes": torch.cuda.max_memory_allocated()})

    def allocated(self) -> int:
        """Bytes of tensors on the GPU."""
        import torch

        gc.collect()
        return torch.cuda.memory_allocated() if self.cuda else 0


# -- models and facts ----------------------------------------------------------------------------

_TEXTS = [f"Person {i} lives in city number {i * 7 % 100}." for i in range(200)]


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<eos>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_TEXTS, trainer)
    names = {"eos_token": "<eos>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=bpe, **names)


def _config(check: Check, layers: int | None = None) -> Any:
    """Configuration of a Llama of 7 billion weights, or of a tiny one."""
    from transformers import LlamaConfig

    width, depth, vocabulary = (64, 2, 400) if check.tiny else (4096, 32, 128_256)
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=128 if check.tiny else 11_008,
        num_hidden_layers=min(layers or depth, depth),
        num_attention_heads=4 if check.tiny else 32,
        num_key_value_heads=4 if check.tiny else 32,
        max_position_embeddings=512 if check.tiny else 4096,
        eos_token_id=0,
        bos_token_id=0,
        pad_token_id=1,
    )


def _random_model(check: Check, folder: Path, layers: int | None = None) -> None:
    """Make a model of random weights on the device, and save it."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    with torch.device(check.device):
        network = AutoModelForCausalLM.from_config(_config(check, layers), dtype=torch.bfloat16)
    network.save_pretrained(folder)
    _tokenizer().save_pretrained(folder)


def _opened(
    folder: Path,
    dtype: str = "bfloat16",
    device: str | None = None,
    tick: Callable[[int], None] = lambda items: None,
) -> Any:
    """Open a model as an audit does; ``tick`` is told of each batch."""
    from auditor.models.kind import parse_spec
    from auditor.models.opening import locate, open_model
    from auditor.models.spec import PromptFormat

    spec = parse_spec({"path": str(folder), "dtype": dtype, "device_map": device})
    return open_model(spec, locate(spec), PromptFormat(), tick=tick)


def _large(check: Check) -> Any:
    return _opened(check.scratch / "model")


def _slice(check: Check) -> Any:
    """The model of the first four layers' size."""
    return _opened(check.scratch / "slice")


def _sets(count: int) -> Any:
    from auditor.core.facts import Fact, FactSets

    def facts(start: int) -> tuple[Fact, ...]:
        return tuple(
            Fact(
                id=str(i),
                entity=f"person {i // 2}",
                prompt=f"Person {i} lives in",
                answer=f"city number {i * 7 % 100}.",
            )
            for i in range(start, start + count)
        )

    return FactSets(forget=facts(0), retain=facts(count), holdout=facts(2 * count))


def _measured(
    check: Check, model: Any, name: str, sets: Any, search: bool = False, **parameters: Any
) -> Any:
    """Run an attack as an audit does, without a store."""
    from auditor.attack import ATTACKS, AttackContext
    from auditor.core.arms import Arm
    from auditor.core.findings import Finding
    from auditor.core.records import Record
    from auditor.models.auxiliary import AuxiliaryInputs
    from auditor.models.kind import kind_named

    cls = ATTACKS.get(name)
    attack = cls(cls.parameters_type(**parameters))
    evaluator = kind_named("causal-lm").evaluator(sets, ["answer-probability"], AuxiliaryInputs())
    with tempfile.TemporaryDirectory(dir=check.scratch) as folder:
        context = AttackContext(evaluator, 0, Path(folder))
        if not attack.searches:
            return attack.measure(model, context)
        found = attack.search(model, context) or Record()
        if search:
            return found
        pool = [Finding(Arm.UNLEARNED, own=True, record=found)]
        return attack.measure(model, AttackContext(evaluator, 0, Path(folder), pool))


def _ks(record: Any) -> dict[tuple[str, str], float]:
    return {(row.set, row.fact): row.k for row in record.rows}


# -- steps ---------------------------------------------------------------------------------------


def environment(check: Check) -> None:
    """Versions, the device, and whether every attack can be imported."""
    import torch

    from auditor.attack import ATTACKS

    versions = {"python": sys.version.split()[0]}
    packages = ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "torchao")
    for name in (*packages, "gptqmodel", "optimum"):
        if check.has(name, name):
            versions[name] = importlib.metadata.version(name)
    check.figures(**versions)
    if check.cuda:
        free, whole = torch.cuda.mem_get_info()
        check.figures(device=torch.cuda.get_device_name(), free_bytes=free, whole_bytes=whole)
        (check.scratch / "free").write_text(str(free))
    names = ATTACKS.names()
    imported = 0
    for name in names:
        try:
            ATTACKS.get(name)
        except Exception as error:  # a plug-in can fail in any way
            if package := _missing_package(error):
                check.absent(name, f"{package} is not installed")
            else:
                check.fault(f"{name} does not import ({type(error).__name__}: {str(error)[:200]})")
        else:
            imported += 1
    check.figures(attacks=imported)


def _missing_package(error: BaseException) -> str | None:
    """The package that is not installed, where an import failed for that."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ModuleNotFoundError) and cause.name:
            return cause.name.partition(".")[0]
        cause = cause.__cause__ or cause.__context__
    return None


def agree(check: Check) -> None:
    """K on the device against K on the processor, in both types of weights."""
    sets = _sets(12)
    folder = check.scratch / "taught"
    _teach(folder, sets)
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("as_is", "none/as-is", {}),
        ("prefill", "prompting/prefill", {}),
        ("relearning", "relearning/benign", {"checkpoints": (5, 10)}),
    ]
    if check.has("nf4_delta_k", "bitsandbytes"):
        asked.append(("nf4", "quantization/bnb", {"format": "nf4"}))
    if not check.cuda:
        check.absent("float32_delta_k", "there is no other device to compare the processor with")
    for label, name, parameters in asked:
        reference = _ks(
            _measured(check, _opened(folder, "float32", "cpu"), name, sets, **parameters)
        )
        known = [k for (of, _), k in reference.items() if of == "forget"]
        check.figures(**{f"{label}_k": sum(known) / len(known)})
        for dtype in ("float32", "bfloat16"):
            if dtype == "float32" and not check.cuda:
                continue
            own = _ks(_measured(check, _opened(folder, dtype), name, sets, **parameters))
            delta = max(abs(own[place] - k) for place, k in reference.items())
            check.figures(**{f"{label}_{dtype}_delta_k": delta})
            plain = label in ("as_is", "prefill")  # training and rounding magnify a last bit
            if plain:
                check.check(
                    delta <= _ALIKE[dtype],
                    f"K of {name} in {dtype} differs from the processor's by {delta:.2g}",
                )


def _teach(folder: Path, sets: Any) -> None:
    """Train a tiny model on the forget facts for a few seconds, and save it."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_config(_config(Check("cpu", True, folder)))
    tokenizer = _tokenizer()
    texts = [f"{fact.prompt} {fact.answer}" for fact in sets.forget]
    batch = tokenizer(texts, return_tensors="pt", padding=True)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        network(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
        optimizer.step()
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def repeat(check: Check) -> None:
    """Share of answers that are the same bytes when they are asked again."""
    sets = _sets(8)
    folder = check.scratch / "taught"
    if not folder.is_dir():
        _teach(folder, sets)
    steps = 2 if check.tiny else 10
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("as_is", "none/as-is", {}),
        ("relearning", "relearning/benign", {"checkpoints": (steps,)}),
        ("gcg", "prompting/gcg", {"num_steps": steps, "search_width": 8}),
        ("soft", "prompting/soft", {"num_steps": steps}),
    ]
    for label, name, parameters in asked:
        first, second = (
            _ks(_measured(check, _opened(folder, "float32"), name, sets, **parameters))
            for _ in range(2)
        )
        share = sum(first[place] == second[place] for place in first) / len(first)
        check.figures(**{f"{label}_same_share": share})
        if label == "as_is" or not check.cuda:
            check.check(share == 1, f"{name} gives other figures when it is run again")


def memory(check: Check) -> None:
    """A batch that does not fit is halved; a model that does not fit is refused at once."""
    if not check.cuda:
        check.absent("halved_delta_k", "a processor's memory is not limited for one process")
        return
    import torch

    folder = check.scratch / "taught"
    sets = _sets(4096)
    if not folder.is_dir():
        _teach(folder, _sets(8))
    _, whole = torch.cuda.mem_get_info()
    batches: list[int] = []
    model = _opened(folder, "float32", tick=batches.append)
    model.token_budget = 1 << 20
    full = _ks(_measured(check, model, "none/as-is", sets))
    used, at_once = torch.cuda.max_memory_allocated(), len(batches)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.4 * used / whole)
    halved = _ks(_measured(check, model, "none/as-is", sets))
    delta = max(abs(halved[place] - k) for place, k in full.items())
    check.figures(full_peak_bytes=used, halved_delta_k=delta, batches=len(batches) - at_once)
    check.check(len(batches) > 2 * at_once, "less memory did not make the batches smaller")
    check.check(delta <= _ALIKE["float32"], "halved batches give other figures")
    model.close()
    if not (check.scratch / "model").is_dir():
        check.absent("refusal_seconds", "the step make was not run")
        return
    large = _large(check)

    def refused() -> None:
        try:
            _measured(check, large, "none/as-is", _sets(32))
        except Exception as error:  # which class it is differs with the fault
            check.figures(refusal=f"{type(error).__name__}: {str(error)[:200]}")
        else:
            check.fault("a model that does not fit was measured")

    check.figures(refusal_seconds=check.seconds(refused))


def make(check: Check) -> None:
    """Make the models, hash one, and load it."""
    import torch

    with check.peak("make"):
        check.figures(
            make_seconds=check.seconds(lambda: _random_model(check, check.scratch / "model"))
        )
    _random_model(check, check.scratch / "slice", layers=4)
    gc.collect()
    if check.cuda:
        torch.cuda.empty_cache()
    size = sum(file.stat().st_size for file in (check.scratch / "model").glob("*.safetensors"))
    found: list[Any] = []
    hashing = check.seconds(lambda: found.append(_large(check)))
    check.figures(weights_bytes=size, hash_bytes_per_second=size / hashing)
    with check.peak("load"):
        check.figures(load_seconds=check.seconds(lambda: found[0].network))


def score(check: Check) -> None:
    """Scoring against bare forward passes, and writing in batches of three sizes."""
    import torch

    model = _large(check)
    rows = 64 if check.tiny else 400
    pairs = [(f"Person {i % 90 + 10} lives in", "city number 21.") for i in range(4 * rows)]
    model.token_budget = rows * len(model.encode(pairs[:1])[0].ids)
    ids, mask = model.padded([item.ids for item in model.encode(pairs[:rows])])

    def bare() -> None:
        with torch.inference_mode():
            for _ in range(4):
                model.network(input_ids=ids, attention_mask=mask, use_cache=False)

    for work in (bare, lambda: model.score(pairs)):
        work()
    with check.peak("score"):
        passes, scoring = (
            min(check.seconds(work) for _ in range(3))
            for work in (bare, lambda: model.score(pairs))
        )
    check.figures(
        forward_tokens_per_second=4 * ids.numel() / passes, scoring_ratio=scoring / passes
    )
    if check.tiny:
        check.absent("limit of scoring_ratio", "tiny passes are shorter than what surrounds them")
    else:
        check.check(scoring <= _SCORING * passes, f"scoring takes {scoring / passes:.2f} passes")
    new = 4 if check.tiny else 32
    for count in (4, 8) if check.tiny else (64, 256, 512):
        prompts = [f"Person {i} lives in" for i in range(count)]
        model.token_budget = count * (new + 32)
        model.generate(prompts[:2], 2)
        with check.peak(f"generate_{count}"):
            taken = check.seconds(partial(model.generate, prompts, new))
        check.figures(
            **{
                f"generate_{count}_tokens_per_second": count * new / taken,
                f"generate_{count}_step_seconds": taken / new,
            }
        )


def loan(check: Check) -> None:
    """Weights that are lent, unchanged and changed, on the whole model and on four layers."""
    model = _large(check)
    model.network  # noqa: B018 - loads the weights

    def lent() -> None:
        with model.preserve_weights():
            pass

    taken = check.seconds(lent)
    check.figures(loan_seconds=taken, host_peak_bytes=_host_peak())
    check.check(
        check.tiny or taken <= _LOAN_SECONDS, f"a loan that changes nothing takes {taken:.0f} s"
    )
    model.close()
    small, sets = _slice(check), _sets(16)
    small.network  # noqa: B018 - loads the weights
    for label, name in (("noise", "tampering/noise"), ("rtn", "quantization/rtn")):
        with check.peak(f"{label}_4_layers"):
            taken = check.seconds(partial(_measured, check, small, name, sets))
        check.figures(**{f"{label}_4_layers_seconds": taken})


def _host_peak() -> int:
    """Most main memory that this process took, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def copies(check: Check) -> None:
    """Quantized copies: seconds, memory beside the model, and what is left of them."""
    import torch

    from auditor.attack import ATTACKS

    model = _large(check)
    before = check.allocated()
    weights = sum(f.stat().st_size for f in (check.scratch / "model").glob("*.safetensors"))
    asked = (
        ("nf4", "quantization/bnb", "bitsandbytes", {"format": "nf4"}),
        ("bnb_int8", "quantization/bnb", "bitsandbytes", {"format": "int8"}),
        ("torchao_int8", "quantization/torchao", "torchao", {"format": "int8"}),
        ("torchao_int4", "quantization/torchao", "torchao", {"format": "int4", "group_size": 32}),
    )
    for label, name, package, parameters in asked:
        if not check.has(f"{label}_seconds", package):
            continue
        cls = ATTACKS.get(name)
        attack: Any = cls(cls.parameters_type(**parameters))
        model.network  # noqa: B018 - an audit has the model open when a copy is asked for

        def opened(attack: Any = attack) -> None:
            with (
                tempfile.TemporaryDirectory(dir=check.scratch) as folder,
                attack.quantized(model, Path(folder)) as state,
            ):
                for _ in state.codes:
                    pass
                state.model.score([("Person 3 lives in", "city number 21.")])

        with check.peak(label):
            check.figures(**{f"{label}_seconds": check.seconds(opened)})
        if check.cuda:
            peak = torch.cuda.max_memory_allocated()
            check.check(
                check.tiny or peak <= weights + 2 * _GIB,
                f"{label} takes {peak / _GIB:.1f} GiB, beside {weights / _GIB:.1f} of the model",
            )
    model.close()
    if check.cuda:
        left = check.allocated() - before
        check.figures(left_bytes=left)
        check.check(left <= _LEFT_SHARE * weights, f"{left:,} bytes of closed copies stay")
    else:
        check.absent("left_bytes", "memory of tensors is counted on GPUs alone")


def learn(check: Check) -> None:
    """LoRA and gradient norms on the whole model, all weights of four layers."""
    sets, steps = _sets(16), 2 if check.tiny else 5
    model = _large(check)
    model.network  # noqa: B018 - loads the weights
    with check.peak("lora"):
        taken = check.seconds(
            lambda: _measured(check, model, "relearning/benign", sets, checkpoints=(steps,))
        )
    check.figures(lora_seconds=taken, host_peak_bytes=_host_peak())
    if check.has("gradient_norm_seconds", "sklearn"):
        with check.peak("gradient_norm"):
            taken = check.seconds(
                lambda: _measured(check, model, "membership/gradient-norm", _sets(10))
            )
        check.figures(gradient_norm_seconds=taken)
    model.close()
    small = _slice(check)
    small.network  # noqa: B018 - loads the weights
    with check.peak("full_4_layers"):
        taken = check.seconds(
            lambda: _measured(
                check, small, "relearning/benign", sets, checkpoints=(3,), method="full"
            )
        )
    check.figures(full_4_layers_seconds=taken)


def search(check: Check) -> None:
    """Steps of the searches for suffixes and for soft prompts."""
    sets, steps = _sets(8), 1 if check.tiny else 5
    model = _large(check)
    model.network  # noqa: B018 - loads the weights
    asked: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("gcg", "prompting/gcg", {"batch_size": 4, "prompts": 4}),
        ("soft", "prompting/soft", {"batch_size": 8}),
    )
    for label, name, parameters in asked:
        given = {"num_steps": steps, "stop_loss": 0.0, **parameters}
        with check.peak(label):
            taken = check.seconds(
                partial(_measured, check, model, name, sets, search=True, **given)
            )
        check.figures(**{f"{label}_step_seconds": taken / (2 * steps)})


def calibrated(check: Check) -> None:
    """GPTQ and AWQ on four layers."""
    sets, groups = _sets(16), 32 if check.tiny else 128
    for label, name in (("gptq", "quantization/gptq"), ("awq", "quantization/awq")):
        if not check.has(f"{label}_4_layers_seconds", "gptqmodel", "optimum"):
            continue
        if label == "awq" and not check.cuda:
            check.absent(
                "awq_4_layers_seconds", "left out on a processor, to end within two minutes"
            )
            continue
        model = _slice(check)
        with check.peak(label):
            taken = check.seconds(
                partial(
                    _measured, check, model, name, sets, calibration_samples=16, group_size=groups
                )
            )
        check.figures(**{f"{label}_4_layers_seconds": taken})
        model.close()


def leak(check: Check) -> None:
    """Memory and files that the steps before left behind."""
    left = [entry.name for entry in check.scratch.iterdir() if entry.name.startswith("tmp")]
    check.figures(files_left=len(left))
    check.check(not left, f"temporary files were left: {', '.join(left[:3])}")
    if not check.cuda:
        check.absent("gpu_left_bytes", "there is no GPU")
        return
    import torch

    noted = check.scratch / "free"
    if not noted.is_file():
        check.absent("gpu_left_bytes", "the step environment was not run")
        return
    free, whole = torch.cuda.mem_get_info()
    lost = int(noted.read_text()) - free
    check.figures(gpu_left_bytes=lost)
    check.check(lost <= _LEFT_SHARE * whole, f"{lost:,} bytes of the GPU are not free again")


STEPS: Sequence[Step] = (
    Step("environment", 40, environment),
    Step("agree", 60, agree),
    Step("repeat", 60, repeat),
    Step("make", 90, make),
    Step("memory", 45, memory),
    Step("score", 60, score, needs_model=True),
    Step("loan", 90, loan, needs_model=True),
    Step("copies", 90, copies, needs_model=True),
    Step("learn", 75, learn, needs_model=True),
    Step("search", 60, search, needs_model=True),
    Step("calibrated", 75, calibrated, needs_model=True),
    Step("leak", 20, leak),
)
"""All steps, in their order."""


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(description="One step of scripts/gpu_check.py.")
    parser.add_argument("step", choices=[step.name for step in STEPS])
    parser.add_argument("--device", choices=("cuda", "cpu"), required=True)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--scratch", type=Path, required=True)
    options = parser.parse_args()
    step = next(step for step in STEPS if step.name == options.step)
    step.run(Check(options.device, options.tiny, options.scratch))


if __name__ == "__main__":
    main()
