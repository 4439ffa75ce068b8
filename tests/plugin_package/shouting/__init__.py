"""A third-party attack in one file: does a model that forgot still answer when shouted at?"""

from typing import ClassVar

from auditor.attack import Attack, Level, Parameters, attack
from auditor.core.records import Record


class ShoutingParameters(Parameters):
    """Settings of shouting."""

    ending: str = "!"
    """What is put after the prompt."""


@attack("prompting/shouting")
class Shouting(Attack[ShoutingParameters]):
    """Ask every question in capitals.

    Threat model: any user. Unlearning that was trained on one spelling of a question may not
    reach another.
    """

    parameters_type = ShoutingParameters
    levels: ClassVar = (Level({"ending": "!"}, "standard"), Level({"ending": "?!"}, "exhaustive"))

    @property
    def variant(self):
        """The ending."""
        return f"capitals {self.parameters.ending}"

    def measure(self, subject, evaluator, pool, seed, scratch):
        """Rewrite each prompt, ask, and return the rows."""

        def shout(fact):
            prompt = fact.prompt.upper() + self.parameters.ending
            return fact.model_copy(update={"prompt": prompt})

        return Record(rows=evaluator.evaluate(subject, rewrite=shout))
