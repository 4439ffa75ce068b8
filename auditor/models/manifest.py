"""Files of a model and their sha256 digests."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from auditor.core.hashing import digest, digest_file
from auditor.core.messages import Message
from auditor.core.paths import WHOLE_MODELS

ANY_WEIGHTS = (
    *(".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".ggml", ".onnx", ".onnx_data"),
    *(".h5", ".msgpack", ".npz", ".npy", ".tflite", ".ot", ".pkl", ".pickle", ".mlmodel", ".tar"),
    *(".zip", ".nemo", ".distcp", ".index", ".data"),
)
"""Endings of files that may hold weights, whoever reads them; of names in small letters."""
DOCUMENTATION = ("README", "LICENSE", "LICENCE", "NOTICE", "USE_POLICY", "CHANGELOG")
"""Beginnings of the names of files that say something about a model; of names in capitals."""
_CERTIFICATE = tuple(
    f"certificate.{ending}" for ending in ("json", "html", "dsse.json", "md", "junit.xml", "sarif")
)
"""Files that an audit writes, and that are published along with a model."""
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf")
"""Endings of the names of weight files."""
LOGS = "log/"
"""Folder under which the manifest names the files of a log that stands in for a model."""
TEMPLATES = "additional_chat_templates"
"""Folder from which a tokenizer takes further chat templates."""
TOKENIZER = "tokenizer/"
"""What the names of files begin with that belong to a tokenizer from elsewhere."""
_ADAPTER, _REPLACEMENT = "adapter/", "replacement/"
_OF_THE_MODEL = ("generation_config.json", ".py")
"""Endings of files that are the model's own, wherever its tokenizer is from."""
_ASKING = (
    *("tokenizer*", "chat_template*", f"{TEMPLATES}/*", "special_tokens_map.json"),
    *("added_tokens.json", "*vocab*", "merges.txt", "dict.txt", "normalizer.json", "emoji.json"),
    *("word_*.json", "byte_maps.json", "*.model", "*.spm", "*.tiktoken", "*.codes", "*.bpe"),
    *("*.tokenizer", "generation_config.json", "*.py"),
)
"""Patterns of the files that say how a language model is asked, and where its answers end."""


class Manifest(BaseModel):
    """Identity of a model by the digests of its files.

    One digest covers them all.
    """

    model_config = ConfigDict(frozen=True)

    files: dict[str, str]
    """Sha256 (hex) of each file by its relative name. An adapter's files stand under ``adapter/``,
    those of a tokenizer from elsewhere under ``tokenizer/``, those that replace some of a model's
    weights under ``replacement/``."""

    @property
    def digest(self) -> str:
        """Sha256 (hex) over the sorted list of names and digests."""
        return digest(self.files)

    @property
    def is_one_file(self) -> bool:
        """Whether the model is one file, with tokenizer and settings."""
        return any(map(_is_whole, self.files))

    @property
    def weights_digest(self) -> str:
        """The same over the weight files alone, whatever else lies beside them."""
        return digest({k: v for k, v in self.files.items() if k.lower().endswith(WEIGHTS)})


class Location(BaseModel):
    """A model's files on this machine."""

    model_config = ConfigDict(frozen=True)

    model: Path
    """Directory of its files; of one in a single file, that of the file's description."""
    adapter: Path | None
    manifest: Manifest
    tokenizer: Path | None = None
    """Directory of its tokenizer, where that is another one."""
    replacement: Path | None = None
    """File or directory that replaces weights of the model."""
    gguf: Path | None = None
    """GGUF file that is the whole model."""
    notes: tuple[Message, ...] = ()
    """Notes on what was chosen where the model's directory left a choice, and on what was set
    aside."""
    beside: tuple[str, ...] = ()
    """Files in the model's directories that the manifest does not hold: nothing of the model, as
    far as its kind knows, and nothing that was audited."""

    experts: bool = False
    """Whether a large part of its weights are those of stacked experts, as far as is known."""
    traces: bool = False
    """Whether it is asked in a format in which a trace of thought stands before its answers."""

    @property
    def weights_beside(self) -> tuple[str, ...]:
        """Files beside the model that may hold weights, in whatever form."""
        return tuple(name for name in self.beside if name.lower().endswith(ANY_WEIGHTS))


