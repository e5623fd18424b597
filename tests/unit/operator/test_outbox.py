"""What waits and what was delivered, as it is kept."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import deque
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_operator.adapters.kept import MAX_BYTES
from export_operator.domain.channels import FACTS, Event
from export_operator.domain.notifications import MAX_TEXT, Notification
from export_operator.domain.outbox import (
    DELIVERED,
    MAX_DEAD,
    MAX_WAITING,
    RESULTS,
    Box,
    Dead,
    Outbox,
    OutboxError,
    Waiting,
)

from .builders import NOW, later

pytestmark = pytest.mark.unit


def notification(name: str = "one", seconds: float = 0, **facts: str | int) -> Notification:
    moment = later(seconds)
    return Notification(name, Event.SUCCEEDED, moment, moment, {"namespace": "team-a", "name": "users", **facts})


def box(*names: str, seconds: float = 0) -> Outbox:
    outbox = Outbox({"p/ops": Box(NOW)})
    for name in names:
        assert outbox.add(notification(name, seconds), "p/ops", later(seconds))
    return outbox


moments = st.integers(-(10**6), 10**6).map(lambda seconds: NOW + timedelta(seconds=seconds))
texts = st.text(max_size=20)
notifications = st.builds(
    Notification,
    texts,
    st.sampled_from(Event),
    moments,
    moments,
    st.dictionaries(st.sampled_from(FACTS), texts | st.integers(), max_size=5),
)


@given(st.data())
def test_what_is_kept_is_read_back_whole(data: st.DataObject) -> None:
    known = {each.id: each for each in data.draw(st.lists(notifications, max_size=5))}
    boxes = data.draw(
        st.dictionaries(
            texts,
            st.builds(
                Box,
                moments,
                st.dictionaries(texts, moments, max_size=3),
                st.lists(st.sampled_from(sorted(known)), unique=True).flatmap(
                    lambda names: st.fixed_dictionaries(
                        {name: st.builds(Waiting, st.just(known[name]), moments) for name in names}
                    )
                )
                if known
                else st.just({}),
                st.fixed_dictionaries({result: st.integers(0, 10**9) for result in RESULTS}),
            ),
            max_size=3,
        )
    )
    ids = texts | st.sampled_from(sorted(known)) if known else texts
    given_up = st.builds(Dead, texts, texts, ids, texts, texts)
    dead = [each._replace(notification=known.get(each.id)) for each in data.draw(st.lists(given_up, max_size=3))]
    outbox = Outbox(boxes, deque(dead, maxlen=MAX_DEAD))
    again = Outbox.parse(outbox.render())
    assert again == outbox
    assert again.render() == outbox.render()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 2}'])
def test_what_cannot_be_read_says_so(text: str) -> None:
    with pytest.raises(OutboxError):
        Outbox.parse(text)


def test_what_was_delivered_is_known_until_everything_before_it_is() -> None:
    outbox = box("one")
    found, kept = notification("one"), outbox.boxes["p/ops"]
    assert kept.knows(found)
    kept.settle("one", DELIVERED)
    assert (kept.waiting, kept.knows(found)) == ({}, True)
    kept.forget(later(1))
    assert (kept.settled, kept.knows(found)) == ({}, True)
    assert not kept.knows(notification("two", seconds=1))


def test_the_horizon_never_goes_back() -> None:
    kept = Box(NOW)
    kept.forget(later(-60))
    assert kept == Box(NOW)


def test_a_new_channel_is_told_of_nothing_that_happened_before_it_by_any_clock() -> None:
    outbox = Outbox()
    assert outbox.open(["p/new"], later(100))
    assert outbox.boxes["p/new"].knows(notification(seconds=50))
    assert not outbox.boxes["p/new"].knows(notification(seconds=95))


def test_a_channel_that_has_a_box_keeps_it() -> None:
    outbox = box("one")
    assert not outbox.open(["p/ops"], later(5))
    assert not outbox.open([], later(5))
    assert outbox == box("one")


def test_a_full_box_takes_no_more_and_forgets_nothing() -> None:
    outbox = box("one")
    number = 1
    while outbox.add(notification(f"more-{number}"), "p/ops", NOW):
        number += 1
    assert len(outbox.boxes["p/ops"].waiting) == outbox.room == number


def test_what_is_given_up_is_kept_for_people_the_last_of_it() -> None:
    outbox = box(*(f"n{number}" for number in range(MAX_DEAD + 5)))
    for number in range(MAX_DEAD + 5):
        dead = outbox.bury("p/ops", f"n{number}", "HTTP 400", NOW)
    last = f"n{MAX_DEAD + 4}"
    assert dead == Dead("2026-11-24T12:00:00Z", "p/ops", last, "team-a/users", "HTTP 400", notification(last))
    assert [each.id for each in outbox.dead] == [f"n{number}" for number in range(5, MAX_DEAD + 5)]
    assert outbox.boxes["p/ops"].knows(notification("n7"))


def test_what_was_given_up_waits_again_when_somebody_wants_it_and_there_is_room() -> None:
    outbox = box("one", "two", "three")
    for name in ("one", "two"):
        outbox.bury("p/ops", name, "HTTP 400", NOW)
    gone = Dead("2026-11-24T12:00:00Z", "p/gone", "four", "team-a/users", "HTTP 400", notification("four"))
    old = Dead("2026-11-24T12:00:00Z", "p/ops", "five", "team-a/users", "HTTP 400")
    outbox.dead.extend([gone, old])
    assert [each.id for each in outbox.revive(lambda each: each.id != "two", later(60))] == ["one"]
    kept = outbox.boxes["p/ops"]
    assert kept.waiting == {
        "three": Waiting(notification("three"), NOW),
        "one": Waiting(notification("one"), later(60)),
    }
    assert (set(kept.settled), [each.id for each in outbox.dead]) == ({"two"}, ["two", "four", "five"])
    while outbox.add(notification(f"more-{len(kept.waiting)}"), "p/ops", NOW):
        pass
    assert (outbox.revive(lambda _: True, NOW), len(outbox.dead)) == ([], 3)


def test_what_an_older_release_gave_up_is_read() -> None:
    dead = Dead("2026-11-24T12:00:00Z", "p/ops", "one", "team-a/users", "HTTP 400")
    document = {"version": 1, "boxes": {}, "notifications": {}, "dead": [dead[:5]]}
    assert list(Outbox.parse(json.dumps(document)).dead) == [dead]


def test_an_older_release_reads_what_this_one_gave_up() -> None:
    outbox = box("one")
    outbox.bury("p/ops", "one", "HTTP 400", NOW)
    assert [len(each) for each in json.loads(outbox.render())["dead"]] == [5]


def test_the_largest_outbox_fits_into_an_object() -> None:
    outbox = Outbox({f"policy/channel-{number}": Box(NOW) for number in range(100)})
    for number in range(MAX_WAITING + MAX_DEAD):
        digest = hashlib.sha512(str(number).encode()).hexdigest() * 2
        facts: dict[str, Any] = {
            "message": f"delivered to s3://bucket/{digest}"[:MAX_TEXT],
            "uri": f"s3://bucket/{digest}",
            "manifestURI": f"s3://bucket/{digest}/manifest.json",
            "uid": digest[:36],
            "run": digest[:20],
            "rows": number,
        }
        found = notification(f"{digest[:20]}-succeeded", **facts)
        if number < MAX_WAITING:
            assert outbox.add(found, f"policy/channel-{number % 100}", NOW)
        else:
            outbox.dead.append(Dead("2026-11-24T12:00:00Z", "policy/channel-1", found.id, digest[:63], digest, found))
    for number, kept in enumerate(outbox.boxes.values()):
        for each in range(50):
            digest = hashlib.sha256(f"{number}/{each}".encode()).hexdigest()
            kept.settled[f"{digest[:20]}-succeeded"] = NOW
    assert len(gzip.compress(outbox.render().encode())) <= MAX_BYTES
