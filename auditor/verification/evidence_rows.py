"""The evidence of a certificate as one flat table."""

import pyarrow as pa

from auditor.certificate.schema import Certificate
from auditor.core.errors import ContradictedError, EvidenceChangedError
from auditor.store.base import EvidenceStore
from auditor.store.columns import plain
from auditor.verification.unreadable import refused_if_unreadable

_ROW = ("set", "fact", "entity", "metric", "k")


@refused_if_unreadable()
def evidence_rows(
    certificate: Certificate, store: EvidenceStore, *, answers: bool = False
) -> pa.Table:
    """Gathers the rows of all jobs that a certificate rests on.

    Columns: ``attack``, ``variant``, ``arm``, ``seed``, ``set``, ``fact``, ``entity``, ``metric``
    and ``k`` (knowledge in [0, 1], one row for each fact, metric, seed and arm).

    Args:
        certificate: names the jobs.
        store: holds their evidence.
        answers: adds the column ``answer``, what the model said, null where it was not asked to.

    Raises:
        EvidenceChangedError: evidence is missing, or is not what the certificate was made from.
        ContradictedError: the certificate uses a job that its list of evidence lacks.
    """
    columns = (*_ROW, "answer") if answers else _ROW
    tables = []
    for row in certificate.matrix:
        for arm, keys in row.jobs.items():
            for key in keys:
                check_listed(certificate, store, key)
                rows = store.rows(key, columns)
                said: dict[str, str | int] = {
                    "attack": row.attack,
                    "variant": row.variant,
                    "arm": arm,
                    "seed": int(store.identity(key)["seed"]),
                }
                tables.append(_with_constants(plain(rows), said))
    return pa.concat_tables(tables)


def check_listed(certificate: Certificate, store: EvidenceStore, key: str) -> None:
    """Refuse a job that is not the one that a certificate lists.

    Raises:
        EvidenceChangedError: its evidence is missing, or another.
        ContradictedError: the certificate's list of evidence lacks it.
    """
    listed = certificate.evidence.jobs.get(key)
    if listed is None:
        raise ContradictedError(
            f"the certificate uses the job {key}, which its evidence does not list."
        )
    if store.claimed_seal(key) != listed:
        raise EvidenceChangedError(
            f"the evidence of job {key} is not the evidence that the certificate was made from."
        )


def _with_constants(rows: pa.Table, values: dict[str, str | int]) -> pa.Table:
    """The rows, after columns that hold one value each."""
    for place, (name, value) in enumerate(values.items()):
        rows = rows.add_column(place, name, pa.repeat(value, rows.num_rows))
    return rows
