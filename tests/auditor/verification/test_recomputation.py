"""The verdict and the figures follow from the evidence, or the certificate is refused."""

import json

import pyarrow.parquet as pq
import pytest
from hand_made_pictures import drawn, pictured_certificate

from auditor.certificate.decision import decide_verdict
from auditor.certificate.files import read_certificate, write_certificate
from auditor.certificate.image_examples import image_examples
from auditor.certificate.redaction import redact
from auditor.core.errors import ContradictedError, EvidenceChangedError
from auditor.core.hashing import digest, digest_file
from auditor.core.progress import SilentProgress
from auditor.store.columns import tabulate
from auditor.store.folder_store import FolderStore
from auditor.verification.evidence import check_changed, check_foreign
from auditor.verification.load import load_inputs
from auditor.verification.model import check_false_arms
from auditor.verification.recompute import check_contradiction, recomputed


def folder_of(store, certificate, arm="unlearned", row=0):
    key = certificate.matrix[row].jobs[arm][0]
    return store.root / "jobs" / key[:2] / key


@pytest.mark.parametrize("name", ["pass", "fail"])
def test_what_the_evidence_says_is_what_the_certificate_says(copied, name):
    path, store = copied(name)
    certificate = read_certificate(path)
    assert certificate.verdict.verdict == name.upper()
    inputs = load_inputs(certificate, store)
    assert recomputed(certificate, inputs, decide_verdict(inputs), store) == certificate
    check_contradiction(certificate, store)
    assert check_changed(certificate, store, SilentProgress()) == len(certificate.evidence.jobs)


def test_the_order_of_fields_in_the_file_decides_nothing(copied):
    """A signed file has its fields sorted, so its arms come in another order."""
    path, store = copied("fail")
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content, sort_keys=True), encoding="utf-8")
    certificate = read_certificate(path)
    assert next(iter(certificate.matrix[0].jobs)) == "original"
    check_contradiction(certificate, store)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda c: c["verdict"].update(verdict="PASS", exit_code=0), "verdict does not follow"),
        (
            lambda c: c["matrix"][1]["readings"][0]["figures"].update(rho=0.01),
            r"matrix\.1\.readings\.0\.figures\.rho",
        ),
        (lambda c: c["matrix"][1].update(named=False), r"matrix\.1\.named"),
        (lambda c: c["matrix"][1].update(role="advisory"), r"matrix\.1\.role"),
        (lambda c: c["matrix"][1].update(role="reported"), "only reported"),
        (lambda c: c["matrix"][0]["readings"][0].update(metric="rouge-l-recall"), "is decided by"),
        (lambda c: c["matrix"][0]["readings"].append(c["matrix"][0]["readings"][0]), r"matrix\.0"),
        (lambda c: c["scope"].update(primary_metric="rouge-l-recall"), "plan says"),
        (lambda c: c["matrix"][1]["explanation"].update(overall=0.5), r"explanation\.overall"),
        (lambda c: c["matrix"][1]["notes"]["unlearned"].update(recipe="other"), "notes"),
        (lambda c: c["worst_facts"].pop(0), "worst_facts"),
        (lambda c: c["limitations"].pop(), "limitations"),
        (lambda c: c["scope"]["sets"]["forget"].update(facts=9), r"scope\.sets\.forget"),
        (lambda c: c["verdict"]["claim"].update(code="no_more_extractable"), r"claim\.code"),
        (lambda c: c["verdict"]["reasons"].pop(), r"verdict\.reasons"),
        (
            lambda c: c["matrix"][1]["readings"][0]["gates"][2]["message"]["params"].update(
                delta=0.9
            ),
            "gates",
        ),
        (lambda c: c["limitations"][0].update(code="text", params={"text": "x"}), "limitations"),
        (
            lambda c: c["self_checks"].append(
                {"code": "sets_alike_without_model", "passed": True, "params": {}, "quoted": []}
            ),
            "self_checks",
        ),
        (lambda c: c["utility"].update(mean_unlearned=0.99), "utility.mean_unlearned"),
        (lambda c: c["evidence"].update(digest="0" * 64), "evidence.digest"),
        (lambda c: c["policy"].update(delta=0.9), "policy.delta"),
        (lambda c: c["reproduction"]["plan"]["policy"].update(delta=0.9), "policy in the cert"),
    ],
)
def test_each_edit_is_named(copied, forged, edit, said):
    path, store = copied("fail")
    certificate = forged(path, edit)
    assert read_certificate(path) == certificate, "valid, and with the id of its content"
    with pytest.raises(ContradictedError, match=said):
        check_contradiction(certificate, store)


def test_a_mandatory_attack_that_is_dropped_from_the_list_is_missed(copied, forged):
    """Waiving without a waiver: the attack is made advisory, in every place that says so."""
    path, store = copied("fail")

    def lift(content):
        content["matrix"][1]["role"] = "advisory"
        label = content["policy"]["mandatory"].pop(1)
        content["policy"]["advisory"].append(label)

    with pytest.raises(ContradictedError, match=r"policy\.mandatory"):
        check_contradiction(forged(path, lift), store)


