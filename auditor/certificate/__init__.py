"""Certificate of an audit, and how to check it.

It says what was decided, and on what evidence.
"""
