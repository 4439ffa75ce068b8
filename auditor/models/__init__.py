"""Models under audit, with one folder for each kind.

They say where models are and how they open.
"""
