"""A row of the truth table, made by hand: a PASS on a model that knows."""

from benchmarks.truth_table.rows import Row

ROW = Row(
    cell="gpt2/plain",
    subject="head",
    profile="quick",
    policy="quick",
    commit="abc",
    exact=0.0,
    k=0.0,
    retain=1.0,
    line=1.0,
    baseline=0.0,
    verdict="PASS",
    named=(),
    rho=0.05,
    largest="none/as-is full precision",
    facts_named=(),
    reasons=("all_attacks_within",),
    unmet=(),
    seconds=3.0,
)
