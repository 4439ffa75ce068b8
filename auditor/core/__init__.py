"""Value types and services that every other part shares. No torch."""
