"""What the image starts: first of all, that no word to stop is lost."""

import os
import signal


def entry() -> int:
    """The console script of the image.

    The first process of a container loses each signal that it has no handler for (pid_namespaces(7)), and importing the
    operator takes a while: the kubelet would wait in vain, and kill it after the grace period. Until `App.run` takes
    the signal over there is nothing to end in good order.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda number, _frame: os._exit(128 + number))
    from export_operator import __main__

    return __main__.main()
