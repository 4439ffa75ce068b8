"""The Python door; `import auditor` gives what stands here, each name when it is first used."""
