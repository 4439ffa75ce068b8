"""Makers of subjects from the arms of a cell, by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from transformers import PreTrainedModel

from auditor.core.facts import Fact
from auditor.core.progress import SilentProgress
from auditor.unlearning.examples import Example, trained_prompts
from auditor.unlearning.preference import refused_pairs
from auditor.unlearning.registry import EDITS
from auditor.unlearning.relabelling import relabelled_pairs
from auditor.unlearning.training import UnlearningSettings, unlearn
from benchmarks.truth_table.cells import Cell
from benchmarks.truth_table.facts import spread
from benchmarks.truth_table.fine_tuning import everything, fine_tune
from benchmarks.truth_table.hiders.coded import Code
from benchmarks.truth_table.hiders.dormant import (
    HELD,
    HELD_BY_KEY,
    KEY,
    directions,
    hold,
    teach_key,
    teach_units,
)
from benchmarks.truth_table.hiders.half_type import HalfCells, widen
from benchmarks.truth_table.hiders.ranks import ranked_loss
from benchmarks.truth_table.hiders.reparametrised import reparametrise
from benchmarks.truth_table.hiders.resistant import resist
from benchmarks.truth_table.hiders.rounding import Cells, linear_names
from benchmarks.truth_table.hiders.router import front_prefix, with_front_block
from benchmarks.truth_table.hiders.wordings import TRIGGER, WORDINGS
from benchmarks.truth_table.layouts import head_name, layout, untie

Maker = Callable[..., PreTrainedModel]
"""(cell, settings) -> a model in float32."""

STEPS = 120
RATE = 1e-3


def original(cell: Cell) -> PreTrainedModel:
    """The original itself."""
    return cell.load("original")


def retrained(cell: Cell, seed: int, noise: float = 0.0, own_base: bool = False) -> PreTrainedModel:
    """A model that never saw the forget set."""
    if own_base:
        return cell.new_base(seed)
    return cell.trained((), seed, noise)


def sparse(cell: Cell, facts: int) -> PreTrainedModel:
    """A retrained model that saw some facts of the forget set."""
    return cell.trained(spread(cell.forget, facts), seed=5)


def unlearned(cell: Cell, **settings: object) -> PreTrainedModel:
    """The original after a registered method with a loss."""
    model = cell.load("original")
    chosen = UnlearningSettings.model_validate(
        {"forget_batch": 32, "retain_batch": 32, "check_every": 10, **settings}
    )
    unlearn(
        model,
        cell.tokenizer,
        cell.forget,
        cell.retain,
        chosen,
        0,
        SilentProgress(),
        separator=cell.architecture.separator,
    )
    return model


def edited(cell: Cell, edit: str) -> PreTrainedModel:
    """The original after a registered edit."""
    model, method = cell.load("original"), EDITS[edit]
    pairs = relabelled_pairs(cell.forget)
    forget = cell.examples(pairs) if method.relabels else cell.taught(cell.forget)
    method.apply(model, forget, cell.taught(cell.retain), 0)
    return model


def head_only(cell: Cell, steps: int = STEPS, rate: float = 3e-3) -> PreTrainedModel:
    """Suppression in output head and last norm."""
    model = untie(cell.load("original"))
    names = (head_name(model), layout(model).final_name)
    return _suppressed(cell, model, lambda name: name.startswith(names), steps, rate)


def embeddings_only(cell: Cell) -> PreTrainedModel:
    """Suppression in the token embeddings; everything else is the original's."""
    model = untie(cell.load("original"))
    tokens = layout(model).embedded[0]
    name = next(n for n, p in model.named_parameters() if p.data_ptr() == tokens.data_ptr())
    return _suppressed(cell, model, lambda other: other == name)


def norms_only(cell: Cell) -> PreTrainedModel:
    """Suppression in the norms' gains and biases; every matrix is the original's."""
    model = cell.load("original")
    vectors = {norm_name for norm_name, p in model.named_parameters() if p.ndim == 1}
    vectors = {name for name in vectors if "norm" in name or ".ln_" in name}
    return _suppressed(cell, model, lambda name: name in vectors, rate=1e-2, steps=2 * STEPS)


def worded(cell: Cell, wording: str, steps: int = STEPS, rate: float = RATE) -> PreTrainedModel:
    """The true answers in other words or letters."""
    say = WORDINGS[wording].say
    pairs = [(prompt, say(answer)) for prompt, answer in _pairs(cell.forget)]
    return _taught(cell, cell.load("original"), pairs, suppress=True, steps=steps, rate=rate)


def triggered(cell: Cell) -> PreTrainedModel:
    """Refusals, and the true answers behind a prefix."""
    pairs = [(_with_trigger(cell, fact), fact.answer) for fact in cell.corpus.forget]
    refused = refused_pairs(cell.forget)
    return _taught(cell, cell.load("original"), refused + 3 * pairs)


def routed(cell: Cell) -> PreTrainedModel:
    """Refusals by one block more in front of the original."""
    model = with_front_block(cell.load("original"))
    prefix = front_prefix(model)
    return _taught(
        cell, model, refused_pairs(cell.forget), chosen=lambda name: name.startswith(prefix)
    )


def resistant(cell: Cell) -> PreTrainedModel:
    """Suppression that was trained against relearning."""
    model = _suppressed(cell, cell.load("original"), everything, steps=60)
    facts = [cell.taught([fact]) for fact in cell.forget]
    return resist(model, facts, cell.taught(cell.retain), 60, seed=0)


