"""Reading what the layers hold, whatever the model says."""
