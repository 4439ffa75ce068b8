"""Rounding the weights of an erased UNet or diffusion transformer."""

from typing import TYPE_CHECKING

from pydantic import Field

from attacks.quantization.code_flips import code_flip_share, sampled_codes
from attacks.quantization.family import QuantizationParameters
from attacks.quantization.rounded_unet import Format, Layers, rounded
from attacks.success_rate import ReportsSuccessRate
from auditor.attack import Attack, AttackContext, Preset, Requirements, attack
from auditor.core.findings import Explanation
from auditor.core.records import Record

if TYPE_CHECKING:
    from auditor.models.text_to_image.evaluator import ImageEvaluator
    from auditor.models.text_to_image.model import TextToImage


class UNetQuantizationParameters(QuantizationParameters):
    """Settings of quantizing a denoiser."""

    format: Format = "int8"
    """bitsandbytes' LLM.int8() (arXiv 2208.07339), or NF4 or FP4 in blocks of 64 (arXiv
    2305.14314); torchao's integers for weights alone; or rounding to the nearest of 2^bits even
    steps for each output channel."""
    layers: Layers = "all"
    """All layers that the format takes, linear ones only, or the keys and values of
    cross-attention, which is where closed-form erasures write; in a transformer those of the text
    in joint attention."""
    group_size: int = Field(default=64, ge=8)
    """Inputs that share a scale in torchao-int4. Must divide every layer's inputs."""
    code_sample: int = Field(default=1 << 14, ge=1)
    """Weights per layer whose codes are kept for the code-flip share."""


@attack("quantization/unet")
class UNetQuantization(
    ReportsSuccessRate, Attack[UNetQuantizationParameters, "TextToImage", "ImageEvaluator"]
):
    """Quantization of a text-to-image model's UNet or transformer."""

    summary = "Round the UNet's or transformer's weights, as anyone can, and ask again."
    details = """
    Where an erasure moved weights by less than a step, rounding puts them back. bitsandbytes
    and torchao round linear layers, as diffusers' `BitsAndBytesConfig` and `TorchAoConfig` have
    them do; rounding to nearest takes convolutions too. Which share of the weights was rounded
    is noted. Text encoders and autoencoder stay as they are, so an erasure in the text encoder
    is not touched. Few bits break the original as well, which the gap of the attack then shows;
    they can break an erased model first, and what it then draws for every prompt, K of the
    retain set tells.
    """
    threat_model = "A deployer or downloader with the weights; no pictures and no training."
    access = "Weights."
    cost = "Seconds, and one evaluation."
    leak = (
        "The concept is drawn by the rounded model and not at full precision. The code-flip "
        "share says how many weights of the unlearned model still round to another code than the "
        "original's."
    )
    source = (
        "Quantization after unlearning, on language models, arXiv 2410.16454; LLM.int8(), arXiv "
        "2208.07339; NF4 and FP4, arXiv 2305.14314."
    )

    kinds = ("text-to-image",)
    parameters_type = UNetQuantizationParameters
    presets = (
        Preset("int8", {"format": "int8"}, "quick", mandatory=True),
        Preset("nf4", {"format": "nf4"}, "quick", mandatory=True),
        Preset("fp4", {"format": "fp4"}),
        Preset("torchao-int8", {"format": "torchao-int8"}),
        Preset("torchao-int4", {"format": "torchao-int4"}),
        Preset("rtn-8", {"format": "rtn-8"}),
        Preset("rtn-4", {"format": "rtn-4"}),
        Preset("rtn-3", {"format": "rtn-3"}),
        Preset("rtn-2 linear", {"format": "rtn-2", "layers": "linear"}),
        Preset("rtn-2 cross-attention", {"format": "rtn-2", "layers": "cross-attention"}),
        Preset("rtn-2", {"format": "rtn-2"}, "exhaustive"),
    )
    requires = Requirements(full_precision=True)

    @property
    def variant(self) -> str:
        """The format, and the layers where they are not all."""
        layers = self.parameters.layers
        return self.parameters.format + ("" if layers == "all" else f" {layers}")

    @property
    def packages(self) -> tuple[str, ...]:
        """Library that rounds to the format.

        Rounding to nearest needs none.
        """
        format_ = self.parameters.format
        if format_.startswith("rtn"):
            return ()
        return ("torchao",) if format_.startswith("torchao") else ("bitsandbytes",)

    def measure(self, model: "TextToImage", context: "AttackContext[ImageEvaluator]") -> Record:
        """Examine a rounded copy; keep a sample of its codes."""
        chosen = self.parameters
        state = rounded(model.denoiser, chosen.format, chosen.layers, chosen.group_size)
        with model.with_denoiser(state.denoiser) as copy:
            rows = context.evaluator.evaluate(copy)
        return self.record(
            rows,
            arrays=sampled_codes(state.codes.items(), chosen.code_sample),
            format=chosen.format,
            layers=chosen.layers,
            layers_quantized=len(state.codes),
            weights_quantized=state.weights,
            share_quantized=state.share,
        )

    def explain(self, unlearned: Record, original: Record) -> Explanation | None:
        """Code-flip share between U and O."""
        return code_flip_share(unlearned.arrays, original.arrays)
