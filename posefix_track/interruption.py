"""Ctrl-C and SIGTERM end a run at once, even within code that knows nothing of signals; readers of a pipe may go."""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

INTERRUPTED, TERMINATED = 130, 143
# The main thread gets this long to stop in good order; the journal is sound whenever the process ends.
_PATIENCE_SECONDS = 1.5


class TerminatedError(KeyboardInterrupt):
    """SIGTERM has come."""


@contextlib.contextmanager
def ending_in_time() -> Iterator[None]:
    """Within the block SIGTERM raises TerminatedError as Ctrl-C raises KeyboardInterrupt.

    A process whose main thread does not leave the block within 1.5 seconds of the first signal, or gets a second one,
    ends there and then with exit code 130 or 143. Outside the main thread, where no signal arrives, nothing happens.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    watcher = threading.Thread(target=_watch, args=(ours,), daemon=True)
    terminate = signal.signal(signal.SIGTERM, _raise_terminated)
    wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        signal.signal(signal.SIGTERM, terminate)
        theirs.close()
        watcher.join()
        ours.close()


def leave_the_pipe() -> None:
    """After a BrokenPipeError of the standard output: the interpreter flushes it once more at the end, into nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _raise_terminated(number: int, frame: FrameType | None) -> NoReturn:
    raise TerminatedError


def _watch(signals: socket.socket) -> None:
    """End the process if need be. A byte is the number of a signal; no byte is the end of the block."""
    number = b""
    while not (number and number[0] in (signal.SIGINT, signal.SIGTERM)):
        number = signals.recv(1)
        if not number:
            return
    signals.settimeout(_PATIENCE_SECONDS)
    with contextlib.suppress(TimeoutError):
        if not signals.recv(1):
            return
    sys.stderr.write("error: interrupted; frames that are done are kept, and the same command with --resume goes on\n")
    sys.stderr.flush()
    os._exit(TERMINATED if number[0] == signal.SIGTERM else INTERRUPTED)
