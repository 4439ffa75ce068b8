"""Files of a text-to-image model: a pipeline and its replacement.

A replacement takes the place of some of the pipeline's weights.
"""

from auditor.core.kept_digests import kept_digest
from auditor.models.manifest import Location, Manifest
from auditor.models.text_to_image.erasers import eraser_digest
from auditor.models.text_to_image.pipeline_files import find_pipeline
from auditor.models.text_to_image.replacement_files import find_replacement
from auditor.models.text_to_image.spec import TextToImageSpec


def locate_pipeline(spec: TextToImageSpec) -> Location:
    """Find (or fetch) a pipeline's files, check and hash them.

    They must be safe and whole.

    Raises:
        AuditorError: Nothing is there, weights are pickled, truncated or missing, the pipeline
            brings its own code, or there is no such eraser; each with the way out.
    """
    pipeline = find_pipeline(spec.path, spec.revision, spec.allow_pickle)
    files = pipeline.files
    replacement = None
    if spec.replacement:
        replacement = find_replacement(spec.replacement, spec.allow_pickle)
    if replacement is not None:
        files |= replacement.named
    digests = {name: kept_digest(file) for name, file in files.items()}
    if spec.eraser is not None:
        digests[spec.eraser.file] = eraser_digest(spec.eraser)
    return Location(
        model=pipeline.directory,
        adapter=None,
        manifest=Manifest(files=dict(sorted(digests.items()))),
        replacement=replacement.path if replacement else None,
        notes=pipeline.notes + (replacement.notes if replacement else ()),
    )
