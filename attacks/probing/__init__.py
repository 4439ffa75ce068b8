"""Reading hidden states: knowledge that the model holds and does not say.

K of these attacks is a measure of their own, on another scale than the audit's metrics. They are
never mandatory: what can be read out of a layer with training is more than what a user gets.
"""
