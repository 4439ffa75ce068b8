"""What all kinds of models that answer in text share."""
