"""An audit under way, as its evidence store has it."""

from auditor.core.hashing import digest
from auditor.core.records import Cost, Record, Row
from auditor.evidence.ledger_entries import FOLDER, Entry, Undertaking
from auditor.evidence.store import EvidenceStore

ATTACKS = ("none/as-is full precision", "quantization/bnb nf4", "prompting/gcg suffix of 20 tokens")
ARMS = ("unlearned", "original", "retrained-0", "retrained-1")


class RunningAudit:
    """An audit that writes what `auditor audit` writes, without any model."""

    def __init__(self, root, attacks=ATTACKS, model="models/unlearned", policy="release-gate"):
        self.store = EvidenceStore(root)
        self.model, self.policy = model, policy
        self.identities = {
            digest(identity): identity
            for identity in ({"attack": a, "arm": arm} for a in attacks for arm in ARMS)
        }
        self.jobs = {
            attack: {arm: (digest({"attack": attack, "arm": arm}),) for arm in ARMS}
            for attack in attacks
        }
        self.enter()

    def enter(self, finished=None):
        """Write the ledger's entry."""
        (self.store.root / FOLDER).mkdir(exist_ok=True)
        undertaking = Undertaking(
            policy=digest(self.policy),
            name=self.policy,
            begun="2026-03-02T12:00:00Z",
            finished=finished,
            jobs=self.jobs,
        )
        entry = Entry(unlearned=self.model, undertakings=(undertaking,))
        file = self.store.root / FOLDER / f"{digest(self.model)}.json"
        file.write_text(entry.model_dump_json(), encoding="utf-8")

    def finish(self, jobs):
        """Write the evidence of the first jobs that are not done."""
        row = Row("forget", "fact", "subject", "rouge-l-recall", 0.5, "answer")
        left = [key for key in self.identities if not self.store.has(key)]
        for key in left[:jobs]:
            self.store.write(key, self.identities[key], Record(rows=(row,), notes={}), Cost(1.0, 1))
