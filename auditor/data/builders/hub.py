"""Facts from a data set on the hub, or from a file."""

from collections import Counter

from auditor.data.builders.built import Built, normal, once
from auditor.data.readers import read_facts
from auditor.data.source import DataSource


def facts_from_source(source: DataSource) -> Built:
    """Read a source by its layout, and keep each fact once.

    Raises:
        AuditorError: It cannot be read, or rows are bad.
    """
    left_out: Counter[str] = Counter()
    facts = once(
        read_facts(source, "forget"),
        lambda fact: (normal(fact.prompt), normal(fact.answer)),
        left_out,
        "rows that repeat another",
    )
    return Built(facts=tuple(facts), left_out=dict(left_out), personal=source.hazardous)
