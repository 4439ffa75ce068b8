"""Contents of a folder, as the first page shows them."""

from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

from pydantic import BaseModel, ConfigDict

from auditor.core.text_safety import encodable
from auditor.viewer.certificates import Certificates, Summary, Unreadable
from auditor.viewer.folder import Folder, evidence_folder
from auditor.viewer.progress import AuditProgress, StoreView


class Overview(BaseModel):
    """Certificates and audits below one folder, at one moment."""

    model_config = ConfigDict(frozen=True)

    folder: str
    at: datetime
    under_way: tuple[AuditProgress, ...]
    """Audits that were begun and not finished: they run, or were interrupted."""
    certificates: tuple[Summary, ...]
    """Certificates, the last one issued first."""
    finished: tuple[AuditProgress, ...]
    unreadable: tuple[Unreadable, ...]


class Library:
    """Reads the audits and certificates of a folder on each request.

    Threads take turns.
    """

    def __init__(self, root: Path) -> None:
        self.folder = Folder(root)
        self._certificates = Certificates(self.folder)
        self._lock = Lock()

    def overview(self) -> Overview:
        """Return the current contents of the folder."""
        with self._lock:
            files, stores = self.folder.walk()
            found = self._certificates.among(files)
            audits = [audit for root in stores for audit in StoreView(self.folder, root).audits()]
        read = [audit for audit in audits if isinstance(audit, AuditProgress)]
        read.sort(key=lambda audit: audit.begun, reverse=True)
        summaries = [part for part in found if isinstance(part, Summary)]
        summaries.sort(key=lambda part: part.issued, reverse=True)
        return Overview(
            folder=encodable(str(self.folder.root)),
            at=datetime.now(UTC),
            under_way=tuple(audit for audit in read if audit.finished is None),
            certificates=tuple(summaries),
            finished=tuple(audit for audit in read if audit.finished is not None),
            unreadable=tuple(p for p in (*found, *audits) if isinstance(p, Unreadable)),
        )

    def certificate_file(self, identifier: str) -> Path | None:
        """The file of a certificate that is there and can be read."""
        with self._lock:
            files, _ = self.folder.walk()
            for file in files:
                if self.folder.identifier(file) == identifier:
                    found = self._certificates.among(files)
                    readable = any(isinstance(p, Summary) and p.id == identifier for p in found)
                    return file if readable else None
        return None

    def store_folder(self, identifier: str) -> Path | None:
        """The folder of a store that is there."""
        with self._lock:
            _, stores = self.folder.walk()
        return next((s for s in stores if self.folder.identifier(s) == identifier), None)

    def redacted_in(self, store: Path) -> bool:
        """Whether a certificate that rests on a store's evidence is redacted.

        Whoever redacted it does not want the texts shown, so pages about the store alone show
        none.
        """
        with self._lock:
            files, _ = self.folder.walk()
            self._certificates.among(files)
            return any(
                found.redacted and evidence_folder(self.folder, file) == store
                for file, found in self._certificates.read()
            )

    def audits(self, store: str, entry: str) -> tuple[AuditProgress, ...]:
        """Return the audits of one model on one forget set, newest first.

        The tuple is empty if the store or the entry is unknown.
        """
        with self._lock:
            _, stores = self.folder.walk()
            found = [
                audit
                for root in stores
                if self.folder.identifier(root) == store
                for audit in StoreView(self.folder, root).audits()
                if isinstance(audit, AuditProgress) and audit.entry_id == entry
            ]
        return tuple(reversed(found))
