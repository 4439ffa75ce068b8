"""Models on the Hugging Face hub."""

from collections.abc import Sequence
from pathlib import Path

from auditor.core.errors import AuditorError
from auditor.core.network import hub_in_reach, no_network


def download(name: str, revision: str | None, patterns: Sequence[str], role: str) -> Path:
    """Fetch files of a model into the user's cache.

    Files that are there already are not fetched.

    Args:
        name: The model on the hub.
        revision: Its commit, tag or branch.
        patterns: What to fetch.
        role: What messages call it.

    Returns:
        The folder that holds them.

    Raises:
        AuditorError: The hub has no such model, or cannot be reached.
    """
    from huggingface_hub import snapshot_download  # local directories need nothing of it
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    reached = hub_in_reach()
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        if not reached:
            raise AuditorError(
                f"{role} {name} is neither a local directory nor can it be had from the hub: "
                f"{no_network()}"
            ) from error
        raise AuditorError(
            f"{role} {name} is neither a local directory nor can it be had from the hub "
            f"({type(error).__name__}: {str(error).splitlines()[0]})."
        ) from error
