"""Metrics, each of which measures knowledge of a fact as K.

K lies in [0, 1].
"""
