"""What a ledger lacks of what requests, Jobs and manifests prove, and its pages as they must at least be.

Nothing here lowers what a page counts: where two tell different things, the larger holds. A run that has no witness any
more (its request is deleted, its Job is gone, it left no manifest) stands in the ledger alone: where a page is lost, so
is that run, and `losses` says it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from export_operator.domain.evidence import Evidence, Proof, Witness
from export_operator.domain.identity import Subject
from export_operator.domain.pages import Bucket, Entry, Page, State, compact
from export_operator.domain.quota import SETTLED_WITHIN
from export_operator.domain.salvage import Found
from export_operator.domain.usage import SLOTS, usage_name
from export_operator.domain.windows import MAX_WINDOW

Windows = Callable[[Entry], frozenset[Subject]]
"""Whose windows count a run today: for those whose witnesses do not tell in which it was reserved."""


class NoRoomError(Exception):
    """More runs are not over than one object can hold."""


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """`kind` is one word for programs. `mended`: a rebuild mends it; otherwise the operator does, or a person must."""

    page: str
    kind: str
    run: str
    message: str
    mended: bool = True


@dataclass(frozen=True, slots=True)
class Mending:
    """A page that must count at least what is proven. `aside`: its object is damaged, so a copy of it is kept. Without
    a `subject` nobody knows whose it was: it is moved aside, and nothing comes in its place."""

    name: str
    subject: Subject | None
    proofs: tuple[Proof, ...] = ()
    aside: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """`losses`: what nobody can know any more. `unproven`: by page, how many entries stand in the ledger alone."""

    differences: tuple[Difference, ...] = ()
    mendings: tuple[Mending, ...] = ()
    losses: tuple[str, ...] = ()
    unproven: Mapping[str, int] = field(default_factory=dict)


def plan(ledger: Iterable[Found], evidence: Evidence, windows: Windows, now: datetime) -> Plan:
    """Compare every object of the ledger with what is proven."""
    objects = {found.name: found for found in ledger}
    wanted = _wanted(evidence, windows, now)
    owners = {usage_name(subject): subject for subject in {*wanted, *_spoken_of(objects.values())}}
    differences: list[Difference] = []
    mendings: list[Mending] = []
    losses: list[str] = []
    for name in sorted({*objects, *map(usage_name, wanted)}):
        found, subject = objects.get(name), owners.get(name)
        proofs = tuple(wanted.get(subject, ())) if subject else ()
        if found is not None and found.newer:
            differences.append(Difference(title(subject, name), "Newer", "", found.fault, mended=False))
            continue
        told = _compare(found, subject, name, proofs, now)
        if told:
            differences += told
            mendings.append(Mending(name, subject, proofs, aside=bool(found and found.fault)))
            losses += _losses(found, subject, name, [each.run for each in told if each.run], proofs)
    differences += _unused(objects.get(usage_name(SLOTS)), evidence)
    losses += evidence.blind if losses else ()
    return Plan(tuple(differences), tuple(mendings), tuple(losses), _unproven(objects.values(), evidence))


def lasting(before: Plan, after: Plan) -> Plan:
    """What both looks have found, as the second one saw it: the rest was under way."""
    known = {(each.page, each.kind, each.run) for each in before.differences}
    differences = tuple(each for each in after.differences if (each.page, each.kind, each.run) in known)
    pages = {each.page for each in differences}
    mendings = tuple(each for each in after.mendings if title(each.subject, each.name) in pages)
    return replace(after, differences=differences, mendings=mendings, losses=after.losses if mendings else ())


def mended(page: Page, subject: Subject, proofs: Sequence[Proof], now: datetime) -> Page:
    """The page, counting at least what is proven; the page itself where it does already. Raises `NoRoomError`."""
    merged = _merge(page, subject, proofs, now)
    after = replace(page, entries=(*merged.held, *merged.missing), folded=merged.folded)
    if after == page or subject == SLOTS:
        return after
    small = compact(after, now)
    if small is None:
        raise NoRoomError(f"{title(subject, usage_name(subject))}: more runs are not over than one object can hold")
    return small


@dataclass(frozen=True, slots=True)
class _Merged:
    """`held` are the page's own entries, in their order."""

    held: tuple[Entry, ...]
    missing: tuple[Entry, ...]
    folded: tuple[Bucket, ...]


def _merge(page: Page, subject: Subject, proofs: Sequence[Proof], now: datetime) -> _Merged:
    by_run = {proof.entry.run: proof for proof in proofs}
    held = tuple(_raised(entry, by_run.pop(entry.run, None), now) for entry in page.entries)
    if subject == SLOTS:
        return _Merged(page.entries, tuple(proof.entry for proof in by_run.values()), page.folded)
    order = sorted(range(len(page.folded)), key=lambda number: page.folded[number].until)
    ends = [page.folded[number].until for number in order]
    within: dict[int, list[Entry]] = defaultdict(list)
    missing = []
    for proof in by_run.values():
        entry, place = proof.entry, bisect_left(ends, proof.entry.time)
        if place < len(ends) and page.folded[order[place]].since <= entry.time:
            within[order[place]].append(entry)
        elif entry.time + MAX_WINDOW > now:
            missing.append(entry)
    folded = tuple(_at_least(bucket, within[number]) for number, bucket in enumerate(page.folded))
    return _Merged(held, tuple(missing), folded)


