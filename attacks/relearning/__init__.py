"""Teaching the model again, a little, and asking for what it was not taught."""