def asking_files(files: Mapping[str, str]) -> dict[str, str]:
    """Return the files that decide how a language model is asked.

    They are its tokenizer, its templates, its generation settings, which end its answers, and code
    that it brings. A tokenizer from elsewhere stands in the place of its own.

    Args:
        files: Digests of its files by name.
    """
    own = {name: digest for name, digest in files.items() if _asks(name)}
    given = {
        name.removeprefix(TOKENIZER): digest
        for name, digest in files.items()
        if name.startswith(TOKENIZER) and _asks(name.removeprefix(TOKENIZER))
    }
    if not given:
        return own
    kept = {name: own[name] for name in own if name.endswith(_OF_THE_MODEL)}
    return kept | given


def asked_alike(files: Mapping[str, str], others: Mapping[str, str]) -> bool:
    """Whether the files of two models say alike how they are asked.

    A model of one file says it within, so that only equal files of this form are known to.

    Args:
        files: Digests of the files of one model by name.
        others: Those of the other.
    """
    return asking_files(files) == asking_files(others) and _whole(files) == _whole(others)


def _whole(files: Mapping[str, str]) -> set[str]:
    """Return the digests of files that are each a whole model."""
    return {digest for name, digest in files.items() if _is_whole(name)}


def _is_whole(name: str) -> bool:
    return "/" not in name and name.lower().endswith(WHOLE_MODELS)


def _asks(name: str) -> bool:
    """Whether a file may decide how a language model is asked."""
    placed = "/" not in name or name.startswith(f"{TEMPLATES}/")
    return placed and any(fnmatchcase(name, pattern) for pattern in _ASKING)


def described_files(location: Location) -> dict[str, str]:
    """Return the digests of files that describe a model of one file.

    They say how it is asked, as the files of another model do; they are made of it, so that its
    manifest does not hold them. Of other models there are none.
    """
    if location.gguf is None:
        return {}
    found = sorted(path for path in location.model.rglob("*") if path.is_file())
    return {path.relative_to(location.model).as_posix(): digest_file(path) for path in found}


def are_logs(files: Iterable[str]) -> bool:
    """Whether files are those of a log and not of a model.

    Args:
        files: Their names in a manifest.
    """
    names = list(files)
    return bool(names) and all(name.startswith(LOGS) for name in names)


def hashed_files(location: Location) -> dict[str, Path]:
    """Return the files of a model by their names in its manifest."""
    return {name: file_of(location, name) for name in location.manifest.files}


def file_of(location: Location, name: str) -> Path:
    """Return a file of a model by its name in the manifest."""
    if location.gguf is not None and _is_whole(name):
        return location.gguf
    roots = {
        _ADAPTER: location.adapter,
        TOKENIZER: location.tokenizer,
        _REPLACEMENT: location.replacement,
    }
    for prefix, root in roots.items():
        if root is not None and name.startswith(prefix):
            return root / name.removeprefix(prefix) if root.is_dir() else root
    return location.model / name


def files_beside(location: Location) -> tuple[str, ...]:
    """List the files beside a located model.

    They lie in its directories, and its manifest does not hold them. Hidden folders (of version
    control, and caches) and documentation are left out, and so are folders beside a model that is
    a file itself.
    """
    roots = {"": location.model} | ({"adapter/": location.adapter} if location.adapter else {})
    pattern = "*" if location.gguf else "**/*"
    if location.gguf is not None:
        roots[""] = location.gguf.parent
    return tuple(
        sorted(
            name
            for prefix, root in roots.items()
            for file in root.glob("**/*" if prefix else pattern)
            if file.is_file()
            and (name := prefix + file.relative_to(root).as_posix()) not in location.manifest.files
            and not any(part.startswith(".") for part in file.relative_to(root).parts)
            and not file.name.upper().startswith(DOCUMENTATION)
            and file.name not in _CERTIFICATE
        )
    )
