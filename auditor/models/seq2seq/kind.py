"""The kind of encoder-decoders that answer in text (T5, BART)."""

from pathlib import Path

from auditor.models.language.kind import EVALUATOR, LanguageKind, encodes_apart
from auditor.models.seq2seq.spec import Seq2SeqSpec


class Seq2SeqKind(LanguageKind):
    """Encoder-decoders: the encoder reads the prompt, and the decoder writes the answer."""

    name = "seq2seq"
    described = "encoder-decoder language models"
    spec_type = Seq2SeqSpec
    model_class = "auditor.models.seq2seq.model:Seq2SeqLM"
    code = ("auditor.models.seq2seq.model", EVALUATOR)
    plan_template = ("auditor.models.seq2seq", "plan_template.yaml")
    fixed_files = (*LanguageKind.fixed_files, "spiece.model", "sentencepiece.bpe.model")

    def recognises(self, folder: Path) -> bool:
        """Whether there is the configuration of an encoder-decoder."""
        return encodes_apart(folder) is True

    def takes(self, network: object) -> bool:
        """Whether the network has the configuration of an encoder-decoder."""
        config = getattr(network, "config", None)
        return getattr(config, "is_encoder_decoder", None) is True
