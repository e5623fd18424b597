import threading

from tests.bench.ballast import FREE, MIB, Ballast

WAIT_SECONDS = 10.0


class Memory:
    """Some of it is used by others; the rest is free but for the ballast."""

    def __init__(self, size: int) -> None:
        self.used, self.size = 0, size
        self.ballast = Ballast(self.free, piece=MIB)
        self.looked = threading.Condition()

    def free(self) -> int:
        with self.looked:
            self.looked.notify_all()
        return self.size - self.used - self.ballast.bytes

    def until(self, held: int) -> bool:
        with self.looked:
            return self.looked.wait_for(lambda: self.ballast.bytes == held, WAIT_SECONDS)


def test_what_is_free_is_held_but_for_what_others_need_at_once() -> None:
    memory = Memory(FREE + 5 * MIB)
    memory.ballast.fill()
    assert memory.ballast.bytes == 4 * MIB


def test_nothing_is_held_where_little_is_free() -> None:
    memory = Memory(FREE + MIB)
    memory.ballast.fill()
    assert memory.ballast.bytes == 0


def test_what_is_held_is_let_go_of_as_others_need_it() -> None:
    memory = Memory(FREE + 5 * MIB)
    with memory.ballast:
        memory.ballast.fill()
        memory.used = 3 * MIB
        assert memory.until(held=2 * MIB)


def test_nothing_is_held_any_more_at_the_end() -> None:
    memory = Memory(FREE + 5 * MIB)
    with memory.ballast:
        memory.ballast.fill()
    assert memory.ballast.bytes == 0
