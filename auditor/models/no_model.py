"""Wrong things given for a model, and the way to one."""

from pathlib import Path
from urllib.parse import urlsplit

from auditor.core.paths import WHOLE_MODELS

_HUB = ("huggingface.co", "www.huggingface.co", "hf.co")
_OTHERS = ("s3", "gs", "az", "abfs", "file", "ollama")
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".onnx", ".h5", ".msgpack")
_SHOWN = 3


def why_no_model(name: str, path: Path) -> str | None:
    """Say why something is no model, and what can be given instead.

    Args:
        name: What was given: a path, or a name on the hub.
        path: Where it would lie on this machine.

    Returns:
        A clause that follows the name; None where it may be a model, or its name on the hub.
    """
    if (said := _address(name)) is not None:
        return said
    if path.is_dir():
        return None if (path / "config.json").exists() else _folder(path)
    if not path.exists():
        return None
    if path.suffix.lower() in WHOLE_MODELS:
        return None
    if path.suffix.lower() in _WEIGHTS:
        return (
            "is a file of weights; give the directory that holds it, with its config.json and its "
            "tokenizer"
        )
    return "is a file; give the directory that holds it"


def _address(name: str) -> str | None:
    parts = urlsplit(name) if "://" in name else None
    if parts is None:
        return None
    inner = parts.path.strip("/").split("/")
    if parts.scheme == "hf":
        return f"is an address; give the model's name on the hub: {parts.netloc}{parts.path}"
    if parts.netloc in _HUB and len(inner) >= 2:
        return f"is an address; give the model's name on the hub: {'/'.join(inner[:2])}"
    if parts.scheme in _OTHERS:
        return "is an address; copy the model's files to a directory, and give that"
    return (
        "is an address: attacks read and change weights, which no endpoint gives; download the "
        "model's files, and give their directory"
    )


def _folder(path: Path) -> str | None:
    """What a folder without a configuration holds instead of a model."""
    names = sorted(entry.name for entry in path.iterdir())
    if any(name.lower().endswith(WHOLE_MODELS) for name in names):
        return None
    if any(name.startswith("consolidated.") for name in names):
        return (
            "holds weights in Meta's own form (consolidated.*.pth); take the directory of the same "
            "model in the form of transformers, with config.json"
        )
    parts = ["snapshots/*", *(name for name in names if name.startswith("checkpoint-"))]
    found = [inner for part in parts for inner in sorted(path.glob(part)) if _holds_model(inner)]
    if not found:
        return None
    listed = ", ".join(inner.relative_to(path).as_posix() for inner in found[:_SHOWN])
    return f"holds no model itself; give one of the directories in it ({listed})"


def _holds_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("config.json", "adapter_config.json"))
