"""Behaviour that asking takes for granted: causal, and blind to padding."""

import copy
import json
from typing import Any, get_args

import torch
from torch import Tensor
from transformers import GenerationConfig, PretrainedConfig

from auditor.models.batching import Batching
from auditor.models.devices import input_device
from auditor.models.language.decoding import decoding
from auditor.models.language.placement import empty_network, network_class, unquantized

_PART = 1 << 22
"""Weights that are looked at together."""
_SHORT, _LONG = 7, 12
"""Tokens of the two texts that are asked."""
_WRITTEN = 2
"""Tokens that are generated after them: the first after what was read, the next after a state."""
_LARGEST = 30_000_000
"""Most parameters of a random network that is built to be asked."""
_WORDS = 512
"""Tokens of the vocabulary of a random network."""
_SPREAD = 0.05
"""Standard deviation of what is added to random parameters, so that none is zero."""
_WHOLE, _HALF = 1e-3, 5e-2
"""Most that rounding moves a logit, by the spread of logits, at full and at half precision."""
_NOISE = 4.0
"""How many times what a batch moves by itself, padding must move to count."""

_OF_NO_CONSEQUENCE = {"dtype", "torch_dtype", "_name_or_path", "transformers_version"}

_causal_by_design: dict[str, bool | None] = {}
_batching: dict[str, Batching] = {}


def is_causal_by_design(auto_class: Any, config: PretrainedConfig) -> bool | None:
    """Return whether a random network of a configuration is causal.

    Args:
        auto_class: Class of ``transformers`` that builds it.
        config: The configuration; the network gets its architecture, and few words.

    Returns:
        None where such a network is too large to be built, or cannot be.
    """
    chosen = network_class(auto_class, config, config.model_type)
    small = _of_few_words(unquantized(chosen, config))
    key = _key(small)
    if key not in _causal_by_design:
        try:
            _causal_by_design[key] = _asked_at_random(chosen, small)
        except Exception:  # an architecture may need more of its configuration than is kept
            _causal_by_design[key] = None
    return _causal_by_design[key]


def not_causal(name: str) -> str:
    """Return what is said of a model that is not causal."""
    return (
        f"{name} is no causal language model: a later token moves the predictions before it, so "
        "that no probability of an answer is one. Give a model that predicts each token from "
        "those before it (of BERT and its kin, one that was trained with is_decoder: true)."
    )


def is_finite(network: Any) -> bool:
    """Return whether weights and logits of a network are numbers.

    Half precision may overflow in a network whose weights are.
    """
    weights = (
        p
        for p in network.parameters()  # what is offloaded is known by the logits alone
        if p.is_floating_point() and p.element_size() > 1 and not p.is_meta
    )
    parts = (part for weight in weights for part in torch.split(weight.detach().reshape(-1), _PART))
    if not all(bool(torch.isfinite(part).all()) for part in parts):
        return False
    mask = torch.ones(1, _LONG, dtype=torch.long)
    return bool(torch.isfinite(_logits(network, _ids(network)[None], mask)).all())


def is_causal(network: Any) -> bool:
    """Return whether later tokens leave the predictions before them as they are."""
    ids = _ids(network)
    other = torch.cat([ids[:_SHORT], ids[_SHORT:].flip(0).roll(1)])
    logits = _logits(network, torch.stack([ids, other]), torch.ones(2, _LONG, dtype=torch.long))
    one, two = logits[:, :_SHORT]
    moved = float((one - two).abs().max() / one.std().clamp(min=1e-12))
    return not moved > _tolerance(network)  # nor where it is not finite, which is told apart


def batching(network: Any, pad: int) -> Batching:
    """Return what one batch may hold.

    Each answer must be that of its prompt alone. It is tried once of each architecture.

    Args:
        network: A causal network.
        pad: Token that stands in the place of padding.
    """
    key = type(network).__qualname__ + _key(unquantized(type(network), network.config))
    if key not in _batching:
        _batching[key] = _tried(network, pad)
    return _batching[key]


