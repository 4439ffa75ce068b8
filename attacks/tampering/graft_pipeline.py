"""Interface tensors of the original put into a text-to-image model."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from attacks.tampering.exchange import ExchangeAttack, Values
from auditor.attack import AttackContext, Preset, Requirements, attack
from auditor.models.preserve import unchanged_weights
from auditor.models.weight_change import weight_change

if TYPE_CHECKING:
    from auditor.models.text_to_image.evaluator import ImageEvaluator
    from auditor.models.text_to_image.model import TextToImage

BODY = ("unet", "transformer", "text_encoder")
"""Groups that hold concepts: the weight matrices within the networks."""

INTERFACES = ("embeddings", "convolutions", "outer_layers", "vae", "norms")
"""Groups that are exchanged; a UNet has outer convolutions, a transformer other outer layers."""

TEXT = "text"
"""Graft of whole text encoders."""

_OUTER = (
    "conv_in",
    "conv_out",
    "conv_norm_out",
    "pos_embed",
    "x_embedder",
    "context_embedder",
    "norm_out",
    "proj_out",
)
"""Layers at which a denoiser's input enters and its output leaves: convolutions of a UNet, linear
maps of a transformer, which has one for its text, too."""
_TOKENS = ("embedding", "shared")
"""What names of embeddings in text encoders hold; T5 calls its table `shared`."""


@attack("tampering/graft-pipeline")
class GraftPipeline(ExchangeAttack["TextToImage", "ImageEvaluator"]):
    """Interface tensors of the original put into every arm."""

    summary = (
        "Put the original's token embeddings, text encoders, outer layers, VAE and norms in, "
        "and draw."
    )
    details = """
    Each of these is put into every arm by itself, for one evaluation: the embeddings of the
    original's text encoders; the first and the last convolution of its UNet, or the first and the
    last linear maps of its transformer; its autoencoder; the norms and biases of both and of text
    encoders; all four; and its whole text encoders. Where the arm has them already, nothing is
    drawn again.

    These tensors say how prompts and latents are read and pictures written. How a concept looks is
    in the inner layers, which stay the arm's own, so a concept that shows was there. Whole
    text encoders are for concepts that are hidden throughout one, where its embeddings alone bring
    little.
    What the grafts do bring in, they bring into retrained models, too. An arm's K is that of
    the one graft (or of none) with the highest mean over the forget set.

    Weights are compared besides, as by `tampering/graft`: a denoiser and text encoder whose
    matrices are the original's block a PASS (gate `weights`).
    """
    threat_model = "Anyone with the weights who also has the original, or a relative of it."
    access = "Weights of both models."
    cost = "At most seven evaluations; no training. The original is opened beside the arm."
    leak = (
        "UNet, transformer or text encoder still knows the concept, and what reads or writes for "
        "it hides it."
    )
    source = "Stitching of networks (arXiv 2106.07682), without a fitted map."

    kinds = ("text-to-image",)
    presets = (Preset("interfaces", {}, "quick", mandatory=True),)
    requires = Requirements(full_precision=True, donor=True)

    def forward_tokens(self, evaluation: int) -> int:
        """One evaluation a graft, and one without."""
        return (2 + len(INTERFACES)) * evaluation

    @contextmanager
    def lent(self, model: "TextToImage") -> Iterator[None]:
        """Lend denoiser, text encoders and autoencoder.

        Each graft puts back what it replaces.
        """
        model.text([""])  # an encoder's first pass may install the hooks that read its states
        with ExitStack() as stack:
            stack.enter_context(model.unchanged_weights())
            if model.parts.vae is not None:
                stack.enter_context(unchanged_weights(model.parts.vae))
            yield

    def grafts(
        self,
        model: "TextToImage",
        donor: "TextToImage",
        context: "AttackContext[ImageEvaluator]",
    ) -> Iterator[tuple[str, Values | None]]:
        """Yield each group, all of them, and the text encoders."""
        groups, theirs = grouped(model), _named(donor)
        every: Values = {}
        for name in INTERFACES:
            if name not in groups:
                continue
            values = _fitting(groups[name], theirs)
            every |= values
            yield name, values or None
        yield "interface", every or None
        text = {n: p for n, p in _named(model).items() if n.startswith("text_encoder")}
        yield TEXT, _fitting(text, theirs) or None

    def weights(self, model: "TextToImage", donor: "TextToImage") -> dict[str, dict[str, Any]]:
        """Compare denoiser, text encoders and the groups that are exchanged."""
        return weight_change(grouped(model), _named(donor), body=BODY)


def grouped(model: "TextToImage") -> Mapping[str, Mapping[str, nn.Parameter]]:
    """Return the parameters of a pipeline, by group and name."""
    groups: dict[str, dict[str, nn.Parameter]] = {}
    for name, parameter in _named(model).items():
        groups.setdefault(_group(name, parameter), {})[name] = parameter
    return groups


def _fitting(members: Mapping[str, nn.Parameter], theirs: Mapping[str, nn.Parameter]) -> Values:
    """Return the original's values of some parameters.

    There are none unless all fit.
    """
    fits = all(n in theirs and theirs[n].shape == p.shape for n, p in members.items())
    return {n: (p, theirs[n]) for n, p in members.items()} if fits else {}


def _group(name: str, parameter: Tensor) -> str:
    part, layer, *_ = name.split(".")
    if part == "vae":
        return "vae"
    encoder = part.startswith("text_encoder")
    if not encoder and layer in _OUTER:
        return "convolutions" if part == "unet" else "outer_layers"
    if encoder and any(known in name for known in _TOKENS):
        return "embeddings"
    if parameter.ndim < 2:
        return "norms"
    return "text_encoder" if encoder else part


def _named(model: "TextToImage") -> dict[str, nn.Parameter]:
    """Return all parameters of the networks by name.

    The networks are denoiser, text encoders and autoencoder.
    """
    networks: dict[str, nn.Module] = dict(model.parts.networks)
    if model.parts.vae is not None:
        networks["vae"] = model.parts.vae
    return {
        f"{part}.{name}": parameter
        for part, network in networks.items()
        for name, parameter in network.named_parameters()
    }
