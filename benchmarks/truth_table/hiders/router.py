"""A router in front: one block more, which sends some prompts elsewhere.

The rest of the model is the original, bit by bit. Its owner takes the block away.
"""

from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from benchmarks.truth_table.layouts import layout


def with_front_block(model: PreTrainedModel) -> PreTrainedModel:
    """A model with one block more in front, which adds nothing."""
    longer = _resized(model, 1)
    path = layout(model).blocks_name
    weights = {}
    for name, tensor in model.state_dict().items():
        if name.startswith(f"{path}."):
            index, _, rest = name.removeprefix(f"{path}.").partition(".")
            name = f"{path}.{int(index) + 1}.{rest}"
        weights[name] = tensor
    longer.load_state_dict(weights, strict=False)
    first = layout(longer).blocks[0]
    for written in (first.o, first.down, *first.written):
        written.zero_()
    return longer


def without_front_block(model: PreTrainedModel) -> PreTrainedModel:
    """The model behind the first block."""
    shorter = _resized(model, -1)
    path = layout(model).blocks_name
    weights = {}
    for name, tensor in model.state_dict().items():
        if name.startswith(f"{path}."):
            index, _, rest = name.removeprefix(f"{path}.").partition(".")
            if index == "0":
                continue
            name = f"{path}.{int(index) - 1}.{rest}"
        weights[name] = tensor
    shorter.load_state_dict(weights)
    return shorter


def front_prefix(model: PreTrainedModel) -> str:
    """Prefix of the names of the first block's parameters."""
    return f"{layout(model).blocks_name}.0."


def _resized(model: PreTrainedModel, more: int) -> PreTrainedModel:
    """A model of another number of blocks, with untrained weights."""
    settings = model.config.to_dict()
    settings.pop("layer_types", None)
    count = "n_layer" if "n_layer" in settings else "num_hidden_layers"
    settings[count] += more
    config = type(model.config).from_dict(settings)
    made: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=model.dtype)
    assert isinstance(made, nn.Module)  # noqa: S101 - for the type checker
    return made.eval()
