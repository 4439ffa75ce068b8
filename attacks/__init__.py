"""The built-in attacks, one package a family; found by `auditor` through entry points."""
