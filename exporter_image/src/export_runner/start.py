"""What the image starts: first of all, that no word to stop is lost."""

import gc
import os
import signal


def entry() -> None:
    """The console script of the image.

    The first process of a container loses each signal that it has no handler for yet (pid_namespaces(7)), and importing
    the exporter takes a while. A blocked signal waits for its handler instead (signal(7)).
    """
    if os.getpid() == 1:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    gc.disable()  # what is loaded stays: looking for garbage among it takes a while
    from export_runner import __main__

    gc.enable()
    __main__.entry()


if __name__ == "__main__":
    entry()
