"""A compromised application: `/attack/NAME` overwrites the server's shared memory, or sends on its channels.

Other requests are answered with their query and body, `/file` from a file. The offsets in the memory are
those of `crates/exchange/src/layout.rs`, for `CHILDREN` slots of one thread and a queue of 1024.
"""

from __future__ import annotations

import ctypes
import io
import os
import signal
import socket
import stat
import struct
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

LINE = 64
PAGE = 4096
# Four processes, as many again for leaving ones, and one for a replacement.
CHILDREN = 9
SLOTS = 1024 + 2 * CHILDREN
# Slots from here on are free: there are fewer requests at once, and the front takes the slot that was freed
# last. Others may be filled between a look at them and a write: that would attack the request in them.
IDLE_SLOTS = range(16, SLOTS)
ENTRIES_COUNT = 4096
RING = 256 * 1024

HEAD = 0
TAIL = LINE
FRONT = 2 * LINE
DIRTY = 3 * LINE
WORDS = 4 * LINE
ENTRIES = WORDS + LINE * SLOTS
PLACES = ENTRIES + 8 * ENTRIES_COUNT
CHILD = PLACES + -(-252 * SLOTS // LINE) * LINE
THREAD = CHILD + LINE * CHILDREN
INLINE = THREAD + 128 * CHILDREN
INLINE_STRIDE = 3904
BLOCKS = -(-(INLINE + INLINE_STRIDE * SLOTS) // PAGE) * PAGE
RINGS = BLOCKS + 1024 * 16 * 1024

CLAIMED = 2 << 60

ASIDE = 0.2
"""Seconds of an attack, during which others must be served."""


class Memory:
    """The shared memory as 64-bit words."""

    def __init__(self) -> None:
        with open("/proc/self/maps") as maps:
            regions = [line.partition("-")[0] for line in maps if "rwsgi-exchange" in line]
        self._base = int(regions[0], 16)

    def word(self, at: int) -> ctypes.c_uint64:
        return ctypes.c_uint64.from_address(self._base + at)

    def bytes(self, at: int, count: int) -> bytes:
        return ctypes.string_at(self._base + at, count)


def tail(memory: Memory, _: int) -> None:
    memory.word(TAIL).value += 2**40


def tail_a_little(memory: Memory, _: int) -> None:
    memory.word(TAIL).value += 100


def head(memory: Memory, _: int) -> None:
    memory.word(HEAD).value += 2**40


def head_a_little(memory: Memory, _: int) -> None:
    memory.word(HEAD).value += 3


def head_back(memory: Memory, _: int) -> None:
    memory.word(HEAD).value -= 2000


def entries(memory: Memory, _: int) -> None:
    for number in range(ENTRIES_COUNT):
        memory.word(ENTRIES + 8 * number).value = 2**64 - 1


def dirty(memory: Memory, _: int) -> None:
    memory.word(DIRTY).value = 2**64 - 1


def rings(memory: Memory, me: int) -> None:
    for thread in range(CHILDREN):
        if thread != me:
            for place in (8, 64):
                memory.word(THREAD + 128 * thread + place).value = 2**40


def bells(memory: Memory, _: int) -> None:
    """Mark the front and the threads as awake."""
    memory.word(FRONT).value = 0
    for thread in range(CHILDREN):
        memory.word(THREAD + 128 * thread).value = 0


def no_news(memory: Memory, _: int) -> None:
    memory.word(DIRTY).value = 0


def signature(memory: Memory, me: int) -> int:
    """The value of a slot's state, without the number of its request, when this thread has claimed it."""
    life = memory.word(CHILD + LINE * me).value >> 32 & 0xFF
    return CLAIMED | me << 48 | life << 40


def sign(memory: Memory, me: int) -> None:
    """Claim free slots."""
    for slot in IDLE_SLOTS:
        word = memory.word(WORDS + LINE * slot)
        if not word.value >> 60:
            word.value = CLAIMED | me << 48 | 1 << 40 | word.value


def frames(memory: Memory, me: int, slots: Iterable[tuple[int, int]], last: bool) -> None:
    """Write frames for these requests into the ring of this thread, without the knowledge of its worker."""
    place = THREAD + 128 * me
    written = memory.word(place + 8).value
    for slot, number in slots:
        frame = (8 << 32, number << 32 | slot, 2 if last else 1, 0)
        for word in frame:
            memory.word(RINGS + RING * me + written % RING).value = word
            written += 8
    memory.word(place + 8).value = written
    memory.word(DIRTY).value |= 1 << me
    # The front reads them when it next has work.
    until = time.monotonic() + ASIDE
    while memory.word(place + 64).value < written and time.monotonic() < until:
        time.sleep(0.001)


def free_often(memory: Memory, me: int) -> None:
    """Claim free slots, and end an answer for each."""
    signed = signature(memory, me)
    free = []
    # As many as have room in a ring, ten times.
    for slot in IDLE_SLOTS[:100]:
        word = memory.word(WORDS + LINE * slot)
        if not word.value >> 60:
            free.append((slot, word.value & 0xFFFFFFFF))
            word.value = signed | word.value
    frames(memory, me, free * 10, last=True)


def answer_beside(memory: Memory, me: int) -> None:
    """Write more of the answer than the thread itself will."""
    frames(memory, me, [own(memory, me)] * 100, last=False)


def die_for_all(memory: Memory, me: int) -> None:
    """Claim all waiting requests, and die: the log names the requests of this process."""
    signed = signature(memory, me)
    for slot, number in others(memory, me):
        memory.word(WORDS + LINE * slot).value = signed | number
    os.kill(os.getpid(), signal.SIGKILL)


def truncate(_: Memory, __: int) -> None:
    held = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if "rwsgi-exchange" in os.readlink(f"/proc/self/fd/{name}"):
                held.append(name)
                os.ftruncate(int(name), 0)
        except OSError:
            pass
    assert not held, "the memory is still held by a descriptor"


def lines() -> Iterable[socket.socket]:
    """The server's channels that this process holds, except that of the log."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > 2 and stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                with socket.socket(fileno=os.dup(int(name))) as line:
                    if line.type == socket.SOCK_SEQPACKET:
                        yield line
        except OSError:
            pass


def send(*messages: bytes) -> None:
    """Send on every channel, as far as it has room."""
    for line in lines():
        # The other end may be closed after the first message.
        with suppress(BrokenPipeError, ConnectionResetError):
            for message in messages:
                line.send(message, socket.MSG_DONTWAIT)


def born(_: Memory, __: int) -> None:
    """Claim that process 1 was born or forked as a child, and send an invalid message."""
    send(struct.pack("<BI", 1, 1), struct.pack("<BI", 6, 1), b"garbage")
    # It is killed for this, and must not take a further request before.
    signal.pause()


def flood(_: Memory, __: int) -> None:
    """Repeat messages that a child sends once, on channels that block instead of failing."""
    held = [line.dup() for line in lines()]
    while True:
        for line in held:
            try:
                line.send(b"\x04", socket.MSG_DONTWAIT)
            except BlockingIOError:
                pass
            except OSError:
                signal.pause()


def others(memory: Memory, me: int) -> Iterable[tuple[int, int]]:
    """Requests that wait, or that another child has: slot and number."""
    for slot in range(SLOTS):
        word = memory.word(WORDS + LINE * slot).value
        state, owner = word >> 60, word >> 48 & 0xFFF
        if state and not (state == CLAIMED >> 60 and owner == me):
            yield slot, word & 0xFFFFFFFF


def own(memory: Memory, me: int) -> tuple[int, int]:
    """The request of this attack: slot and number."""
    for slot in range(SLOTS):
        word = memory.word(WORDS + LINE * slot).value
        is_own = word >> 60 == CLAIMED >> 60 and word >> 48 & 0xFFF == me
        # Other requests of this thread have unread answers, or were claimed by an attack.
        if is_own and b"/attack/" in memory.bytes(INLINE + INLINE_STRIDE * slot, 200):
            return slot, word & 0xFFFFFFFF
    raise LookupError("this thread runs no attack")


def desk() -> socket.socket:
    """The channel to the front, shared by all children. That to the supervisor has several numbers."""
    found: dict[int, list[socket.socket]] = {}
    for line in lines():
        found.setdefault(os.fstat(line.fileno()).st_ino, []).append(line.dup())
    # The channel to the log process is older.
    return [held[0] for held in found.values() if len(held) == 1][-1]


def ask(memory: Memory, me: int) -> None:
    """Ask for the bodies of other children's requests."""
    until, line, stolen = time.monotonic() + ASIDE, desk(), 0
    while time.monotonic() < until:
        for slot, number in others(memory, me):
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with ours:
                with theirs:
                    note = struct.pack("<Q", slot << 32 | number)
                    socket.send_fds(line, [note], [theirs.fileno()])
                _, descriptors, *_ = socket.recv_fds(ours, 1, 1)
                stolen += len(descriptors)
    line.close()
    assert not stolen, f"{stolen} bodies of other requests"


def give(memory: Memory, me: int) -> None:
    """Give a file as the answer to other children's requests."""
    until, line = time.monotonic() + ASIDE, desk()
    with tempfile.TemporaryFile() as file:
        file.write(b"forged" * 100)
        file.flush()
        while time.monotonic() < until:
            for slot, number in others(memory, me):
                note = struct.pack("<3Q", slot << 32 | number, 0, 600)
                socket.send_fds(line, [note], [file.fileno()])
    line.close()


def copy(memory: Memory, me: int) -> None:
    """A process forked here gives a file for the answer to this request."""
    slot, number = own(memory, me)
    line, pid = desk(), os.fork()
    if not pid:
        with open("/dev/null") as file:
            socket.send_fds(line, [struct.pack("<3Q", slot << 32 | number, 0, 1)], [file.fileno()])
        os._exit(0)
    os.waitpid(pid, 0)
    line.close()


ATTACKS: dict[str, Callable[[Memory, int], None]] = {
    attack.__name__: attack
    for attack in (
        tail,
        tail_a_little,
        head,
        head_a_little,
        head_back,
        entries,
        dirty,
        rings,
        bells,
        no_news,
        sign,
        free_often,
        answer_beside,
        truncate,
        born,
        flood,
        ask,
        give,
        copy,
    )
}


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    _, act, name, *_ = (environ["PATH_INFO"] + "//").split("/")
    answer = environ["QUERY_STRING"].encode() + environ["wsgi.input"].read()
    if act == "attack":
        memory = Memory()
        attack = die_for_all if name == "die_for_all" else ATTACKS[name]
        attack(memory, environ["rwsgi.child"])
        answer = struct.pack("<Q", memory.word(TAIL).value)
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    if act == "file":
        file = io.FileIO(os.memfd_create("answer"), "r+")
        file.write(answer)
        file.seek(0)
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](file)
        return wrapped
    return [answer]
