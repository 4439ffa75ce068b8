"""An audit whose evidence lies in a store, with a certificate that lists it; no model is needed."""

import random

import numpy as np
from hand_made_certificates import honest_certificate
from hand_made_rows import row

from auditor.certificate.files import write_certificate
from auditor.certificate.redaction import redact
from auditor.core.facts import Fact, FactSets
from auditor.core.hashing import digest
from auditor.core.records import Cost, Record, Row
from auditor.store.environment import Environment
from auditor.store.folder_store import FolderStore

PRIMARY, OTHER = "rouge-l-recall", "answer-probability"
ARMS = ("unlearned", "original", "retrained-0")
ATTACKS = (
    ("none/as-is", "full precision"),
    ("quantization/bnb", "nf4"),
    ("prompting/prefill", "1 token"),
)
FACTS = 12
LEAKING = range(0, FACTS, 4)
"""Numbers of the facts that come back in 4 bits."""


def fact(number, set_name="forget", text="{}"):
    return Fact(
        id=text.format(f"{set_name}-{number:04d}"),
        entity=text.format(f"Person {number // 4}"),
        prompt=text.format(f"Where was person {number} of {set_name} born?"),
        answer=text.format(f"Town {number}"),
    )


def framed(own):
    """A fact's prompt as a model with a chat template reads it."""
    return f"<s>[INST] {own.prompt} [/INST]"


def level(arm, attack, number):
    """K that a model has of a fact: the unlearned one knows what leaks again in 4 bits."""
    if arm == "original":
        return 0.95
    back = arm == "unlearned" and attack[0].startswith("quantization") and number % 4 == 0
    return 0.9 if back else 0.1


class MeasuredAudit:
    """Evidence of an audit, and its certificate.

    Args:
        root: folder of both.
        facts: how many facts are to be forgotten.
        attacks: name and level of each.
        text: form of all texts of facts; braces stand for the honest text.
        said: what a model answers, of arm, attack and number.
        k: K of arm, attack and number; None leaves the fact out.
        picture: picture of arm, attack and number; None where nothing is drawn.
        seeds: seeds of each attack.
        arrays: arrays that jobs keep, of arm and attack.
        notes: what jobs note.
        read: what is read of a fact's prompt; None keeps none.
        asked: question that is put under an attack, of arm, attack and number; None for the fact's.
    """

    def __init__(
        self,
        root,
        facts=FACTS,
        attacks=ATTACKS,
        arms=ARMS,
        text="{}",
        said=lambda arm, attack, number: f"{arm} says Town {number}",
        k=level,
        picture=lambda arm, attack, number: None,
        seeds=1,
        arrays=lambda arm, attack: {},
        notes=None,
        read=None,
        asked=lambda arm, attack, number: None,
    ):
        self.root, self.attacks, self.arms = root, attacks, arms
        self.sets = FactSets(
            forget=tuple(fact(number, "forget", text) for number in range(facts)),
            retain=tuple(fact(number, "retain", text) for number in range(4)),
        )
        self.store = FolderStore(root / "evidence")
        self.facts = self.store.put_facts(self.sets)
        self.read = None if read is None else self.store.put_facts(self._as_read(read))
        self.jobs = {}
        for attack in attacks:
            for arm in arms:
                for seed in range(seeds):
                    rows = [
                        Row(name, own.id, own.entity, metric, value, answer, drawn, put)
                        for name in ("forget", "retain")
                        for number, own in enumerate(self.sets.named(name))
                        if (value := k(arm, attack, number)) is not None
                        for put in (asked(arm, attack, number),)
                        for metric, answer, drawn in (
                            (PRIMARY, said(arm, attack, number), picture(arm, attack, number)),
                            (OTHER, None, None),
                        )
                    ]
                    key = self.write(attack, arm, seed, rows, arrays(arm, attack), notes or {})
                    self.jobs.setdefault(attack, {}).setdefault(arm, []).append(key)

    def _as_read(self, read):
        return FactSets(
            **{
                name: [own.model_copy(update={"prompt": read(own)}) for own in facts]
                for name, facts in self.sets
            }
        )

    def write(self, attack, arm, seed, rows, arrays, notes):
        identity = {
            "stage": "measure",
            "attack": attack[0],
            "parameters": {"level": attack[1]},
            "model": digest(arm),
            "facts": self.facts,
            "seed": seed,
        }
        key = digest(identity)
        self.store.write(
            key,
            identity,
            Record(rows=tuple(rows), notes=notes, arrays=arrays),
            Cost(1.0, 1),
            Environment(device="cpu", packages={}),
        )
        return key

    def certificate(self, **changes):
        """The certificate that lists the evidence."""
        honest = honest_certificate("FAIL")
        rows = []
        for attack, by_arm in self.jobs.items():
            made = row(attack[0], attack[1], (0.1, 0.1, 0.95))
            made["jobs"] = {arm: tuple(keys) for arm, keys in by_arm.items()}
            for reading in made["readings"]:
                reading["metric"] = PRIMARY
            rows.append(made)
        keys = [key for by_arm in self.jobs.values() for own in by_arm.values() for key in own]
        identity = honest.identity.model_dump() | {"facts_digest": self.facts}
        first = self.sets.forget[0]
        shown = [{"set": "forget", "fact": first.id, "text": framed(first), "tokens": 9}]
        prompts = {"digests": {}, "shown": shown, "read": self.read}
        content = {
            "reproduction": honest.reproduction.model_dump() | {"prompts": prompts},
            "matrix": rows,
            "identity": identity,
            "evidence": {
                "jobs": {key: self.store.claimed_seal(key) for key in keys},
                "digest": digest(sorted(keys)),
            },
        }
        return honest_certificate("FAIL", **(content | changes))

    def write_certificate(self, name="certificate.json", **changes):
        """Write the certificate beside its evidence."""
        file = self.root / name
        write_certificate(self.certificate(**changes).named(), file)
        return file

    def write_redacted(self, name="certificate.json", key=None):
        """Write the redacted certificate alone beside its evidence."""
        own = self.store.redaction_key() if key is None else key
        write_certificate(redact(self.certificate().named(), own), self.root / name)


def large_audit(root, facts=5_000, attacks=40, said_length=60):
    """An audit as large as they get, with a few leaks; K is drawn at random."""
    names = [("none/as-is", "full precision")]
    families = (
        "quantization/rtn",
        "prompting/sampling",
        "relearning/benign",
        "steering/suppression",
    )
    names += [(families[n % 4], f"level {n} of the attack") for n in range(attacks - 1)]
    draw = np.random.default_rng(0)
    values = {
        (arm, attack): np.clip(draw.normal(0.9 if arm == "original" else 0.12, 0.06, facts), 0, 1)
        for arm in ARMS
        for attack in names
    }
    leaking = random.Random(0).sample(range(facts), 40)
    for attack in names[3::9]:
        values["unlearned", attack][leaking] = 0.93

    return MeasuredAudit(
        root,
        facts,
        names,
        k=lambda arm, attack, number: float(values[arm, attack][number]),
        said=lambda arm, attack, number: f"{arm} says Town {number} " + "x" * said_length,
    )
