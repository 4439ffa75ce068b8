"""Public Python interface of the package.

`import auditor` gives these names, and each is imported when it is first used.
"""
