"""Retries, queues, tasks, deadlines: what stands still ends when asked to."""

import contextlib
import threading
import time
from dataclasses import dataclass

import pytest

from export_contract.failures import Failure
from export_contract.report import MAX_RETRIED
from export_runner.clock import Deadline, Stop
from export_runner.errors import ExportError, Stopped
from export_runner.meter import Meter
from export_runner.queues import ByteQueue
from export_runner.retry import DELAYS, LEAST_SECONDS, Retrier
from export_runner.tasks import Task, wait_for

pytestmark = pytest.mark.unit


@dataclass
class Item:
    size: int


def transient() -> ExportError:
    return ExportError(Failure.SOURCE_UNAVAILABLE, "It is away.", transient=True)


class Flaky:
    """Fails so often, then returns."""

    def __init__(self, failures: int, error: ExportError | None = None) -> None:
        self.calls = 0
        self._failures = failures
        self._error = error or transient()

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self._failures:
            raise self._error
        return self.calls


def retrier(seconds: float = 60, stop: Stop | None = None) -> Retrier:
    return Retrier(Deadline(seconds), stop or Stop(), delays=(0.0, 0.0, 0.0))


def test_the_pauses_are_one_two_and_four_seconds() -> None:
    assert DELAYS == (1.0, 2.0, 4.0)


