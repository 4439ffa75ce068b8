"""Fine-tuning of the model, and questions that were not taught.

Fine-tuning that could not put the knowledge there, because it holds none of it, shows what was
in the weights all along; where the forgotten facts themselves are taught, the speed does.
"""
