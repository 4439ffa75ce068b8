"""What pydantic finds wrong with a user's data, as lines of an error message."""

from pydantic import ValidationError


def problems(error: ValidationError, whole: str = "") -> list[str]:
    """Return one line a problem: where it is, and what is wrong there.

    Args:
        error: what validation raised.
        whole: the place of a problem of the data as a whole.
    """
    lines = []
    for entry in error.errors():
        place = ".".join(map(str, entry["loc"])) or whole
        said = entry["msg"].removeprefix("Value error, ")
        lines.append(f"{place}: {said}" if place else said)
    return lines
