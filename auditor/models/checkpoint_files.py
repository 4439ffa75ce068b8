"""Files of a checkpoint: read, whole, and no shard missing."""

from pathlib import Path
from typing import Any

from auditor.core.errors import AuditorError
from auditor.core.reading import UnfitFileError, parse_json, read_regular

_HEAD = 16
"""Bytes by which a file is told to be of another format."""
_OTHERS = {
    b"version https://": "is a pointer of Git LFS, not the weights; fetch them: `git lfs pull`",
    b"PK\x03\x04": "is a pickle of torch.save, whatever its name; save the weights as safetensors",
    b"\x80\x02": "is a pickle, whatever its name; save the weights as safetensors",
    b"GGUF": "is a GGUF file, whatever its name; give the checkpoint that it was made from",
}
"""Beginnings of files that are of another format, and the way out."""


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        AuditorError: the file is no JSON, or holds something else than an object.
    """
    try:
        content = parse_json(read_regular(file), finite=False)
    except UnfitFileError as error:
        raise AuditorError(f"{file} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise AuditorError(f"{file} is not valid JSON ({error}).") from error
    if not isinstance(content, dict):
        raise AuditorError(f"{file} holds {type(content).__name__}, expected a JSON object.")
    return content


def check_truncated(file: Path) -> None:
    """Refuse a safetensors file that does not hold what its header says.

    Raises:
        AuditorError: names the file and its size.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np"):
            return
    except SafetensorError as error:
        with file.open("rb") as content:
            head = content.read(_HEAD)
        if said := next((s for start, s in _OTHERS.items() if head.startswith(start)), None):
            raise AuditorError(f"{file} {said}.") from error
        raise AuditorError(
            f"{file} is not a whole safetensors file ({error}); it has {file.stat().st_size:,} "
            "bytes. Copy or download it again."
        ) from error


def shards(index: Path) -> list[str]:
    """Names of the shards that an index lists.

    Raises:
        AuditorError: a shard is not there, or the index points outside its folder or at no file.
    """
    weight_map = read_json(index).get("weight_map")
    listed = list(weight_map.values()) if isinstance(weight_map, dict) else []
    if not all(isinstance(name, str) for name in listed):
        raise AuditorError(f"{index} names what is no file (weight_map). Download it again.")
    names = sorted(set(listed))
    if not names:
        raise AuditorError(f"{index} lists no shards (weight_map). Download it again.")
    if outside := [name for name in names if Path(str(name)).name != name]:
        raise AuditorError(
            f"{index} names {outside[0]!r}, which is no file beside it; an audit takes only those."
        )
    if missing := [name for name in names if not (index.parent / name).is_file()]:
        raise AuditorError(
            f"{index} names shards that are not there: {', '.join(missing)}. Download them again."
        )
    return names


def quantization_method(directory: Path) -> str | None:
    """Return a checkpoint's method of quantization, such as ``gptq``.

    None for a checkpoint at full precision, and for a diffusers pipeline: a pipeline with a
    quantized component is refused when it is located.

    Raises:
        AuditorError: the configuration is none.
    """
    file = directory / "config.json"
    if not file.exists():
        return None
    quantization = read_json(file).get("quantization_config")
    if not quantization:
        return None
    if not isinstance(quantization, dict):
        raise AuditorError(f"{file}: its quantization_config is no JSON object.")
    return str(quantization.get("quant_method", "unknown method"))
