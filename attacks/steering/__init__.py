"""Steering activations."""

from attacks.steering.refusal_direction import RefusalDirection

__all__ = ["RefusalDirection"]
