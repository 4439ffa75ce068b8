"""Files that replace weights of a text-to-image model.

They say which form the replacement has.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from auditor.core.errors import AuditorError
from auditor.core.messages import Message
from auditor.models.checkpoint_files import check_truncated, read_json
from auditor.models.text_to_image.pipeline_files import (
    DENOISER_CLASSES,
    network_component,
    present,
)
from auditor.models.text_to_image.spec import INDEX

Form = Literal["state dict", "denoiser", "text encoder", "LoRA"]

PICKLED = (".pt", ".pth", ".bin", ".ckpt")
_LORA = "pytorch_lora_weights.safetensors"
_PEFT = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True)
class Replacement:
    """Weights for a part of a pipeline, on this machine."""

    path: Path
    form: Form
    """Form of the replacement by its directory; a single file is a state dict, or turns out to be a
    LoRA."""
    weights: tuple[Path, ...]
    config: Path | None = None
    others: tuple[Path, ...] = ()
    """Further files that are read, such as the index of the shards."""
    notes: tuple[Message, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that is read."""
        return (*self.weights, *((self.config,) if self.config else ()), *self.others)

    @property
    def named(self) -> dict[str, Path]:
        """Everything that is read, by its name in a manifest."""
        return {f"replacement/{file.name}": file for file in self.files}


def find_replacement(name: str, allow_pickle: bool = False) -> Replacement:
    """Find a replacement's files and see from them what it is.

    Args:
        name: a local file (``.safetensors`` or ``.pt``) or directory.
        allow_pickle: take a directory's ``.bin`` weights where there are no others.

    Raises:
        AuditorError: it is not there, not whole, or none of the known forms.
    """
    path = Path(name).expanduser()
    if path.is_file():
        if path.suffix == ".safetensors":
            check_truncated(path)
        elif path.suffix not in PICKLED:
            raise AuditorError(
                f"replacement {path}: a state dict ends in .safetensors or {', '.join(PICKLED)}."
            )
        # not resolved: in the hub's cache a name with its ending is a link to a name without
        return Replacement(path.absolute(), "state dict", (path.absolute(),))
    if not path.is_dir():
        raise AuditorError(
            f"replacement {name}: no such file or directory. It must lie on this machine; download "
            "it first."
        )
    return _directory(path.resolve(), allow_pickle)


def _directory(path: Path, allow_pickle: bool) -> Replacement:
    if (path / INDEX).exists():
        raise AuditorError(
            f"replacement {path} is a whole pipeline ({INDEX}); give it as `path`, without a "
            "replacement."
        )
    forms = {
        "a LoRA of diffusers": _LORA,
        "a PEFT adapter": "adapter_config.json",
        "a model": "config.json",
    }
    found = [form for form, file in forms.items() if (path / file).is_file()]
    if len(found) > 1:
        raise AuditorError(
            f"replacement {path} holds {' and '.join(found)}; give a directory with one of them."
        )
    if not found:
        raise AuditorError(
            f"replacement {path} is none of the known forms: it holds none of "
            f"{', '.join(forms.values())}. Give the file itself, if it is a state dict."
        )
    if found == ["a LoRA of diffusers"]:
        check_truncated(path / _LORA)
        return Replacement(path, "LoRA", (path / _LORA,))
    if found == ["a PEFT adapter"]:
        files = present(path, _PEFT)
        check_truncated(files[_PEFT[1]])
        return Replacement(path, "LoRA", (files[_PEFT[1]],), files[_PEFT[0]])
    return _model(path, allow_pickle)


def _model(path: Path, allow_pickle: bool) -> Replacement:
    config = read_json(path / "config.json")
    architectures = config.get("architectures") or []
    form: Form
    if config.get("_class_name") in DENOISER_CLASSES:
        form, library = "denoiser", "diffusers"
    elif any(str(name).startswith(("CLIPTextModel", "T5EncoderModel")) for name in architectures):
        form, library = "text encoder", "transformers"
    else:
        said = config.get("_class_name") or ", ".join(map(str, architectures)) or "nothing"
        raise AuditorError(
            f"{path / 'config.json'} says that it is {said}; a replacement is a "
            f"{', '.join(DENOISER_CLASSES)}, CLIPTextModel, CLIPTextModelWithProjection or "
            "T5EncoderModel."
        )
    component = network_component("replacement", library, form, path, allow_pickle)
    files = [file for file in component.files.values() if file.name != "config.json"]
    weights = tuple(file for file in files if file.suffix != ".json")
    others = tuple(file for file in files if file.suffix == ".json")
    return Replacement(path, form, weights, path / "config.json", others, component.notes)