def _raised(held: Entry, proof: Proof | None, now: datetime) -> Entry:
    """A run under way keeps what it reserved, and a Job does not tell what came of it. One that has just ended is the
    operator's to settle. One that was refunded counts again only by a manifest."""
    if proof is None or proof.entry.state is not State.SETTLED or proof.witness is Witness.JOB:
        return held
    if held.state is State.RESERVED and proof.ended is not None and now < proof.ended + SETTLED_WITHIN:
        return held
    if held.state is State.REFUNDED and not proof.delivered:
        return held
    state = State.SETTLED if held.state is State.REFUNDED else held.state
    told = proof.entry
    return replace(held, state=state, rows=max(held.rows, told.rows), bytes=max(held.bytes, told.bytes))


def _at_least(bucket: Bucket, entries: Sequence[Entry]) -> Bucket:
    """Which runs a sum is of, nobody knows: those proven of its time are taken to be among them."""
    return replace(
        bucket,
        requests=max(bucket.requests, sum(entry.requests for entry in entries)),
        launches=max(bucket.launches, sum(entry.launches for entry in entries)),
        rows=max(bucket.rows, sum(entry.rows for entry in entries)),
        bytes=max(bucket.bytes, sum(entry.bytes for entry in entries)),
    )


def title(subject: Subject | None, name: str) -> str:
    """How a page is called in what people read: `User alice`; the object's own name where nobody knows."""
    return f"{subject.kind} {subject.name}" if subject else name


def _wanted(evidence: Evidence, windows: Windows, now: datetime) -> dict[Subject, list[Proof]]:
    wanted: dict[Subject, list[Proof]] = defaultdict(list)
    for proof in evidence.proofs.values():
        if proof.entry.time + MAX_WINDOW > now:
            for subject in proof.subjects | (windows(proof.entry) if proof.more else frozenset()):
                wanted[subject].append(proof)
        if proof.live:
            wanted[SLOTS].append(proof)
    return dict(wanted)


def _spoken_of(ledger: Iterable[Found]) -> set[Subject]:
    """Subjects that the pages themselves name, and those that their runs may belong to: a damaged object tells its name
    alone, which is a hash."""
    subjects = {SLOTS, Subject("Cluster", "all")}
    for found in ledger:
        if found.subject:
            subjects.add(found.subject)
        for entry in found.page.entries:
            subjects |= {
                Subject("User", entry.user),
                Subject("Namespace", entry.request.namespace),
                Subject("Policy", entry.policy),
            }
    return subjects


def _compare(
    found: Found | None, subject: Subject | None, name: str, proofs: Sequence[Proof], now: datetime
) -> list[Difference]:
    page = title(subject, name)
    if found is None:
        return [
            Difference(page, "Missing", "", f"there is no such object; proven runs that it should count: {len(proofs)}")
        ]
    if found.fault or subject is None:
        return [Difference(page, "Damaged", "", f"ExportUsage {name}: {found.fault}")]
    merged = _merge(found.page, subject, proofs, now)
    kind, what = (
        ("SlotMissing", "it has a Job, and no slot") if subject == SLOTS else ("RunMissing", "it is not counted")
    )
    differences = [Difference(page, kind, entry.run, f"{entry.request}: {what}") for entry in merged.missing]
    for before, after in zip(found.page.entries, merged.held, strict=True):
        if before != after:
            text = f"{after.request}: {after.rows} rows and {after.bytes} bytes were delivered, and not all are counted"
            differences.append(Difference(page, "CountedLess", after.run, text))
    if merged.folded != found.page.folded:
        text = "the sums of older runs are less than what is proven of them"
        differences.append(Difference(page, "FoldedLess", "", text))
    return differences


def _unused(slots: Found | None, evidence: Evidence) -> list[Difference]:
    """A slot is taken before the Job is made and freed after it is gone: one that stays without a Job is left over."""
    return [
        Difference("Slots all", "SlotUnused", entry.run, f"{entry.request}: a slot without a Job", mended=False)
        for entry in (slots.page.entries if slots else ())
        if entry.run not in evidence.jobs
    ]


def _losses(
    found: Found | None, subject: Subject | None, name: str, runs: Iterable[str], proofs: Sequence[Proof]
) -> list[str]:
    """Slots follow from Jobs alone: there is nothing about them that nobody could know."""
    page = title(subject, name)
    if subject == SLOTS:
        return []
    lost = "runs whose request is deleted and which left no manifest are not counted again"
    if subject is None:
        return [f"{page}: nobody knows any more whose it was; what it counted is not counted again"]
    if found is None:
        return [f"{page}: {lost}; nothing is lost if its limit is newer than those runs"]
    if found.fault:
        return [f"{page}: {found.unread} of its items cannot be read; of these, {lost}"]
    times = {proof.entry.run: proof.entry.time for proof in proofs}
    if any(times[run] < found.created for run in runs):
        made = found.created.isoformat().replace("+00:00", "Z")
        return [f"{page}: it was made at {made}, after runs that it should count; of what was before, {lost}"]
    return []


def _unproven(ledger: Iterable[Found], evidence: Evidence) -> dict[str, int]:
    counts = {
        title(found.subject, found.name): sum(
            entry.run not in evidence.proofs and entry.uid not in evidence.requests for entry in found.page.entries
        )
        for found in ledger
        if found.subject != SLOTS
    }
    return {page: count for page, count in sorted(counts.items()) if count}
