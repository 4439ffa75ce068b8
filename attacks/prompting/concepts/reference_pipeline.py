"""Opening the model before the erasure beside an arm."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from auditor.core.errors import UnavailableError
from auditor.models.manifest import Location

if TYPE_CHECKING:
    from auditor.models.text_to_image.model import TextToImage


@contextmanager
def open_reference_pipeline(model: "TextToImage", location: Location) -> Iterator["TextToImage"]:
    """Open the model before the erasure beside an arm.

    It draws as the arm does, and its cost counts as the arm's.

    Args:
        model: the arm.
        location: location of the other pipeline.

    Raises:
        AuditorError: it holds pickled weights, which the arm is not allowed either.
        UnavailableError: its denoiser works on another space than the arm's, or predicts another
            thing.
    """
    from auditor.models.text_to_image.model import TextToImage  # costs seconds

    spec = model.spec.model_copy(
        update={"path": str(location.model), "revision": None, "replacement": None, "eraser": None}
    )
    original = TextToImage(spec, location, model.token_budget)
    original.meter = model.meter
    try:
        if original.input_shape != model.input_shape:
            raise UnavailableError(
                f"the original works on {original.input_shape} and the arm on "
                f"{model.input_shape}; give one of the same architecture"
            )
        if type(original.process) is not type(model.process):
            raise UnavailableError(
                "of the original and the arm one predicts noise and the other a flow; give one of "
                "the same architecture"
            )
        yield original
    finally:
        original.close()
