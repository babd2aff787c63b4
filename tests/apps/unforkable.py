"""An application whose process cannot fork, if the file `no-fork` exists when it is loaded."""

import ctypes
import errno
import os
import struct

from probe import application as application  # type: ignore[import-not-found]

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
# clone, fork, vfork, clone3 on x86-64.
FORKS = (56, 57, 58, 435)

LOAD_NUMBER = (0x20, 0, 0, 0)
ALLOW = (0x06, 0, 0, 0x7FFF0000)
REFUSE = (0x06, 0, 0, 0x00050000 | errno.EAGAIN)


class Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def refuse_forks() -> None:
    """Makes the kernel fail every fork, as with too many processes."""
    count = len(FORKS)
    # Each comparison jumps to the last instruction when it is true.
    compare = [(0x15, count - index, 0, number) for index, number in enumerate(FORKS)]
    instructions = [LOAD_NUMBER, *compare, ALLOW, REFUSE]
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
    library = ctypes.CDLL(None, use_errno=True)
    program = Program(len(instructions), code)
    zero = ctypes.c_ulong(0)
    if library.prctl(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")
    if (
        library.prctl(PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), ctypes.byref(program), zero, zero)
        != 0
    ):
        raise OSError(ctypes.get_errno(), "seccomp")


if os.path.exists("no-fork"):
    refuse_forks()
