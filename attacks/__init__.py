"""Built-in attacks, one package a family, found through entry points."""
