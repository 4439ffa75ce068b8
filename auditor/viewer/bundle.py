"""A viewed folder as a static site that needs no server."""

from pathlib import Path

from auditor.core.errors import AuditorError
from auditor.core.files import whole_folder
from auditor.core.progress import Progress
from auditor.core.reading import read_regular
from auditor.viewer.certificates import Summary, read_signed
from auditor.viewer.evidence_pages import certificate_view
from auditor.viewer.overview import Library
from auditor.viewer.pages import PAGES, Beside, EvidenceData

PAGE = ".html"


def write_bundle(root: Path, out: Path, progress: Progress) -> int:
    """Write a folder's certificates and their evidence as a static site.

    Audits without a certificate are left out. A page that lies on a disk may read no other file,
    so data are scripts that hand over JSON; the page's policy runs those that its own script asks
    for, and no others.

    Args:
        root: The folder.
        out: Folder of the site; it must be new or empty, and outside of the other.
        progress: Is told how far it has come.

    Returns:
        How many certificates there are.

    Raises:
        AuditorError: There is no certificate, evidence cannot be read, or the folder cannot be
            written.
    """
    final = out.resolve()
    if final.is_relative_to(root.resolve()):
        raise AuditorError(f"{out} is in the folder that is viewed; write the site elsewhere.")
    if final.exists() and (not final.is_dir() or any(final.iterdir())):
        raise AuditorError(f"{out} is there and not an empty folder; name a new one.")
    library = Library(root)
    contents = library.overview().model_copy(update={"under_way": (), "finished": ()})
    if not contents.certificates:
        raise AuditorError(f"there is no certificate in {root} that can be read.")
    pages = PAGES.get("html")
    try:
        if final.exists():
            final.rmdir()
        with whole_folder(final) as folder:
            _write(folder / f"index{PAGE}", pages.overview(contents, PAGE))
            for summary in contents.certificates:
                _write_certificate(library, summary, folder / "certificate", progress)
    except OSError as error:
        raise AuditorError(f"the site {out} cannot be written: {error.strerror}.") from error
    return len(contents.certificates)


def _write_certificate(
    library: Library, summary: Summary, folder: Path, progress: Progress
) -> None:
    pages = PAGES.get("html")
    file = library.certificate_file(summary.id)
    if file is None:
        raise AuditorError(f"{summary.file} went away while the site was written.")
    certificate, signatures = read_signed(file)
    own = folder / summary.id
    data = own / "evidence"
    evidence = f"{summary.id}/{data.name}{PAGE}" if summary.evidence else None
    beside = Beside(f"../index{PAGE}", evidence=evidence)
    _write(folder / f"{summary.id}{PAGE}", pages.certificate(certificate, signatures, beside))
    (folder / f"{summary.id}.json").write_bytes(read_regular(file))
    if not summary.evidence:
        return
    view = certificate_view(library.folder, file, certificate)
    names = list(view.names())
    beside = Beside(f"../../index{PAGE}", certificate=f"../{summary.id}{PAGE}")
    page = pages.evidence(view.index, beside, EvidenceData(f"{data.name}/", scripts=True))
    _write(data.with_suffix(PAGE), page)
    data.mkdir()
    with progress.task("writing the evidence", len(names)) as advance:
        for name in names:
            content = view.file(name)
            if content is not None:
                (data / f"{name}.js").write_bytes(
                    b'auditorEvidence("' + name.encode() + b'",' + content + b");\n"
                )
            advance(1, name)


def _write(file: Path, page: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(page.encode("utf-8", "backslashreplace"))
