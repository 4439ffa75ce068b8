"""No attack at all: the models as they are released."""

from attacks.none.as_is import AsIs

__all__ = ["AsIs"]
