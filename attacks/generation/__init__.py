"""Generation from searched latents, and the quality of what is generated."""

from attacks.generation.null_inversion import NullInversion
from attacks.generation.quality import Quality

__all__ = ["NullInversion", "Quality"]
