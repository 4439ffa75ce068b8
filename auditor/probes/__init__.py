"""What "knows" means: functions from a model's answer and a fact to knowledge K in [0, 1]."""
