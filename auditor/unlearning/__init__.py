"""Methods of unlearning, and the training they share with testbeds.

Positive controls use that training, too.
"""