def test_a_row_that_the_policy_demands_cannot_be_left_out(copied, forged):
    path, store = copied("fail")
    certificate = forged(path, lambda content: content["matrix"].pop(1))
    with pytest.raises(ContradictedError, match=r"policy demands quantization/bnb nf4, which the"):
        check_contradiction(certificate, store)


@pytest.mark.parametrize("file", ["rows.parquet", "notes.json", "job.json", "seal.json"])
def test_one_changed_byte_of_evidence_is_found(copied, file):
    path, store = copied()
    certificate = read_certificate(path)
    target = folder_of(store, certificate) / file
    content = bytearray(target.read_bytes())
    content[len(content) // 2] ^= 1
    target.write_bytes(content)
    with pytest.raises(EvidenceChangedError):
        check_changed(certificate, store, SilentProgress())


def test_evidence_that_was_changed_and_sealed_anew_is_found(copied):
    """Whoever changes the rows can write a seal that fits them; the certificate's does not."""
    path, store = copied("fail")
    certificate = read_certificate(path)
    foreign = folder_of(store, certificate, arm="retrained-0", row=1)
    target = folder_of(store, certificate, arm="unlearned", row=1)
    for name in ("rows.parquet", "seal.json", "notes.json"):
        (target / name).write_bytes((foreign / name).read_bytes())
    with pytest.raises(EvidenceChangedError, match="not the evidence"):
        check_contradiction(certificate, store)


def test_jobs_of_another_model_cannot_stand_in(copied, forged):
    """A forger who may write both: U's row points at the evidence of a retrained model."""
    path, store = copied("fail")

    def swap(content):
        jobs = content["matrix"][1]["jobs"]
        jobs["unlearned"] = jobs["retrained-0"]

    certificate = forged(path, swap)
    with pytest.raises(ContradictedError, match=r"unlearned: the job .* measured another model"):
        check_changed(certificate, store, SilentProgress())


def test_a_missing_job_and_missing_facts(copied):
    path, store = copied()
    certificate = read_certificate(path)
    for file in folder_of(store, certificate).iterdir():
        file.unlink()
    with pytest.raises(EvidenceChangedError, match="is not in"):
        check_changed(certificate, store, SilentProgress())
    (store.root / "inputs" / f"{certificate.identity.facts_digest}.json").unlink()
    with pytest.raises(EvidenceChangedError, match="facts"):
        load_inputs(certificate, store)


def test_reading_leaves_no_trace(copied):
    path, store = copied()
    before = {f: f.stat().st_mtime_ns for f in store.root.rglob("*")}
    certificate = read_certificate(path)
    check_changed(certificate, FolderStore(store.root, read_only=True), SilentProgress())
    check_contradiction(certificate, FolderStore(store.root, read_only=True))
    assert {f: f.stat().st_mtime_ns for f in store.root.rglob("*")} == before


def test_the_stored_plan_holds_the_policy(copied):
    path, _ = copied()
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["reproduction"]["plan"]["policy"]["name"] == "test"
    assert content["timing"]["expires"] > content["timing"]["issued"]


@pytest.fixture
def pictured(copied):
    """The failing audit, as if its models had drawn: evidence and certificate with pictures."""
    path, store = copied("fail")
    certificate = read_certificate(path)
    jobs = dict(certificate.evidence.jobs)
    measured = {key for row in certificate.matrix for keys in row.jobs.values() for key in keys}
    for number, key in enumerate(sorted(measured)):
        rows = [
            row._replace(picture=drawn("circle", colour=f"#{number:02x}{place:02x}50"))
            if row.set == "forget" and row.metric == certificate.scope.primary_metric
            else row
            for place, row in enumerate(store.read(key).rows)
        ]
        folder = store.root / "jobs" / key[:2] / key
        pq.write_table(tabulate(rows), folder / "rows.parquet")
        seal = json.loads((folder / "seal.json").read_bytes())
        seal["rows.parquet"] = digest_file(folder / "rows.parquet")
        (folder / "seal.json").write_text(json.dumps(seal), encoding="utf-8")
        jobs[key] = store.seal(key)
    evidence = certificate.evidence.model_copy(update={"jobs": jobs, "digest": digest(jobs)})
    certificate = certificate.model_copy(update={"evidence": evidence})
    shown = image_examples(load_inputs(certificate, store))
    write_certificate(certificate.model_copy(update={"image_examples": shown}).named(), path)
    return path, store


def test_pictures_follow_from_the_evidence(pictured):
    path, store = pictured
    certificate = read_certificate(path)
    primary = certificate.scope.primary_metric
    worst = {f.fact: f for f in certificate.worst_facts if f.metric == primary}
    first = next(f for f in certificate.image_examples.facts if f.fact in worst)
    assert [view.attack for view in first.views[:2]] == [
        "none/as-is full precision",
        worst[first.fact].attack,
    ]
    assert first.views[1].k == worst[first.fact].k
    assert set(first.views[0].pictures) == {"unlearned", "original", "retrained-0", "retrained-1"}
    check_changed(certificate, store, SilentProgress())
    check_contradiction(certificate, store)


def test_pictures_of_a_redacted_certificate_follow_from_the_evidence(pictured):
    path, store = pictured
    writable = FolderStore(store.root)
    certificate = redact(read_certificate(path), writable.redaction_key())
    check_contradiction(certificate, store)
    other = redact(pictured_certificate(), bytes(32)).image_examples.facts[0].views[0].pictures
    view = certificate.image_examples.facts[0].views[0]
    view.pictures["original"] = other["original"]
    with pytest.raises(
        ContradictedError, match=r"image_examples\.facts\.0\.views\.0\.pictures\.original"
    ):
        check_contradiction(certificate.named(), store)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda e: e["facts"][0]["views"][1]["pictures"].update(
            unlearned=e["facts"][0]["views"][1]["pictures"]["retrained-0"]
        ), r"image_examples\.facts\.0\.views\.1\.pictures\.unlearned"),
        (lambda e: e["facts"][0]["views"][1]["k"].update(unlearned=0.0), r"views\.1\.k\.unlearned"),
        (lambda e: e["facts"].pop(0), r"image_examples\.facts"),
        (lambda e: e.update(left_out=0), r"image_examples\.left_out"),
    ],
)  # fmt: skip
def test_edited_pictures_are_named(pictured, forged, edit, said):
    path, store = pictured
    certificate = forged(path, lambda content: edit(content["image_examples"]))
    with pytest.raises(ContradictedError, match=said):
        check_contradiction(certificate, store)


