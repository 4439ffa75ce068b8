"""A model of an audit, as a part of a certificate."""

from pydantic import Field

from auditor.certificate.row import Part, absent


class SamplingPart(Part):
    """How a model draws, where the plan says so."""

    steps: int
    """Denoising steps."""
    guidance: float
    """Weight of classifier-free guidance; 1 is none."""
    height: int | None
    """In pixels; null: what the model was made for."""
    width: int | None


class ArmPart(Part):
    """A model of the audit."""

    arm: str
    path: str
    revision: str | None
    adapter: str | None
    dtype: str
    digest: str
    """Sha256 over the sorted names and digests of its files."""
    files: dict[str, str]
    """Relative name to sha256."""
    replacement: str | None = Field(default=None, exclude_if=absent)
    """File or directory that replaced weights of the model; its files are listed under
    ``replacement/``."""
    sampling: SamplingPart | None = Field(default=None, exclude_if=absent)
