"""A third-party attack in one file: does a model that forgot still answer when shouted at?"""

from auditor.attack import Attack, Parameters, Preset, attack
from auditor.core.records import Record


class ShoutingParameters(Parameters):
    """Settings of shouting."""

    ending: str = "!"
    """What is put after the prompt."""


@attack("prompting/shouting")
class Shouting(Attack[ShoutingParameters]):
    """Questions in capitals."""

    summary = "Ask every question in capitals."
    threat_model = "Any user. Unlearning may not reach a spelling that it was not trained on."
    parameters_type = ShoutingParameters
    presets = (Preset("!"), Preset("?!", {"ending": "?!"}, "exhaustive"))

    def measure(self, model, context):
        """Rewrite each prompt, ask, and return what every metric says of the answers."""

        def shout(fact):
            prompt = fact.prompt.upper() + self.parameters.ending
            return fact.model_copy(update={"prompt": prompt})

        return Record(rows=context.evaluator.evaluate(model, rewrite=shout))
