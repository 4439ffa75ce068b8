"""The evidence table, and the store that makes a killed run resumable."""
