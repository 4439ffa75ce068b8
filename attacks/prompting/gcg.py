"""Universal suffixes, searched token by token."""

from collections.abc import Callable, Sequence

import numpy as np

from attacks.prompting.coordinate_search import GCGParameters, search_suffix
from attacks.prompting.cross_fitted import Pairs, WrittenSearch, drawn_pairs
from attacks.prompting.suffix_text import allowed_tokens
from auditor.attack import AttackContext, Preset, attack
from auditor.core.facts import Fact
from auditor.core.records import Record
from auditor.models.causal_lm.model import CausalLM

_TAIL = 6
"""Tokens of separator and answer that the estimate of the cost takes a fact to have."""


@attack("prompting/gcg")
class GCG(WrittenSearch[GCGParameters]):
    """Greedy coordinate gradient search for a suffix."""

    summary = (
        "Search a suffix of ordinary tokens that makes the model answer (GCG), and try it on the "
        "rest."
    )
    details = """
    The forget set is cut in two. On each arm a suffix is searched that, put after the prompts
    of one half, makes their true answers likely; it is tried on the other half, and the other
    way round, so that every fact is measured with suffixes that were searched without it. The
    suffixes of all arms are pooled and every arm is measured with all of them and without; the
    strongest counts. The facts that were searched with are no evidence, because a suffix can
    hold their answers; side figures show how far it did, on U and on the retrained models.

    Only tokens count that survive as text. The prompt before the suffix is run once a search.
    """
    threat_model = "Someone with the weights and some of the removed facts, who wants the others."
    access = "Gradients for the search; prompts alone to use what was found."
    cost = (
        "In each fold and on each arm, num_steps times search_width times batch_size short "
        "passes; then the forget set once an arm."
    )
    leak = "One suffix undoes a guard that unlearning laid over all facts alike."
    source = "Greedy coordinate gradient is from Zou et al., arXiv 2307.15043."

    parameters_type = GCGParameters
    presets = (
        Preset("attribute 60 steps"),
        Preset("entity 60 steps", {"split": "entity"}),
        Preset(
            "attribute 200 steps",
            {"num_steps": 200, "search_width": 64, "batch_size": 16, "patience": 60},
            "exhaustive",
        ),
        Preset("attribute per-entity 60 steps", {"scope": "per-entity"}, "exhaustive"),
    )

    @property
    def variant(self) -> str:
        """Split, scope and number of steps."""
        p = self.parameters
        scope = "" if p.scope == "universal" else f" {p.scope}"
        return p.name or f"{p.split}{scope} {p.num_steps} steps"

    def search_tokens(self) -> int:
        """Tokens of all candidates on some prompts and the best on all."""
        p = self.parameters
        rows = p.batch_size * (p.search_width + 3) + p.finalists * p.prompts
        return p.num_steps * rows * (p.suffix_length + _TAIL)

    def searched_at_once(self) -> int:
        """Tokens of one batch of prompts with their suffix."""
        p = self.parameters
        return p.batch_size * (p.suffix_length + _TAIL)

    def search_part(
        self,
        model: CausalLM,
        pairs: Sequence[Pairs],
        context: AttackContext,
    ) -> Record:
        """Search a suffix for each part.

        Raises:
            UnavailableError: the tokenizer reads no suffix back, the prompts are too long for the
                model's context, or it has no attention cache.
            MeasurementError: a loss is not finite.
        """
        rows = model.network.get_input_embeddings().weight.shape[0]
        allowed = allowed_tokens(model.tokenizer, self.parameters.allow_non_ascii, rows)
        found = []
        for index, part in enumerate(pairs):

            def report(step: str, number: int = index + 1) -> None:
                context.progress(f"suffix {number} of {len(pairs)}, {step}")

            drawn = drawn_pairs(part, self.parameters.prompts, context.seed)
            seed = context.seed * len(pairs) + index
            found.append(search_suffix(model, drawn, allowed, self.parameters, seed, report))
        notes = {
            "suffixes": [each.text for each in found],
            "evaluated": [each.evaluated for each in found],
            "loss_before": [each.losses[0] for each in found],
            "loss_after": [each.losses[-1] for each in found],
        }
        curves = {f"losses_{i}": np.array(each.losses) for i, each in enumerate(found)}
        return Record(notes=notes, arrays=curves)

    def written(self, found: Record, part: int) -> Callable[[Fact], Fact]:
        """Return a wording with the suffix after the prompt."""
        suffix = found.notes["suffixes"][part]
        return lambda fact: fact.model_copy(update={"prompt": fact.prompt + suffix})
