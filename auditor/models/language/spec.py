"""Spec of a model that answers in text."""

from pydantic import Field

from auditor.core.paths import ModelPath
from auditor.models.spec import ModelSpec


class LanguageSpec(ModelSpec):
    """Location of a language model, and how it is opened."""

    gguf_file: str | None = Field(default=None, pattern=r"^[^/\\]+\.[gG][gG][uU][fF]$")
    """Name of the GGUF file in the directory that is the model, where it holds several or other
    weights besides."""
    adapter: ModelPath | None = None
    """Directory or hub name of a PEFT adapter, merged into the weights before the audit."""
    tokenizer: ModelPath | None = None
    """Directory or hub name of its tokenizer, by default what lies beside its weights."""
    tokenizer_revision: str | None = None
    """Commit, tag or branch of a tokenizer on the hub."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Off: such a model is refused."""
