"""Files of models on a worker's machine, found by digest."""

from collections.abc import Iterable

from auditor.core.errors import ModelDiffersError
from auditor.models.manifest import Location
from auditor.models.opening import locate
from auditor.models.spec import ModelSpec


class Locations:
    """Models by the digests of their files.

    Each is looked for and hashed at most once.

    Args:
        known: Models that were located and hashed already, on this machine.
    """

    def __init__(self, known: Iterable[Location] = ()) -> None:
        self._known = {location.manifest.digest: location for location in known}

    def find(self, spec: ModelSpec, digest: str) -> Location:
        """Locate and check a model's files on this machine.

        Raises:
            ModelDiffersError: Other files lie where the spec says.
            AuditorError: Nothing that can be opened lies there.
        """
        if digest not in self._known:
            location = locate(spec)
            if location.manifest.digest != digest:
                raise ModelDiffersError(
                    f"the files of {spec.path} on this machine are not those of the model "
                    f"{digest[:12]}… that is audited; copy its files to where the plan says."
                )
            self._known[digest] = location
        return self._known[digest]
