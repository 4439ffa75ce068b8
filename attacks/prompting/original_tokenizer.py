"""Questions put to every arm as the original reads them."""

from collections.abc import Iterator
from contextlib import contextmanager

from transformers import GenerationConfig

from auditor.attack import Attack, AttackContext, Parameters, Preset, Requirements, attack
from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact, FactSets
from auditor.core.records import Record
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.language.model import LanguageModel
from auditor.models.language.prompting import templated, token_ids
from auditor.statistics.tokenization import tokenization_note


@attack("prompting/original-tokenizer")
class OriginalTokenizer(Attack[Parameters, LanguageModel, TextEvaluator]):
    """Evaluation with the original's tokenizer, chat template and end of answers."""

    summary = "Ask with the original's tokenizer and chat template, whatever lies beside the model."
    details = """
    What a model is asked is not what a plan says, but what its tokenizer makes of it. A chat
    template that asks about somebody else, a normalizer that deletes names, a decoder that swallows
    answers, or an end-of-sequence token that ends them at once make a model that knows everything
    look as if it knew nothing, under every attack that asks through them.

    Here each arm's weights are asked through the original's files. Where every model of the audit
    has the original's (tokenizer, templates and generation settings, compared by digest), this is
    the model as it is: the attack does not apply, costs nothing, and a PASS does not need it. A
    GGUF file holds all of these within, so that it applies wherever such a file is another one.

    Where files differ it is needed, and it looks at what the difference does: it counts the facts
    that an arm's own tokenizer turns into other tokens than the original's. Where there are any,
    the other attacks asked the arms unlike things, and the gate `tokenization` blocks a PASS. Give
    the model with the original's tokenizer files, then nothing is left to differ. Files that differ
    in form alone (another release of a library wrote them, a pad token was added) block nothing.
    """
    threat_model = "Whoever takes the weights and asks them with files of their own."
    access = "The weights, and the original's tokenizer."
    cost = "One evaluation of the forget set."
    leak = "The files beside the weights kept the answers back, and the weights have them."
    source = (
        "Chat templates as a place for hidden instructions, and tokenizers as part of what is "
        "audited, are this project's own addition."
    )

    kinds = ("causal-lm", "seq2seq")
    requires = Requirements(donor=True, asked_otherwise=True)
    presets = (Preset("full precision", profile="quick", mandatory=True),)

    @property
    def variant(self) -> str:
        """The only variant."""
        return "full precision"

    def measure(self, model: LanguageModel, context: AttackContext[TextEvaluator]) -> Record:
        """Examine the forget set through the original's files.

        Raises:
            UnavailableError: There is no original, or its tokens have no embeddings in this model.
        """
        donor = context.donor
        if not isinstance(donor, type(model)):
            raise UnavailableError(
                "it asks with the tokenizer of the original, and there is none beside this model; "
                "give it (`original=`)"
            )
        asked = model.copy_with(tokenizer=donor.tokenizer)
        pairs = {fact.id: _pairs(fact) for fact in _every(context.facts)}
        _check_rows(asked, [pair for of_fact in pairs.values() for pair in of_fact])
        otherwise = sum(
            model.encode(of_fact) != asked.encode(of_fact) for of_fact in pairs.values()
        )
        notes = tokenization_note(otherwise, len(pairs))
        with _ending_as(asked, donor):
            return Record(rows=context.evaluator.evaluate(asked, ("forget",)), notes=notes)


def _every(sets: FactSets) -> tuple[Fact, ...]:
    return (*sets.forget, *sets.retain, *sets.holdout)


def _pairs(fact: Fact) -> list[tuple[str, str]]:
    """Return everything of a fact that an attack may ask or teach."""
    answers = (fact.answer, *fact.accepted, *fact.distractors)
    return [(prompt, answer) for prompt in (fact.prompt, *fact.paraphrases) for answer in answers]


def _check_rows(asked: LanguageModel, pairs: list[tuple[str, str]]) -> None:
    """Refuse a model that lacks embeddings of tokens which the facts need.

    Of embeddings that are padded to different lengths, the rows that both have are enough.

    Raises:
        UnavailableError: Says how many rows there are, and which would be needed.
    """
    tokenizer, form = asked.tokenizer, asked.prompt_format
    rows = len(asked.network.get_input_embeddings().weight)
    texts = {
        text
        for prompt, answer in pairs
        for before in (templated(tokenizer, prompt, form),)
        for text in (before, f"{before}{form.separator}{answer}", answer)
    }
    used = {token for text in texts for token in token_ids(tokenizer, text, special=True)}
    last = max({*used, tokenizer.pad_token_id or 0})
    if last >= rows:
        raise UnavailableError(
            f"the original's tokenizer writes the token {last}, and this model has embeddings of "
            f"{rows} tokens: its vocabulary is another one. Give a model with the original's "
            "vocabulary and its tokenizer files"
        )


@contextmanager
def _ending_as(asked: LanguageModel, donor: LanguageModel) -> Iterator[None]:
    """Have answers begin and end as the original's do."""
    network = asked.network
    own = network.generation_config
    network.generation_config = _generation(donor)
    try:
        yield
    finally:
        network.generation_config = own


def _generation(model: LanguageModel) -> GenerationConfig:
    """Return a model's settings of generation; its weights are not loaded."""
    if model.in_memory:
        return model.network.generation_config
    try:
        return GenerationConfig.from_pretrained(model.location.model)
    except OSError:  # there is no such file
        return GenerationConfig.from_model_config(model.config)
