"""The one way in which files are read here: whole, and only what is a regular file.

A pipe, a socket or a device may never end, or never begin; opening a pipe alone waits for who writes to it. So a file
is opened without waiting, and looked at before it is read. How long a dead network file system may take is left to
callers.
"""

import errno
import os
import re
import stat
from pathlib import Path

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_ACCEPTED = "accepted: a regular file, or a link to one"

# What a shell opens before a command starts: `<(command)` is /dev/fd/63.
_OPENED_BY_SHELL = re.compile(r"/dev/stdin|/dev/fd/\d+|/proc/self/fd/\d+", re.ASCII)


class FileTooLarge(OSError):
    """A file has more bytes than are read."""


def read_file_bytes(file: Path, *, largest: int | None = None, may_be_pipe: bool = False) -> bytes:
    """All bytes of a regular file. Raises OSError with the file's name and, as `strerror`, what is wrong and accepted.

    `largest`: how many bytes it may have, else FileTooLarge. `may_be_pipe`: whether what the shell opened (/dev/stdin,
    /dev/fd/N) may be a pipe: for commands that run once, as a pipe can be read once.
    """
    descriptor = _open(file)
    try:
        is_pipe = _check(file, os.fstat(descriptor).st_mode, may_be_pipe=may_be_pipe)
    except BaseException:
        os.close(descriptor)
        raise
    if is_pipe:
        os.set_blocking(descriptor, True)
    with os.fdopen(descriptor, "rb") as stream:
        content: bytes | None = stream.read() if largest is None else stream.read(largest + 1)
    if content is None:  # a file of the kernel's own that has nothing to say yet
        raise OSError(errno.EAGAIN, f"there is nothing in it yet; {_ACCEPTED}", str(file))
    if largest is not None and len(content) > largest:
        raise FileTooLarge(errno.EFBIG, f"is larger than {largest} bytes", str(file))
    return content


def _open(file: Path) -> int:
    try:
        return os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except ValueError as error:  # a zero byte, or half of a character
        raise OSError(errno.EINVAL, f"no file has such a name; {_ACCEPTED}", str(file)) from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, f"its links lead in a circle; {_ACCEPTED}", str(file)) from error
        if error.errno == errno.ENXIO:  # what sockets say, and devices that are not there
            _check(file, file.stat().st_mode, may_be_pipe=False)
        raise


def _check(file: Path, mode: int, *, may_be_pipe: bool) -> bool:
    """Whether it is a pipe that may be read; False for a regular file. Raises OSError for anything else."""
    if stat.S_ISREG(mode):
        return False
    if may_be_pipe and stat.S_ISFIFO(mode) and _OPENED_BY_SHELL.fullmatch(str(file)):
        return True
    kind = _KINDS.get(stat.S_IFMT(mode), "something else")
    raise OSError(errno.EINVAL, f"it is {kind}; {_ACCEPTED}", str(file))
