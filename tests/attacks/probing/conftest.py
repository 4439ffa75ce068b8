"""Models that were fine-tuned from one checkpoint."""

from fine_tuned_models import attacked_fine_tuned, fine_tuned

__all__ = ["attacked_fine_tuned", "fine_tuned"]
