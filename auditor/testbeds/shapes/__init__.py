"""World `shapes`: a small text-to-image model of coloured shapes.

It is trained from scratch.
"""
