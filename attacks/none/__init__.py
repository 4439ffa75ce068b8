"""No attack at all: the models as they are released."""
