"""An audit under way, as its evidence store has it."""

from auditor.core.hashing import digest
from auditor.core.records import Cost, Record, Row
from auditor.store.environment import Environment
from auditor.store.folder_store import FolderStore
from auditor.store.ledger import Begun, Finished

ATTACKS = ("none/as-is full precision", "quantization/bnb nf4", "prompting/gcg suffix of 20 tokens")
ARMS = ("unlearned", "original", "retrained-0", "retrained-1")


class RunningAudit:
    """An audit that writes what `auditor audit` writes, without any model."""

    def __init__(self, root, attacks=ATTACKS, model="models/unlearned", policy="release-gate"):
        self.store = FolderStore(root)
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
        """Write into the ledger that it begins, and maybe that its certificate is there."""
        policy = digest(self.policy)
        self.append(
            Begun(
                policy=policy,
                name=self.policy,
                unlearned=self.model,
                at="2026-03-02T12:00:00Z",
                jobs=self.jobs,
            )
        )
        if finished is not None:
            self.append(Finished(policy=policy, at=finished, others=()))

    def append(self, event):
        self.store.append(digest(self.model), event.model_dump_json().encode())

    def finish(self, jobs):
        """Write the evidence of the first jobs that are not done."""
        row = Row("forget", "fact", "subject", "rouge-l-recall", 0.5, "answer")
        left = [key for key in self.identities if not self.store.has(key)]
        for key in left[:jobs]:
            self.store.write(
                key,
                self.identities[key],
                Record(rows=(row,), notes={}),
                Cost(1.0, 1),
                Environment(device="cpu", packages={}),
            )
