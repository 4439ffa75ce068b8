"""Testbeds: small worlds trained from scratch, with known ground truth."""
