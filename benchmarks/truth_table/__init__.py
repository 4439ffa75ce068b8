"""Subjects with known truth, and what audits say of them."""