def test_pictures_cannot_be_taken_out_or_put_in(pictured, copied, forged):
    path, store = pictured
    shown = read_certificate(path).image_examples.model_dump()
    with pytest.raises(ContradictedError, match="image_examples: it says None"):
        check_contradiction(forged(path, lambda content: content.pop("image_examples")), store)
    path, store = copied("pass")
    added = forged(path, lambda content: content.update(image_examples=shown))
    with pytest.raises(ContradictedError, match=r"image_examples: it says .*the evidence None"):
        check_contradiction(added, store)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda plan: plan["unlearned"].update(dtype="bfloat16"), "unlearned: .* another dtype"),
        (lambda plan: plan["format"].update(template="Never: {prompt}"), "another format"),
        (lambda plan: plan["metrics"].update(reported=[]), "another metrics"),
        (lambda plan: plan.update(seeds=[7, 8, 9]), "relearning.* another seed"),
        (lambda plan: plan.update(seeds=[0, 1]), r"relearning.* uses 3 jobs, .* asks for 2"),
    ],
)
def test_evidence_of_another_audit_of_the_same_models_cannot_stand_in(copied, forged, edit, said):
    """A forger who asked a model in a way that hides what it knows, and plans another."""
    path, store = copied("fail")
    check_foreign(read_certificate(path), store)
    certificate = forged(path, lambda content: edit(content["reproduction"]["plan"]))
    with pytest.raises(ContradictedError, match=said):
        check_foreign(certificate, store)


class Searched(FolderStore):
    """Evidence of which one job says that it measured what some searches found."""

    def __init__(self, root, key, searches):
        super().__init__(root)
        self.key, self.searches = key, searches

    def identity(self, key):
        pool = [{"arm": arm, "key": k, "own": arm == "unlearned"} for arm, k in self.searches]
        return super().identity(key) | ({"pool": pool} if key == self.key else {})


@pytest.mark.parametrize(
    ("arms", "said"),
    [
        (("unlearned", "original", "retrained-0"), "searches are not those of all models"),
        (("unlearned", "original", "retrained-0", "retrained-1"), "search .* another stage"),
    ],
)
def test_what_other_searches_found_cannot_stand_in(copied, arms, said):
    """A search of another audit, or none at all, in place of the plan's."""
    path, store = copied("fail")
    certificate = read_certificate(path)
    jobs = certificate.matrix[1].jobs
    searches = [(arm, jobs[arm][0]) for arm in arms]
    with pytest.raises(ContradictedError, match=said):
        check_foreign(certificate, Searched(store.root, jobs["unlearned"][0], searches))


@pytest.mark.parametrize(
    "edit",
    [
        lambda arm: arm.update(options={"replacement": "other.safetensors"}),
        lambda arm: arm.update(options={"sampling": {"steps": 9}}),
    ],
)
def test_what_a_model_is_said_to_be_must_be_in_the_plan(copied, forged, edit):
    path, _ = copied()
    check_false_arms(read_certificate(path))
    certificate = forged(path, lambda content: edit(content["identity"]["arms"][1]))
    with pytest.raises(ContradictedError, match="original what its plan does not"):
        check_false_arms(certificate)