def _tried(network: Any, pad: int) -> Batching:
    long = _ids(network)
    short, filled = long[:_SHORT], torch.full((_LONG - _SHORT,), pad)
    mask = torch.ones(2, _LONG, dtype=torch.long)
    mask[0, _SHORT:] = 0
    whole = torch.ones(2, _SHORT, dtype=torch.long)
    pair = torch.stack([short, short.flip(0)])
    after, before = torch.cat([short, filled]), torch.cat([filled, short])
    scored = _batching_of(
        network,
        _logits(network, short[None], whole[:1])[0, -1:],
        _logits(network, pair, whole)[0, -1:],
        _logits(network, torch.stack([after, long]), mask)[0, _SHORT - 1 : _SHORT],
    )
    try:
        generated = _batching_of(
            network,
            _written(network, short[None], whole[:1]),
            _written(network, pair, whole),
            _written(network, torch.stack([before, long]), mask.flip(1)),
        )
    except (AttributeError, IndexError, NotImplementedError, TypeError, ValueError):
        return scored  # it cannot generate, and says so itself where it is to
    return max(scored, generated, key=get_args(Batching).index)


def _batching_of(network: Any, alone: Tensor, beside: Tensor, padded: Tensor) -> Batching:
    """Judge by logits of a text alone, beside another, and padded."""
    noise = _moved(alone, beside)
    if noise > _NOISE * _tolerance(network):
        return "single"
    if _moved(alone, padded) > _tolerance(network) + _NOISE * noise:
        return "equal"
    return "padded"


def _asked_at_random(chosen: Any, config: PretrainedConfig) -> bool | None:
    """Whether a random network is causal; None if too large."""
    if sum(p.numel() for p in empty_network(chosen, config).parameters()) > _LARGEST:
        return None
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = chosen._from_config(config, dtype=torch.float32).eval()
        for parameter in network.parameters():
            parameter.add_(_SPREAD * torch.randn_like(parameter))
        return is_causal(network)


def _of_few_words(config: PretrainedConfig) -> PretrainedConfig:
    """Return a configuration with a small vocabulary."""
    small = copy.deepcopy(config)
    text = small.get_text_config()
    if text.vocab_size > _WORDS:
        text.vocab_size = _WORDS
        for part in {id(c): c for c in (small, text)}.values():
            for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
                setattr(part, name, 0)
    return small


def _key(config: PretrainedConfig) -> str:
    """What says of which architecture and size a network is."""
    said = {k: v for k, v in config.to_dict().items() if k not in _OF_NO_CONSEQUENCE}
    return json.dumps(said, sort_keys=True, default=str)


def _ids(network: Any) -> Tensor:
    """Different tokens of the vocabulary's later part, where no special ones are."""
    count = network.get_input_embeddings().weight.shape[0]
    step = max(1, count // (2 * _LONG))
    found: Tensor = (count // 3 + step * torch.arange(_LONG)) % count
    return found


@torch.inference_mode()
def _logits(network: Any, ids: Tensor, mask: Tensor) -> Tensor:
    device = input_device(network)
    found: Tensor = network(
        input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False
    ).logits
    return found.float().cpu()


@torch.inference_mode()
def _written(network: Any, ids: Tensor, mask: Tensor) -> Tensor:
    """Logits of what is generated after the first text, [_WRITTEN, vocabulary]."""
    device = input_device(network)
    config = GenerationConfig(
        max_new_tokens=_WRITTEN, do_sample=False, output_logits=True, return_dict_in_generate=True,
        pad_token_id=0,
    )  # fmt: skip
    with decoding(network, config):
        out = network.generate(input_ids=ids.to(device), attention_mask=mask.to(device))
    return torch.stack([logits[0].float().cpu() for logits in out.logits])


def _moved(one: Tensor, other: Tensor) -> float:
    """Most that logits of the same tokens differ, by their spread."""
    same = int((one.argmax(-1) == other.argmax(-1)).int().cumprod(0).sum())  # then others follow
    one, other = one[: same + 1], other[: same + 1]
    return float((one - other).abs().max() / one.std().clamp(min=1e-12))


def _tolerance(network: Any) -> float:
    quantized = getattr(network.config, "quantization_config", None) is not None
    whole = network.dtype in (torch.float32, torch.float64) and not quantized
    return _WHOLE if whole else _HALF
