"""What a plan says of an encoder-decoder."""

from typing import Literal

from auditor.models.language.spec import LanguageSpec


class Seq2SeqSpec(LanguageSpec):
    """Where an encoder-decoder lies and how it is opened."""

    kind: Literal["seq2seq"] = "seq2seq"
    """Kind of the model."""
