"""How often an audit in the profile `standard` does what is dear on a large model.

    python -m benchmarks.audit_operations

Three arms of four layers and random weights, 16 facts to forget, 24 to retain and 16 that no model
saw, three seeds. The audit runs in this process, and what it does is counted where it happens.
Prints a table as Markdown.

Prediction, before the first run: at most 44 loans (116 were counted at release 0.1 without GPTQ and
AWQ, and 232 digests of all weights), one load an arm and phase, and each calibrated copy made once.
"""

import argparse
import collections
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import auditor
from auditor.attack import AttackContext
from auditor.core.quiet import quiet_libraries
from auditor.engine.executors import base
from auditor.models import preserve
from auditor.models.causal_lm.model import CausalLM
from auditor.models.language import model as language
from benchmarks.attack_memory import facts
from benchmarks.random_llama import write_random_llama

WIDTH, LAYERS, VOCABULARY = 128, 4, 512
SHAPE = {"intermediate_size": 2 * WIDTH, "tie_word_embeddings": False}
COUNTED = {
    "jobs": (base, "execute"),
    "models opened from their files": (language.LanguageModel, "_from_files"),
    "copies opened in a model's place": (language.LanguageModel, "reloaded"),
    "weights lent to an attack": (language, "preserve_weights"),
    "proofs that no weight changed": (language, "unchanged_weights"),
    "digests of all weights": (preserve, "_digests"),
}
"""What is counted, by the function that does it."""


@contextmanager
def counting() -> Iterator[collections.Counter[str]]:
    """Count what is done meanwhile."""
    counts: collections.Counter[str] = collections.Counter()
    keep, generate = AttackContext.keep, CausalLM.generate

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **options: Any) -> Any:
            counts[name] += 1
            return function(*given, **options)

        return run

    def kept(context: AttackContext, recipe: Any, make: Callable[[Path], None]) -> Path:
        counts["copies asked of calibrating quantizers"] += 1
        return keep(context, recipe, counted("copies made by them", make))

    def generated(model: CausalLM, prompts: Any, *given: Any, **options: Any) -> list[str]:
        counts["answers generated"] += len(prompts)
        return generate(model, prompts, *given, **options)

    with ExitStack() as stack:
        for name, (owner, attribute) in COUNTED.items():
            function = counted(name, getattr(owner, attribute))
            stack.enter_context(patch.object(owner, attribute, function))
        stack.enter_context(patch.object(AttackContext, "keep", kept))
        stack.enter_context(patch.object(CausalLM, "generate", generated))
        yield counts


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description="Operations of a `standard` audit.").parse_args()
    quiet_libraries()
    with tempfile.TemporaryDirectory() as folder:
        arms = [str(Path(folder) / name) for name in "UOR"]
        for seed, arm in enumerate(arms):
            write_random_llama(Path(arm), VOCABULARY, WIDTH, LAYERS, 4, seed, **SHAPE)
        with counting() as counts:
            result = auditor.audit(
                unlearned=arms[0],
                original=arms[1],
                retrained=[arms[2]],
                forget=facts(0),
                retain=facts(10, entities=6),
                holdout=facts(20),
                profile="standard",
                out=Path(folder) / "result",
                reports=(),
            )
        rows = result.certificate.matrix
    measured = sum(row.status == "measured" for row in rows)
    print(f"{measured} of {len(rows)} levels were measured.\n")
    print("| | times |\n| --- | --: |")
    for name, count in counts.items():
        print(f"| {name} | {count:,} |")


if __name__ == "__main__":
    main()
