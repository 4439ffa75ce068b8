"""Views of evidence of a folder, by the pages that show them."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock

from auditor.certificate.schema import Certificate
from auditor.core.errors import EvidenceChangedError
from auditor.store.base import EvidenceStore
from auditor.store.folder_store import FolderStore
from auditor.viewer.evidence import EvidenceView
from auditor.viewer.evidence_source import EvidenceSource, of_certificate, of_run
from auditor.viewer.folder import Folder, Stamp, evidence_folder
from auditor.viewer.progress import StoreView

KEPT = 3
"""Most views that are kept; of large audits they take some 100 MiB each."""


def certificate_view(folder: Folder, file: Path, certificate: Certificate) -> EvidenceView:
    """Open the evidence of a certificate.

    Raises:
        AuditorError: It is not in the viewed folder, or its facts cannot be read.
    """
    place = evidence_folder(folder, file)
    if place is None:
        raise EvidenceChangedError(
            "the evidence of this certificate is not in the folder that is viewed; view the folder "
            "that holds both."
        )
    return EvidenceView(of_certificate(certificate, _opened(place)))


class EvidencePages:
    """Views of evidence by page.

    Evidence of a certificate cannot change, so it is read once. That of an audit under way grows,
    so it is read again whenever its page is loaded.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._kept: dict[tuple[str, ...], tuple[Stamp | None, EvidenceView]] = {}
        self._lock = Lock()

    def of_certificate(
        self, file: Path, stamp: Stamp, read: Callable[[], Certificate]
    ) -> EvidenceView:
        """Return the view of a certificate's evidence.

        Args:
            file: The certificate.
            stamp: What the file is like now.
            read: Reads it.

        Raises:
            AuditorError: The evidence is not there, or the certificate cannot be read.
        """
        return self._view((str(file),), stamp, lambda: certificate_view(self._folder, file, read()))

    def of_audit(
        self, store: str, entry: str, root: Path, *, redacted: bool, again: bool
    ) -> EvidenceView | None:
        """Return the view of a ledger's newest audit, or None.

        Args:
            store: Id of the store.
            entry: Id of the entry.
            root: Folder of the store.
            redacted: Whether texts are replaced by digests.
            again: Whether it is read again, if it was read before.

        Raises:
            AuditorError: No job is done, or the facts are not there.
        """
        if again:
            with self._lock:
                self._kept.pop((store, entry, str(redacted)), None)
        run = StoreView(self._folder, root).newest(entry)
        if run is None:
            return None

        def source() -> EvidenceSource:
            return of_run(run, _opened(root), redacted=redacted)

        return self._view((store, entry, str(redacted)), None, lambda: EvidenceView(source()))

    def _view(
        self, name: tuple[str, ...], stamp: Stamp | None, make: Callable[[], EvidenceView]
    ) -> EvidenceView:
        with self._lock:
            held = self._kept.pop(name, None)
            if held is None or held[0] != stamp:
                held = (stamp, make())
            self._kept[name] = held
            while len(self._kept) > KEPT:
                del self._kept[next(iter(self._kept))]
        return held[1]


def _opened(place: Path) -> EvidenceStore:
    return FolderStore(place, read_only=True)
