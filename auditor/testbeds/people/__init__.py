"""The testbed `people`: small language models of invented persons."""
