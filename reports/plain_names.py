"""Names of attacks for a reader who has never heard of any.

Each says what was done to the model, and stands before a comma: "Loaded in 4 bits (one setting),
it answers 96 of 96 facts." An attack without a name here, as of a third party, is called by its
label.
"""

from collections.abc import Mapping

from auditor.core.aliases import attack_label
from reports.phrases import Phrase, fill

AS_RELEASED = "As released"
AS_LOGGED = "As the logs have it"
"""What stands for the model as it was released where logs stand in for it."""

PLAIN_NAMES: Mapping[str, str] = {
    "none/as-is": AS_RELEASED,
    # quantization: what anybody does who wants to run a model on a smaller machine
    "quantization/bnb int8": "Loaded in 8 bits (one setting)",
    "quantization/bnb": "Loaded in 4 bits (one setting)",
    "quantization/torchao int8": "Loaded in 8 bits (one setting)",
    "quantization/torchao": "Loaded in 4 bits (one setting)",
    "quantization/gptq 4-bit g128": "Converted to a 4-bit checkpoint (GPTQ)",
    "quantization/gptq": "Converted to a smaller checkpoint (GPTQ, {variant})",
    "quantization/awq": "Converted to a 4-bit checkpoint (AWQ)",
    "quantization/gguf": "Converted to a file for desktops (GGUF, {variant})",
    "quantization/rtn": "With its weights rounded ({variant})",
    "quantization/unet": "With its weights rounded ({variant})",
    # prompting: what a user does who has nothing but a text field
    "prompting/prefill 1 token": "Given the first word or two of the answer",
    "prompting/prefill": "Given the beginning of the answer ({variant})",
    "prompting/original-tokenizer": "Asked with the original's tokenizer",
    "prompting/thinking trace": "Its written thoughts read",
    "prompting/thinking": "Made to think, or not to, before it answers ({variant})",
    "prompting/few-shot": "Shown a few answered questions first",
    "prompting/gcg": "Asked with a searched ending to the question",
    "prompting/soft": "Asked with trained vectors in the prompt",
    "prompting/paraphrase": "Asked in other words",
    "prompting/reframing": "Asked through a story or another task",
    "prompting/sampling": "Asked many times over",
    "prompting/surface": "Asked in another spelling",
    "prompting/checkpoint-pair": "Read together with the old checkpoint",
    "prompting/related-facts multi-hop": "Asked about through another fact",
    "prompting/related-facts": "Asked by another name, or after other facts",
    "prompting/cloze": "Asked to fill a gap in a sentence",
    "prompting/reminders": "Asked after passages that were kept",
    "prompting/best-of-n": "Asked many times over, in ever other words",
    "prompting/translated": "Asked in another language",
    "prompting/attacker-model": "Asked with prompts by another language model",
    "prompting/synonyms": "Asked in other words",
    "prompting/concept-inversion": "Taught a new word from a few pictures",
    "prompting/adversarial-prefix": "Asked with searched words in front",
    "prompting/ring-a-bell": "Asked with searched prompts",
    "prompting/mma-diffusion": "Asked with searched, unsuspicious prompts",
    "prompting/image-to-image": "Given pictures of it to draw again ({variant})",
    # relearning: what somebody does who can fine-tune the weights
    "relearning/held-out-facts": "Fine-tuned on half the facts, asked the others",
    "relearning/same-facts": "Fine-tuned briefly on the facts themselves",
    "relearning/benign": "Fine-tuned on other texts",
    "relearning/service": "Fine-tuned as a customer of a service would ({variant})",
    "relearning/unet": "Fine-tuned on a few pictures",
    # whoever holds the weights, or the original as well
    "tampering/graft": "With the original's outer layers put in",
    "tampering/graft-blocks": "With some of the original's layers put in",
    "tampering/graft-pipeline": "With parts of the original's pipeline put in",
    "tampering/without-eraser": "Drawn without its eraser",
    "tampering/interpolation": "With its weights moved towards another model",
    "tampering/noise": "With noise on its weights ({variant})",
    "tampering/pruning": "With its smallest weights removed ({variant})",
    "steering/refusal-direction": "With its refusals taken out",
    "steering/suppression": "With its inner states steered back",
    "tampering/routing": "With its tokens sent to other experts ({variant})",
    "tampering/revive": "With its silent units brought back",
    "quantization/half-types": "Loaded in a half-precision type",
    "probing/output-probe": "Read from its outputs by a trained classifier",
    "probing/linear-probe": "Read from its inner states",
    "probing/activation-patching": "With the original's inner states put in",
    "probing/mode-connectivity": "Moved half way to the original's weights",
    "probing/detectability": "Told from other models by unrelated texts",
    "membership/likelihood": "Judged by how sure it is of each text",
    "membership/gradient-norm": "Judged by how strongly each text moves it",
    "membership/neighbourhood": "Judged against texts changed a little",
    "membership/denoising-loss": "Judged by how well it cleans up each picture",
    "generation/compositions": "Asked for colours and pairs of other things",
    "generation/gibberish": "Judged by the form of its answers",
    "generation/knowledge-holes": "Asked what the original knows besides",
    "generation/null-inversion": "Drawn back from noise without a prompt",
}
"""What was done, by the attack's name, or by its label where a level has a name of its own."""


def has_plain_name(label: str) -> bool:
    """Return whether an attack has a name in plain words."""
    return _template(label) is not None


def plain_name(label: str) -> Phrase:
    """Return what an attack did to the model, in plain words.

    Args:
        label: ``family/name variant``, by names of today or former ones.
    """
    template = _template(label)
    if template is None:
        return fill("Under {label}", label=label)
    return fill(template, variant=attack_label(label).partition(" ")[2] or "default")


def _template(label: str) -> str | None:
    current = attack_label(label)
    return PLAIN_NAMES.get(current) or PLAIN_NAMES.get(current.partition(" ")[0])
