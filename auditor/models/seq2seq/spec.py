"""Spec of an encoder-decoder in a plan."""

from typing import Literal

from auditor.models.language.spec import LanguageSpec


class Seq2SeqSpec(LanguageSpec):
    """Location of an encoder-decoder, and how it is opened."""

    kind: Literal["seq2seq"] = "seq2seq"
    """Kind of the model."""