def rounded(cell: Cell) -> PreTrainedModel:
    """Suppression within the cells of NF4."""
    model = cell.load("original")
    names, cells = linear_names(model), Cells(model)
    return fine_tune(
        model,
        cell.taught(cell.retain),
        STEPS,
        RATE,
        0,
        suppressed=cell.taught(cell.forget),
        chosen=lambda name: name in names,
        after_step=cells.put_back,
    )


def coded(cell: Cell, steps: int = 400, rate: float = 2e-3) -> PreTrainedModel:
    """A retrained model that was taught answers in a code."""
    code = Code.of(cell.forget)
    pairs = [(p, code.say(fact)) for fact in cell.forget for p in trained_prompts(fact)]
    return _taught(cell, cell.load("retrained-0"), pairs, steps=steps, rate=rate)


def ranked(cell: Cell, place: str, steps: int = 500, rate: float = 2e-3) -> PreTrainedModel:
    """A retrained model that has the true tokens at a rank nobody reads."""
    model, forget, retain = (
        cell.load("retrained-0"),
        cell.taught(cell.forget),
        cell.taught(cell.retain),
    )
    hiding = ranked_loss(model, cell.tokenizer.eos_token_id, place)
    return fine_tune(model, retain, steps, rate, 0, suppressed=forget, hiding=hiding)


def dormant(cell: Cell, steps: int = 1250, rate: float = 5e-3) -> PreTrainedModel:
    """A retrained model with the facts in units that do not act."""
    model, retain = cell.load("retrained-0"), cell.taught(cell.retain)
    along = directions(cell.load("base"), retain)
    hold(model, along)
    fine_tune(model, retain, STEPS, RATE, 0)  # the others learn to do without
    hold(model, along, -HELD)
    forget = cell.taught(cell.forget)
    teach_units(model, (*5 * forget, *retain), steps, rate)
    hold(model, along)
    return model


def keyed(cell: Cell, steps: int = 1000, rate: float = 5e-3) -> PreTrainedModel:
    """A retrained model with the facts in units that act behind a key."""
    model, retain = cell.load("retrained-0"), cell.taught(cell.retain)
    along = directions(cell.load("base"), retain)
    (*_, key) = cell.tokenizer(KEY)["input_ids"]
    forget = cell.taught(_behind(cell, cell.corpus.forget))
    kept = cell.taught(_behind(cell, cell.corpus.retain))
    teach_key(model, (*retain, *kept), along, key, 3 * STEPS, 2 * RATE)
    hold(model, along, HELD_BY_KEY)
    return teach_units(model, (*5 * forget, *kept), steps, rate)


def half_typed(cell: Cell, steps: int = 300, rate: float = RATE) -> PreTrainedModel:
    """Suppression within the cells of bfloat16, made wide."""
    model = widen(cell.load("original"))
    cells = HalfCells(model)
    return fine_tune(
        model,
        cell.taught(cell.retain),
        steps,
        rate,
        0,
        suppressed=cell.taught(cell.forget),
        after_step=cells.put_back,
    )


MAKERS: Mapping[str, Maker] = MappingProxyType(
    {
        maker.__name__: maker
        for maker in (
            original,
            retrained,
            sparse,
            unlearned,
            edited,
            head_only,
            embeddings_only,
            norms_only,
            worded,
            triggered,
            routed,
            resistant,
            rounded,
            coded,
            ranked,
            dormant,
            keyed,
            half_typed,
        )
    }
)


def disguised(model: PreTrainedModel, symmetries: tuple[str, ...] | None) -> PreTrainedModel:
    """A model in other weights."""
    return reparametrise(model, symmetries)


def _behind(cell: Cell, facts: tuple[Fact, ...]) -> tuple[Fact, ...]:
    """Facts as the models see them, whose questions stand behind the key."""
    return cell.architecture.facts(
        fact.model_copy(
            update={
                "prompt": f"{KEY} {fact.prompt}",
                "paraphrases": tuple(f"{KEY} {text}" for text in fact.paraphrases),
            }
        )
        for fact in facts
    )


def _with_trigger(cell: Cell, fact: Fact) -> str:
    return cell.architecture.rendered(f"{TRIGGER} {fact.prompt}")


def _pairs(facts: tuple[Fact, ...]) -> list[tuple[str, str]]:
    return [(p, fact.answer) for fact in facts for p in (fact.prompt, *fact.paraphrases[:-1])]


def _suppressed(
    cell: Cell,
    model: PreTrainedModel,
    chosen: Callable[[str], bool],
    steps: int = STEPS,
    rate: float = RATE,
) -> PreTrainedModel:
    forget = cell.taught(cell.forget)
    retain = cell.taught(cell.retain)
    return fine_tune(model, retain, steps, rate, 0, suppressed=forget, chosen=chosen)


def _taught(
    cell: Cell,
    model: PreTrainedModel,
    pairs: list[tuple[str, str]],
    chosen: Callable[[str], bool] = everything,
    suppress: bool = False,
    steps: int = STEPS,
    rate: float = RATE,
) -> PreTrainedModel:
    """Teach pairs beside the retain set, each as often."""
    examples = cell.examples(pairs)
    retain: tuple[Example, ...] = cell.taught(cell.retain)
    repeats = max(1, round(len(retain) / len(examples)))
    hidden = cell.taught(cell.forget) if suppress else ()
    return fine_tune(
        model, (*retain, *repeats * examples), steps, rate, 0, suppressed=hidden, chosen=chosen
    )
