"""A ledger that was lost is made again from requests, Jobs and manifests, and never counts less than before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from export_operator.domain import pages
from export_operator.domain.evidence import Evidence, Proof, Witness, combined
from export_operator.domain.identity import Subject
from export_operator.domain.ledger_rebuild import Difference, Mending, NoRoomError, Plan, lasting, mended, plan
from export_operator.domain.model import Key
from export_operator.domain.pages import MAX_ENTRIES, Bucket, Entry, Page, State
from export_operator.domain.salvage import Found
from export_operator.domain.usage import SLOTS, usage_name
from export_operator.domain.windows import MAX_WINDOW

from .builders import NOW, later

pytestmark = pytest.mark.unit

ALICE = Subject("User", "alice")
TEAM = Subject("Namespace", "team-a")
CLUSTER = Subject("Cluster", "all")
LOST = "runs whose request is deleted and which left no manifest are not counted again"
LONG_AGO = NOW - timedelta(days=300)


def entry(run: str, **changes: object) -> Entry:
    base = Entry(
        run=run, request=Key("team-a", run), uid=f"uid-{run}", time=later(-3600), user="alice", policy="default"
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def settled(run: str, rows: int = 10, **changes: object) -> Entry:
    return entry(run, **({"state": State.SETTLED, "rows": rows, "bytes": rows * 8} | changes))


def proof(of: Entry, *subjects: Subject, **changes: object) -> Proof:
    base = Proof(of, Witness.REQUEST, frozenset(subjects or {ALICE}), more=False)
    return replace(base, **changes)  # type: ignore[arg-type]


def evidence(*proofs: Proof, **changes: object) -> Evidence:
    base = Evidence(combined(proofs), jobs=frozenset(each.entry.run for each in proofs if each.live))
    return replace(base, **changes)  # type: ignore[arg-type]


def found(subject: Subject, *entries: Entry, folded: Iterable[Bucket] = (), **changes: object) -> Found:
    base = Found(usage_name(subject), LONG_AGO, subject, Page(entries, tuple(folded)))
    return replace(base, **changes)  # type: ignore[arg-type]


def nowhere(_: Entry) -> frozenset[Subject]:
    return frozenset()


def compared(ledger: Iterable[Found], known: Evidence) -> Plan:
    return plan(ledger, known, nowhere, NOW)


# What is told.


def test_a_ledger_that_says_what_is_proven_has_no_differences() -> None:
    run = settled("a")
    assert compared([found(ALICE, run)], evidence(proof(run))) == Plan()


@pytest.mark.parametrize(("ago", "kinds"), [(299, []), (300, ["CountedLess"])], ids=["just now", "a while ago"])
def test_a_run_that_has_ended_is_the_operators_to_settle_for_a_while(ago: int, kinds: list[str]) -> None:
    known = evidence(proof(settled("a"), ended=later(-ago)))
    assert [each.kind for each in compared([found(ALICE, entry("a"))], known).differences] == kinds


def test_a_run_that_is_not_counted_is_a_difference_and_is_added() -> None:
    kept, lost = settled("a"), settled("b")
    known = evidence(proof(kept), proof(lost))
    assert compared([found(ALICE, kept)], known) == Plan(
        (Difference("User alice", "RunMissing", "b", "team-a/b: it is not counted"),),
        (Mending(usage_name(ALICE), ALICE, (proof(kept), proof(lost))),),
    )


def test_a_page_made_after_a_run_that_it_lacks_may_have_lost_more() -> None:
    known = evidence(proof(settled("a")), blind=("the bucket 'x' could not be searched",))
    assert compared([found(ALICE, created=later(-60))], known).losses == (
        f"User alice: it was made at 2026-11-24T11:59:00Z, after runs that it should count; of what was before, {LOST}",
        "the bucket 'x' could not be searched",
    )


def test_an_object_that_is_gone_is_one_difference_and_its_loss_is_told() -> None:
    run = settled("a")
    assert compared([], evidence(proof(run))) == Plan(
        (Difference("User alice", "Missing", "", "there is no such object; proven runs that it should count: 1"),),
        (Mending(usage_name(ALICE), ALICE, (proof(run),)),),
        (f"User alice: {LOST}; nothing is lost if its limit is newer than those runs",),
    )


def test_a_damaged_object_is_moved_aside_and_keeps_what_can_be_read() -> None:
    run = settled("a")
    damaged = found(ALICE, entry("b"), fault="it is damaged (x)", unread=2)
    assert compared([damaged], evidence(proof(run))) == Plan(
        (Difference("User alice", "Damaged", "", f"ExportUsage {usage_name(ALICE)}: it is damaged (x)"),),
        (Mending(usage_name(ALICE), ALICE, (proof(run),), aside=True),),
        (f"User alice: 2 of its items cannot be read; of these, {LOST}",),
        {"User alice": 1},
    )
    after = mended(damaged.page, ALICE, (proof(run),), NOW)
    assert sorted(after.entries, key=lambda one: one.run) == [run, entry("b")]


@pytest.mark.parametrize("speaker", ["a proof", "another page"])
def test_whose_a_damaged_object_was_is_found_by_its_name(speaker: str) -> None:
    damaged = Found(usage_name(ALICE), LONG_AGO, None, fault="it is damaged (x)")
    if speaker == "a proof":
        told = compared([damaged], evidence(proof(settled("a"))))
    else:
        told = compared([damaged, found(CLUSTER, settled("a"))], evidence())
    assert [(each.subject, each.aside) for each in told.mendings] == [(ALICE, True)]


def test_a_damaged_object_that_nobody_can_name_is_moved_aside_whole() -> None:
    damaged = Found("user-0123", LONG_AGO, None, fault="it is damaged (x)")
    told = compared([damaged], evidence())
    assert (told.mendings, told.losses) == (
        (Mending("user-0123", None, aside=True),),
        ("user-0123: nobody knows any more whose it was; what it counted is not counted again",),
    )


def test_what_a_newer_release_wrote_is_left_alone() -> None:
    newer = Found(usage_name(ALICE), LONG_AGO, None, fault="its version 9 is newer", newer=True)
    told = compared([newer], evidence(proof(settled("a"))))
    assert (told.mendings, told.differences) == (
        (),
        (Difference("User alice", "Newer", "", "its version 9 is newer", mended=False),),
    )


def test_a_job_without_a_slot_gets_one_and_nothing_is_lost() -> None:
    live = proof(entry("a"), live=True)
    told = compared([found(ALICE, entry("a"))], evidence(live))
    assert (told.differences, told.losses) == (
        (Difference("Slots all", "Missing", "", "there is no such object; proven runs that it should count: 1"),),
        (),
    )
    told = compared([found(ALICE, entry("a")), found(SLOTS)], evidence(live))
    assert told.differences == (Difference("Slots all", "SlotMissing", "a", "team-a/a: it has a Job, and no slot"),)


def test_a_slot_without_a_job_is_told_and_left_to_the_operator() -> None:
    told = compared([found(SLOTS, entry("a"))], evidence())
    assert told == Plan((Difference("Slots all", "SlotUnused", "a", "team-a/a: a slot without a Job", mended=False),))


def test_entries_that_stand_in_the_ledger_alone_are_no_difference() -> None:
    known = evidence(requests=frozenset({"uid-b"}))
    assert compared([found(ALICE, settled("a"), settled("b"))], known) == Plan(unproven={"User alice": 1})


def test_runs_too_old_to_count_anywhere_are_not_looked_for() -> None:
    assert compared([], evidence(proof(settled("a", time=NOW - MAX_WINDOW)))) == Plan()


def test_windows_that_no_witness_tells_are_those_of_today() -> None:
    told = proof(settled("a"), more=True)
    by_policy = plan([found(ALICE, told.entry)], evidence(told), lambda _: frozenset({TEAM}), NOW)
    assert [each.subject for each in by_policy.mendings] == [TEAM]


def test_only_what_both_looks_find_is_a_difference() -> None:
    lost, passing = proof(settled("a")), proof(settled("b"), TEAM)
    ledger = [found(ALICE), found(TEAM)]
    before, after = compared(ledger, evidence(lost)), compared(ledger, evidence(lost, passing))
    assert lasting(before, after) == before


# What becomes of a page.


def test_a_delivery_counts_although_the_run_was_refunded() -> None:
    refunded = entry("a", state=State.REFUNDED)
    delivered = proof(settled("a"), delivered=True)
    assert mended(Page((refunded,)), ALICE, (delivered,), NOW).entries == (settled("a"),)


def test_a_refund_stays_where_nothing_was_delivered() -> None:
    page = Page((entry("a", state=State.REFUNDED),))
    assert mended(page, ALICE, (proof(settled("a", 0)),), NOW) == page


def test_a_job_does_not_tell_what_came_of_its_run() -> None:
    page = Page((settled("a", 5),))
    assert mended(page, ALICE, (proof(settled("a", 500), witness=Witness.JOB),), NOW) == page


def test_a_witness_that_tells_less_lowers_nothing() -> None:
    page = Page((settled("a", 50),))
    assert mended(page, ALICE, (proof(settled("a", 10)),), NOW) == page


def test_a_run_under_way_keeps_what_it_has_reserved() -> None:
    page = Page((entry("a", rows=50, bytes=500),))
    assert mended(page, ALICE, (proof(entry("a", rows=70)),), NOW) == page


def test_sums_of_older_runs_count_at_least_the_runs_that_are_proven_of_their_time() -> None:
    bucket = Bucket(later(-3700), later(-3500), requests=1, launches=3, rows=5, bytes=1000)
    proofs = [proof(settled("a", 4)), proof(settled("b", 6)), proof(entry("c", state=State.REFUNDED))]
    told = compared([found(ALICE, folded=[bucket])], evidence(*proofs))
    assert [each.kind for each in told.differences] == ["FoldedLess"]
    assert mended(Page((), (bucket,)), ALICE, proofs, NOW) == Page((), (replace(bucket, requests=2, rows=10),))


def test_more_unfinished_runs_than_fit_are_refused() -> None:
    proofs = [proof(entry(f"{number:04}")) for number in range(MAX_ENTRIES + 1)]
    with pytest.raises(NoRoomError, match=r"^User alice: more runs are not over than one object can hold$"):
        mended(Page(), ALICE, proofs, NOW)


# Any history, any loss.


@dataclass(frozen=True)
class Run:
    """A run as it really was, and who can still tell of it."""

    entry: Entry
    subjects: frozenset[Subject]
    live: bool
    witnesses: frozenset[Witness]

    def proofs(self) -> list[Proof]:
        tells = Witness.REQUEST in self.witnesses
        return [
            Proof(
                entry=self.entry,
                witness=witness,
                subjects=self.subjects if witness is Witness.REQUEST else frozenset(),
                more=not tells,
                live=self.live and witness is Witness.JOB,
                delivered=witness is Witness.MANIFEST,
            )
            for witness in sorted(self.witnesses)
        ]


@st.composite
def runs(draw: st.DrawFn) -> Run:
    number = draw(st.integers(0, 10**6))
    user = draw(st.sampled_from(["alice", "bob"]))
    state = draw(st.sampled_from(State))
    rows = 0 if state is State.REFUNDED else draw(st.integers(0, 100))
    one = Entry(
        run=f"run-{number}",
        request=Key(draw(st.sampled_from(["team-a", "team-b"])), f"r{number}"),
        uid=f"uid-{number}",
        time=NOW - timedelta(seconds=draw(st.integers(0, 40 * 86_400))),
        user=user,
        state=state,
        rows=rows,
        bytes=rows * 8,
    )
    witnesses = draw(st.sets(st.sampled_from(Witness)))
    if state is not State.SETTLED:
        witnesses.discard(Witness.MANIFEST)
    live = state is State.RESERVED and Witness.JOB in witnesses
    return Run(one, draw(st.sampled_from([today(one), frozenset({CLUSTER})])), live, frozenset(witnesses))


def today(one: Entry) -> frozenset[Subject]:
    return frozenset({Subject("User", one.user), Subject("Namespace", one.request.namespace)})


histories = st.lists(runs(), max_size=30, unique_by=lambda run: run.entry.run)


def ledger_of(history: Iterable[Run]) -> dict[Subject, Page]:
    pages: dict[Subject, Page] = {}
    for run in history:
        for subject in {*run.subjects, *([SLOTS] if run.live else [])}:
            pages[subject] = Page((*pages.get(subject, Page()).entries, run.entry))
    return pages


def known_of(history: Iterable[Run]) -> Evidence:
    proofs = [proof for run in history for proof in run.proofs()]
    return Evidence(combined(proofs), jobs=frozenset(run.entry.run for run in history if Witness.JOB in run.witnesses))


def rebuilt(pages: Mapping[Subject, Page], known: Evidence) -> dict[Subject, Page]:
    ledger = [Found(usage_name(subject), LONG_AGO, subject, page) for subject, page in pages.items()]
    after = dict(pages)
    for mending in plan(ledger, known, today, NOW).mendings:
        assert mending.subject is not None
        after[mending.subject] = mended(after.get(mending.subject, Page()), mending.subject, mending.proofs, NOW)
    return after


def use(page: Page, begins: datetime) -> tuple[int, int, int, int]:
    items: list[Entry | Bucket] = [*page.entries, *page.folded]
    counted = [item for item in items if item.until >= begins]
    return (
        sum(item.requests for item in counted),
        sum(item.launches for item in counted),
        sum(item.rows for item in counted),
        sum(item.bytes for item in counted),
    )


def at_least(page: Page, other: Page) -> bool:
    """In each window that ends now, and in each resource."""
    moments = {NOW - MAX_WINDOW, *(entry.time for entry in other.entries), *(each.until for each in other.folded)}
    return all(
        mine >= theirs
        for begins in moments
        if begins + MAX_WINDOW > NOW
        for mine, theirs in zip(use(page, begins), use(other, begins), strict=True)
    )


SMALL = 12  # entries of an object: it is folded all the time


@contextmanager
def folding(small: bool) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if small:
            patch.setattr(pages, "MAX_ENTRIES", SMALL)
            patch.setattr(pages, "MANY", SMALL)
        try:
            yield
        except NoRoomError:
            reject()


@settings(max_examples=60)
@given(history=histories, data=st.data(), small=st.booleans())
def test_whatever_is_lost_nothing_that_is_proven_is_counted_less(
    history: list[Run], data: st.DataObject, small: bool
) -> None:
    before = ledger_of(history)
    kept = data.draw(st.sets(st.sampled_from(sorted(before)))) if before else set()
    with folding(small):
        after = rebuilt({subject: before[subject] for subject in kept}, known_of(history))
    for subject in kept:
        assert at_least(after[subject], before[subject])
    # A run whose request is gone is counted in the windows of today: those that it was in besides nobody can know.
    sure = ledger_of(
        run
        for run in history
        if Witness.REQUEST in run.witnesses or (run.witnesses and run.subjects == today(run.entry))
    )
    for subject, page in sure.items():
        assert at_least(after.get(subject, Page()), page)


@settings(max_examples=60)
@given(history=histories, data=st.data(), small=st.booleans())
def test_a_second_rebuild_finds_nothing_to_do(history: list[Run], data: st.DataObject, small: bool) -> None:
    before = ledger_of(history)
    kept = data.draw(st.sets(st.sampled_from(sorted(before)))) if before else set()
    known = known_of(history)
    with folding(small):
        after = rebuilt({subject: before[subject] for subject in kept}, known)
        ledger = [Found(usage_name(subject), LONG_AGO, subject, page) for subject, page in after.items()]
        assert plan(ledger, known, today, NOW).mendings == ()


@given(history=histories)
def test_a_whole_ledger_is_left_as_it_is(history: list[Run]) -> None:
    before = ledger_of(history)
    assert rebuilt(before, known_of(run for run in history if run.subjects == today(run.entry))) == before
