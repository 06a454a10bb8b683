"""A lock on an open file that the system takes back when its process ends, however it ends: none is ever stale."""

import errno
import sys
from typing import BinaryIO

# Network file systems may come without locks; there two runs on one output are not told apart.
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


def lock(file: BinaryIO) -> bool:
    """Take the lock until ``file`` is closed. False where another open file, of this process or another, has it."""
    try:
        _lock(file)
    except OSError as error:
        return error.errno in _NO_LOCKS
    return True


if sys.platform == "win32":
    import msvcrt

    # Windows locks bytes, and nobody could read those of the content.
    _FAR_BEYOND = 2**62

    def _lock(file: BinaryIO) -> None:
        file.seek(_FAR_BEYOND)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        file.seek(0)

else:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
