"""The world `shapes`: a small text-to-image model of coloured shapes, trained from scratch."""
