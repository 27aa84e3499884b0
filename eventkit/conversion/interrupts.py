"""Workers that never get a Ctrl-C: the coordinator alone does, and lets them finish."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Processes and threads begun here never get a Ctrl-C.

    It goes to all processes of a terminal; workers keep this mask, so that it reaches the
    coordinator alone, which lets them finish what they have begun.
    """
    resource_tracker.ensure_running()  # its start unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