class Unhurried(Stop):
    """Notes how long it is waited for, and lets nobody wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.waited.append(seconds)
        return super().wait(0)


@pytest.mark.parametrize("failures", [0, 1, 2, 3, 4])
def test_before_each_further_try_its_pause_is_waited_for(failures: int) -> None:
    stop = Unhurried()
    with contextlib.suppress(ExportError):
        Retrier(Deadline(3600), stop).call("It", Flaky(failures))
    assert stop.waited == [1.0, 2.0, 4.0][:failures]


def test_each_call_that_is_tried_again_is_counted_by_what_it_asked_and_how_it_failed() -> None:
    meter = Meter(0.0)
    outer = Retrier(Deadline(3600), Stop(), delays=(0.0, 0.0, 0.0), count=meter.retried)
    outer.call("UploadPart", Flaky(2))
    outer.child(Stop()).call("Reading from PostgreSQL", Flaky(1))
    with pytest.raises(ExportError):
        outer.call("UploadPart", Flaky(99))
    assert meter.retries == {"UploadPart/SourceUnavailable": 5, "PostgreSQL/SourceUnavailable": 1}


def test_no_more_kinds_of_tries_are_told_than_an_outcome_has_room_for() -> None:
    meter = Meter(0.0)
    for number in range(MAX_RETRIED + 2):
        meter.retried(f"Call{number}", Failure.SOURCE_UNAVAILABLE)
    meter.retried("Call0", Failure.SOURCE_UNAVAILABLE)
    assert (len(meter.retries), meter.retries["Call0/SourceUnavailable"]) == (MAX_RETRIED, 2)


def test_a_failure_that_passes_once_lasts_when_it_comes_again() -> None:
    lasting = ExportError(Failure.SOURCE_QUERY_FAILED, "It lasts.")
    flaky = Flaky(99, ExportError(Failure.SOURCE_UNAVAILABLE, "It is away.", transient=True, lasting=lasting))
    with pytest.raises(ExportError) as caught:
        retrier().call("It", flaky)
    assert caught.value is lasting
    assert flaky.calls == 2


def test_a_failure_that_passed_once_in_a_part_of_the_run_lasts_in_any_other() -> None:
    lasting = ExportError(Failure.SOURCE_QUERY_FAILED, "It lasts.")
    error = ExportError(Failure.SOURCE_UNAVAILABLE, "It is away.", transient=True, lasting=lasting)
    whole = retrier()
    assert whole.child(Stop()).call("One part", Flaky(1, error)) == 2
    with pytest.raises(ExportError, match="It lasts"):
        whole.child(Stop()).call("Another part", Flaky(1, error))


@pytest.mark.parametrize("failures", [0, 1, 3])
def test_what_passes_within_four_tries_succeeds(failures: int) -> None:
    assert retrier().call("It", Flaky(failures)) == failures + 1


def test_the_fifth_try_is_not_made() -> None:
    flaky = Flaky(99)
    with pytest.raises(ExportError, match="Gave up after 4 tries") as caught:
        retrier().call("It", flaky)
    assert flaky.calls == 4
    assert not caught.value.transient, "an outer retry does not multiply the inner one"


def test_a_permanent_error_is_not_tried_again() -> None:
    flaky = Flaky(99, ExportError(Failure.DATASET_INVALID, "No."))
    with pytest.raises(ExportError, match="No"):
        retrier().call("It", flaky)
    assert flaky.calls == 1


def test_no_pause_goes_beyond_the_deadline() -> None:
    flaky = Flaky(99)
    with pytest.raises(ExportError, match="1 try"):
        Retrier(Deadline(0.5), Stop()).call("It", flaky)
    assert flaky.calls == 1


def test_no_try_is_made_that_the_deadline_would_end_at_once() -> None:
    flaky = Flaky(99)
    with pytest.raises(ExportError, match="Gave up after 2 tries"):
        Retrier(Deadline(3 * LEAST_SECONDS), Unhurried(), delays=(LEAST_SECONDS, 2.5 * LEAST_SECONDS)).call("It", flaky)
    assert flaky.calls == 2


def test_a_stop_ends_the_pause() -> None:
    stop = Stop()
    threading.Timer(0.05, stop.request).start()
    begun = time.monotonic()
    with pytest.raises(Stopped):
        Retrier(Deadline(60), stop, delays=(30.0,)).call("It", Flaky(99))
    assert time.monotonic() - begun < 5


def test_a_stop_reaches_its_children_and_keeps_the_first_reason() -> None:
    stop = Stop()
    early = stop.child()
    first, second = transient(), transient()
    stop.request(first)
    stop.request(second)
    late = stop.child()
    assert stop.reason is early.reason is late.reason is first


def test_a_childs_stop_does_not_reach_its_parent() -> None:
    stop = Stop()
    stop.child().request()
    assert not stop.requested


def test_a_queue_holds_no_more_than_its_bytes_until_items_are_done() -> None:
    queue: ByteQueue[Item] = ByteQueue(limit=10, items=5, stop=Stop())
    queue.put(Item(6))
    waiting = Task("put", lambda: queue.put(Item(6)))
    assert not waiting.join(0.05)
    first = queue.get()
    assert first is not None
    assert not waiting.join(0.05), "taken is not done"
    queue.done(first)
    assert waiting.join(5)
    assert queue.held == 6


def test_an_item_larger_than_the_queue_passes_alone() -> None:
    queue: ByteQueue[Item] = ByteQueue(limit=10, items=5, stop=Stop())
    queue.put(Item(1000))
    assert queue.get() == Item(1000)


def test_a_closed_queue_gives_what_it_has_and_then_nothing() -> None:
    queue: ByteQueue[Item] = ByteQueue(limit=10, items=5, stop=Stop())
    queue.put(Item(1))
    queue.close()
    assert queue.get() == Item(1)
    assert queue.get() is None


def test_a_stop_wakes_who_waits_for_a_queue() -> None:
    stop = Stop()
    queue: ByteQueue[Item] = ByteQueue(limit=10, items=5, stop=stop)
    waiting = Task("get", queue.get)
    stop.request()
    assert waiting.join(5)
    with pytest.raises(Stopped):
        waiting.result()


def test_a_task_turns_a_panic_into_a_failure_that_shows_no_text() -> None:
    class PanicException(BaseException):
        """Like that of polars, no Exception."""

    def panic() -> None:
        raise PanicException("a row's value")

    task = Task("panic", panic)
    assert task.join(5)
    with pytest.raises(ExportError, match="Unexpected PanicException") as caught:
        task.result()
    assert caught.value.failure is Failure.INTERNAL_ERROR
    assert "value" not in caught.value.message


def test_memory_that_is_not_there_has_a_name() -> None:
    def greedy() -> None:
        raise MemoryError

    task = Task("greedy", greedy)
    assert task.join(5)
    with pytest.raises(ExportError) as caught:
        task.result()
    assert caught.value.failure is Failure.OUT_OF_MEMORY


def test_who_waits_past_the_deadline_gets_its_failure_and_stops_the_rest() -> None:
    stop, release = Stop(), threading.Event()
    task = Task("slow", lambda: release.wait(30))
    expired = ExportError(Failure.DEADLINE_EXCEEDED, "Too late.")
    with pytest.raises(ExportError, match="Too late"):
        wait_for(task, Deadline(0.05), stop, lambda: expired)
    assert stop.reason is expired
    release.set()


def cancelled() -> int:
    raise ExportError(Failure.DEADLINE_EXCEEDED, "PostgreSQL reports query canceled (57014).")


@pytest.mark.parametrize(("left", "told"), [(0, "Too late"), (60, "query canceled")], ids=["passed", "ahead"])
def test_a_cancelled_query_is_told_of_as_the_deadline_that_passed_and_else_as_what_it_is(left: int, told: str) -> None:
    task = Task("query", cancelled)
    assert task.join(5)
    with pytest.raises(ExportError, match=told):
        wait_for(task, Deadline(left), Stop(), lambda: ExportError(Failure.DEADLINE_EXCEEDED, "Too late."))


def test_time_is_kept_back_for_finishing_a_partial_file() -> None:
    assert 52 < Deadline(60).reading_remaining() <= 54
    assert 0.9 < Deadline(2).reading_remaining() <= 1
    assert 580 < Deadline(600).reading_remaining() <= 585
    assert Deadline(1, started=time.monotonic() - 2).reading_remaining() == 0


def test_time_to_read_the_object_back_is_kept_too_but_never_more_than_half_of_the_deadline() -> None:
    mib = 1024 * 1024
    assert 42 < Deadline(60).reading_remaining(read_back=640 * mib) <= 44
    assert 29 < Deadline(60).reading_remaining(read_back=64_000 * mib) <= 30
