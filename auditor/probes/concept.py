"""The probes of text-to-image models: is the concept in the picture?"""

from auditor.probes.drawn import Drawn
from auditor.probes.probe import Probe, Reading
from auditor.registry import Registry

CONCEPT_PROBES: Registry[type[Probe[Drawn]]] = Registry("probe")


@CONCEPT_PROBES.register("concept")
class Concept(Probe[Drawn]):
    """K = the probability that a classifier gives the fact's concept in the picture drawn for it.

    MACE (arXiv 2403.06135) calls its mean accuracy, with CLIP's softmax over the class names. The
    classifier is the auditor's own instrument, the same for every arm; what it mistakes for the
    concept it mistakes on the retrained models, too.
    """

    def read(self, transcript: Drawn) -> list[Reading]:
        """One reading per picture, with the label that the classifier finds most probable."""
        known = transcript.own.tolist()
        return [Reading(k, seen) for k, seen in zip(known, transcript.seen, strict=True)]


@CONCEPT_PROBES.register("concept-top-1")
class ConceptTop1(Probe[Drawn]):
    """K = 1 where the fact's concept is the classifier's most probable label, else 0.

    UnlearnDiffAtk (arXiv 2310.11868) counts an attack on an object as successful by this measure.
    """

    def read(self, transcript: Drawn) -> list[Reading]:
        """One reading per picture."""
        return [
            Reading(float(seen == fact.answer))
            for seen, fact in zip(transcript.seen, transcript.facts, strict=True)
        ]
