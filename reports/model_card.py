"""Certificate as metadata and text of a Hugging Face model card.

The metadata is a ``model-index`` with the residual knowledge under each attack. Hugging Face's
newer ``.eval_results`` files name a benchmark that is registered on the hub; a forget set is none,
so they are not written. The text stands between two markers, and :func:`insert` puts it into a card
that exists: what stood between the markers, and the results of an earlier audit, are replaced.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import yaml

from auditor.certificate.schema import Certificate
from auditor.core.errors import AuditorError
from auditor.core.text_safety import inline
from auditor.report import REPORTS, Report, Signatures
from reports.attack_results import attack_results, unlearned
from reports.markdown import RHO, VERDICT_MARKS
from reports.markdown_text import code, references, said
from reports.messages import UNSAID, headline_of, phrase
from reports.number_format import count, interval, number
from reports.signatures import signature_sentence
from reports.summary import summary

if TYPE_CHECKING:  # the other reports need nothing of the hub
    from huggingface_hub import EvalResult, ModelCardData

BEGIN = "<!-- unlearning-auditor:begin -->"
END = "<!-- unlearning-auditor:end -->"
DATASET_TYPE = "unlearning-audit"
"""Type of data set by which the results of an earlier audit are recognised."""
METRIC = "residual-knowledge"
TAG = "unlearning-audit"


def render(certificate: Certificate, signatures: Signatures | None = None) -> str:
    """Returns a new card that holds the metadata and the block.

    Whoever publishes the model completes it.
    """
    return insert("", certificate, signatures)


def insert(card_text: str, certificate: Certificate, signatures: Signatures | None = None) -> str:
    """Returns a card with the certificate's results and block in it.

    Args:
        card_text: the card as it is (a README.md), or an empty text.
        certificate: the audit's result.
        signatures: what is known of its signatures.

    Raises:
        AuditorError: the card's metadata cannot be read, or a marker has lost its other half.
    """
    from huggingface_hub import ModelCard

    try:
        card = ModelCard(card_text or "---\n{}\n---\n")
    except (ValueError, yaml.YAMLError) as error:
        raise AuditorError(
            f"the model card's metadata cannot be read ({error}); mend its YAML block first."
        ) from error
    data = cast("ModelCardData", card.data)  # what ModelCard makes of a card's metadata
    kept = [r for r in data.eval_results or [] if r.dataset_type != DATASET_TYPE]
    results = [*kept, *_eval_results(certificate)]
    if results:
        data.eval_results = results
        data.model_name = data.model_name or _model_name(certificate)
    else:
        data.eval_results = None
    data.tags = list(dict.fromkeys([*(data.tags or []), TAG]))
    block = "\n".join((BEGIN, *_block(certificate, signatures), END))
    card.text = _with_block(card.text, block)
    return str(card)


def _with_block(text: str, block: str) -> str:
    if text.count(BEGIN) != text.count(END) or text.count(BEGIN) > 1:
        raise AuditorError(
            f"the model card does not hold the markers {BEGIN} and {END} once each, so the block "
            "between them cannot be replaced; remove them and run the command again."
        )
    before, begin, rest = text.partition(BEGIN)
    if not begin:
        return f"{text.rstrip()}\n\n{block}\n" if text.strip() else f"\n{block}\n"
    _, end, after = rest.partition(END)
    if not end:
        raise AuditorError(
            f"in the model card, {END} stands before {BEGIN}; remove both and run the command "
            "again."
        )
    return f"{before}{block}{after}"


def _model_name(certificate: Certificate) -> str:
    return inline(certificate.name or unlearned(certificate).name, 96)


def _eval_results(certificate: Certificate) -> Iterator["EvalResult"]:
    """Yields an entry for each figure that exists.

    A missing figure has no entry, since an entry cannot say that its value is missing.
    """
    from huggingface_hub import EvalResult

    facts = certificate.scope.sets.get("forget")
    for attack in attack_results(certificate):
        reading = attack.row.strongest
        figures = reading.figures
        if figures is None or figures.rho is None or not math.isfinite(figures.rho):
            continue
        yield EvalResult(
            task_type="text-generation",
            task_name="Knowledge left after unlearning",
            dataset_type=DATASET_TYPE,
            dataset_name=f"forget set of {count(facts.facts) if facts else 'unknown'} facts",
            dataset_revision=inline(certificate.identity.facts_digest, 64),
            metric_type=METRIC,
            metric_name=f"residual knowledge under {inline(attack.row.label, 120)}",
            metric_value=figures.rho,
            metric_args={
                "knowledge": inline(reading.metric, 60),
                "lower": figures.rho_lower,
                "upper": figures.rho_upper,
                "result": attack.result.words,
                "verdict": certificate.verdict.title,
                "certificate": inline(certificate.certificate_id, 64),
            },
        )


def _block(certificate: Certificate, signatures: Signatures | None) -> Iterator[str]:
    verdict = certificate.verdict
    yield "## Unlearning audit"
    yield ""
    yield (
        f"**{VERDICT_MARKS[verdict.verdict]} {verdict.title}**"
        f"{''.join(f', {flag}' for flag in verdict.flags)}. {headline_of(verdict)} "
        f"{UNSAID[verdict.verdict]}"
    )
    yield ""
    for sentence in summary(certificate, signatures).in_short:
        yield f"- {said(sentence, 600)}"
    yield ""
    yield said(phrase(verdict.claim), 600)
    yield ""
    yield f"| Attack | Role | Result | Residual knowledge {RHO} |"
    yield "| --- | --- | --- | --- |"
    for attack in attack_results(certificate):
        figures = attack.row.strongest.figures
        rho = number(None)
        if figures:
            bounds = interval(figures.rho_lower, figures.rho_upper)
            rho = references(f"{number(figures.rho)} {bounds}")
        cells = (code(attack.row.label, 80), attack.row.role, attack.result.words, rho)
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield f"{RHO} is 0 for a model that never saw the facts and 1 for the original."
    yield ""
    signed = said(signature_sentence(signatures), 1000)
    yield f"{signed} Certificate {code(certificate.certificate_id, 64)}."


REPORTS.register("model-card")(
    Report(render, ".model-card.md", "Hugging Face model card: metadata and a block of text.")
)
