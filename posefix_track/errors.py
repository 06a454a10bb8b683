"""Every error this project raises on purpose.

    PosefixError            exit code 1
    ├── UsageError          2   the request itself is wrong (flags, an existing output)
    ├── InputError          3   a file, video or array cannot be used as it is
    ├── IncompleteError     4   done in part; the message names what is missing
    └── ResourceError       5   out of memory, disk or a device that was asked for

A message is one sentence that says what, where and what to do; the command line prints it as it is.
"""


class PosefixError(Exception):
    """Base of all errors raised on purpose."""

    exit_code = 1


class UsageError(PosefixError):
    """The request itself is wrong."""

    exit_code = 2


class InputError(PosefixError):
    """A file, video or array cannot be used as it is."""

    exit_code = 3


class IncompleteError(PosefixError):
    """The work was done in part."""

    exit_code = 4


class ResourceError(PosefixError):
    """Out of memory, disk or a device that was asked for."""

    exit_code = 5
