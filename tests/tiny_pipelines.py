"""Text-to-image pipelines of six layouts, random and small enough to build in a blink."""

import json
import string
from pathlib import Path
from types import SimpleNamespace

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PNDMScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from auditor.models.opening import locate
from auditor.models.text_to_image.model import TextToImage
from auditor.models.text_to_image.pixel_pipeline import PixelPipeline
from auditor.models.text_to_image.spec import TextToImageSpec

UNETS = ("sd1", "sd2", "sdxl", "pixel")
FLOWS = ("sd3", "flux")
LAYOUTS = (*UNETS, *FLOWS)
PROMPTS = ["a red circle", "", "blue square", "a disc, and a much longer text than fits"]
T5_LENGTH = 14
SAMPLING = {"steps": 3, "guidance": 2.0, "text_length": T5_LENGTH}
_LENGTH = 12
_T5_WIDTH = 40


def make_tokenizer() -> CLIPTokenizer:
    """Letters and letters that end a word; no merges."""
    letters = string.ascii_lowercase + string.digits + ","
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    return CLIPTokenizer(
        vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=_LENGTH
    )


def make_t5_tokenizer() -> T5TokenizerFast:
    """Letters, and letters that begin a word."""
    letters = string.ascii_lowercase + string.digits + ","
    words = [*(f"▁{letter}" for letter in letters), *letters, "▁"]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), *((word, -2.0) for word in words)]
    return T5TokenizerFast(vocab=vocabulary, extra_ids=0, model_max_length=64)


def shake(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Every parameter random (biases and norms too), so that a forgotten one shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.08 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def make_text_encoder(width: int = 16, *, projected: bool = False, seed: int = 0):
    config = CLIPTextConfig(
        vocab_size=len(make_tokenizer()),
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=_LENGTH,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        projection_dim=8,
    )
    torch.manual_seed(seed)
    return shake((CLIPTextModelWithProjection if projected else CLIPTextModel)(config), seed)


def make_t5(width: int = _T5_WIDTH, seed: int = 0):
    config = T5Config(
        vocab_size=len(make_t5_tokenizer()) + 3,  # as T5 itself, which has more than it uses
        d_model=width,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        pad_token_id=0,
        eos_token_id=1,
    )
    torch.manual_seed(seed)
    return shake(T5EncoderModel(config), seed)


def make_transformer(layout: str, seed: int = 0, **more: object):
    torch.manual_seed(seed)
    if layout == "sd3":
        settings = {
            "sample_size": 8,
            "patch_size": 2,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 2,
            "attention_head_dim": 8,
            "num_attention_heads": 2,
            "joint_attention_dim": _T5_WIDTH,
            "caption_projection_dim": 16,
            "pooled_projection_dim": 16,
            "pos_embed_max_size": 16,
            "qk_norm": "rms_norm",
        }
        return shake(SD3Transformer2DModel(**settings | more), seed)
    settings = {
        "in_channels": 16,
        "num_layers": 1,
        "num_single_layers": 1,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": _T5_WIDTH,
        "pooled_projection_dim": 16,
        "axes_dims_rope": (4, 4, 8),
        "guidance_embeds": True,
    }
    return shake(FluxTransformer2DModel(**settings | more), seed)


def make_unet(channels: int = 4, width: int = 16, seed: int = 0, **more: object):
    torch.manual_seed(seed)
    return shake(
        UNet2DConditionModel(
            sample_size=8,
            in_channels=channels,
            out_channels=channels,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=width,
            attention_head_dim=8,
            norm_num_groups=4,
            **more,
        ),
        seed,
    )


def make_vae(seed: int = 0, **more: object):
    torch.manual_seed(seed)
    return shake(
        AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=16,
            **more,
        ),
        seed,
    )


def make_pipeline(layout: str, seed: int = 0):
    tokenizer, text_encoder = make_tokenizer(), make_text_encoder(seed=seed)
    if layout == "pixel":
        return PixelPipeline(
            tokenizer=tokenizer,
            text_encoder=text_encoder,
            unet=make_unet(3, seed=seed),
            scheduler=DDIMScheduler(beta_schedule="squaredcos_cap_v2"),
        )
    if layout in FLOWS:
        return _make_flow(layout, seed)
    vae = make_vae(seed)
    if layout == "sdxl":
        added = {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 4,
            "projection_class_embeddings_input_dim": 6 * 4 + 8,
        }
        return StableDiffusionXLPipeline(
            vae=vae,
            text_encoder=text_encoder,
            text_encoder_2=make_text_encoder(32, projected=True, seed=seed + 1),
            tokenizer=tokenizer,
            tokenizer_2=make_tokenizer(),
            unet=make_unet(width=48, seed=seed, **added),
            scheduler=EulerDiscreteScheduler(),
            add_watermarker=False,
        )
    scheduler = (
        PNDMScheduler(skip_prk_steps=True, beta_schedule="scaled_linear")
        if layout == "sd1"
        else DDIMScheduler(prediction_type="v_prediction")
    )
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=make_unet(seed=seed),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
    )


def _make_flow(layout: str, seed: int):
    """Stable Diffusion 3 shifts the noise by a constant, Flux by the size of the picture."""
    shared = {
        "vae": make_vae(seed, shift_factor=0.06, use_quant_conv=False, use_post_quant_conv=False),
        "tokenizer": make_tokenizer(),
        "transformer": make_transformer(layout, seed),
    }
    if layout == "flux":
        return FluxPipeline(
            **shared,
            text_encoder=make_text_encoder(seed=seed),
            tokenizer_2=make_t5_tokenizer(),
            text_encoder_2=make_t5(seed=seed),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        )
    return StableDiffusion3Pipeline(
        **shared,
        text_encoder=make_text_encoder(projected=True, seed=seed),
        tokenizer_2=make_tokenizer(),
        text_encoder_2=make_text_encoder(projected=True, seed=seed + 1),
        tokenizer_3=make_t5_tokenizer(),
        text_encoder_3=make_t5(seed=seed),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def sampling(path: Path | str) -> dict[str, object]:
    """Settings for small pictures; Flux's configuration does not say that it makes such."""
    index = Path(path) / "model_index.json"
    flux = index.is_file() and "FluxPipeline" in index.read_text()
    return SAMPLING | ({"height": 16, "width": 16} if flux else {})


def spec(path: Path | str, **more: object) -> TextToImageSpec:
    return TextToImageSpec(**{"path": str(path), "sampling": sampling(path)} | more)


def open_pipeline(path: Path | str, token_budget: int = 8192, **more: object) -> TextToImage:
    found = spec(path, **more)
    return TextToImage(found, locate(found), token_budget)


def as_pipeline(subject: TextToImage) -> SimpleNamespace:
    """What is written for a pipeline's UNet and text encoder, on those of a subject."""
    return SimpleNamespace(unet=subject.denoiser, text_encoder=subject.text_encoder)


def edit_json(file: Path, **changes: object) -> None:
    """Set keys of a JSON file; None removes a key."""
    content = json.loads(file.read_text())
    for key, value in changes.items():
        content.pop(key, None)
        if value is not None:
            content[key] = value
    file.write_text(json.dumps(content))
