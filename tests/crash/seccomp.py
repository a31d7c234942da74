"""Holds a process at each system call that changes files, while another process decides what becomes of it.

A seccomp filter asks a supervisor (seccomp_unotify(2); no privilege, no compiler). Calls are seen below every
library: what C and Rust code writes counts like what Python writes. From Linux 5.19 on: earlier, a signal
would take a thread out of a held call with EINTR, which mkdir and rename never return in the real world.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import select
import signal
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

_NUMBERS = {
    # name: (x86_64, aarch64)
    "write": (1, 64), "pwrite64": (18, 68), "writev": (20, 66), "pwritev": (296, 70),
    "sendfile": (40, 71), "copy_file_range": (326, 285), "fsync": (74, 82), "fdatasync": (75, 83),
    "truncate": (76, 45), "ftruncate": (77, 46), "fallocate": (285, 47), "open": (2, None),
    "creat": (85, None), "openat": (257, 56), "rename": (82, None), "renameat": (264, 38),
    "renameat2": (316, 276), "link": (86, None), "linkat": (265, 37), "symlink": (88, None),
    "symlinkat": (266, 36), "unlink": (87, None), "unlinkat": (263, 35), "mkdir": (83, None),
    "mkdirat": (258, 34), "rmdir": (84, None), "seccomp": (317, 277), "pidfd_getfd": (438, 438),
}  # fmt: skip
_PLACE = {"x86_64": 0, "aarch64": 1}.get(platform.machine())
_NUMBER = {n: each[_PLACE] for n, each in _NUMBERS.items() if _PLACE is not None and each[_PLACE] is not None}
_WATCHED = {number: name for name, number in _NUMBER.items() if name not in {"seccomp", "pidfd_getfd"}}
_FLAGS_OF_OPEN = {"open": 1, "openat": 2}  # which argument

_NO_NEW_PRIVILEGES, _FILTER, _NEW_LISTENER, _WAIT_KILLABLE = 38, 1, 1 << 3, 1 << 5
_RECEIVE, _SEND, _CONTINUE = 0xC0502100, 0xC0182101, 1
_NOTICE = struct.Struct("=QIIiIQ6Q")  # id, thread, flags, then seccomp_data: number, arch, ip, args
_ANSWER = struct.Struct("=QqiI")  # id, value, -errno, flags
_HERE, _REMOVE_FOLDER = -100, 0x200  # AT_FDCWD, AT_REMOVEDIR

_libc = ctypes.CDLL(None, use_errno=True)


class Unsupported(Exception):
    """The system does not let a process watch its child."""


@dataclass(frozen=True)
class Call:
    """A system call that is being held."""

    id: int
    kind: str
    """write, sync, truncate, create, rename, link, unlink, mkdir or rmdir."""
    path: str
    """The absolute path it changes."""
    target: str = ""
    """The new name: rename, link."""
    fd: int = -1
    size: int = 0
    """Bytes to write, or the length to cut or extend to."""
    pieces: tuple[tuple[int, int], ...] = field(default=(), repr=False)
    """Where in the process's memory they are: (address, length)."""
    source: int = -1
    """The descriptor they are copied from, if not from memory."""
    source_place: int | None = None
    """Where to read there; None is where the descriptor stands."""
    offset: int | None = None
    """Where to write them; None is where the descriptor stands."""


def install() -> int:
    """From now on every watched call of this process waits for an answer; the descriptor to answer by."""
    if _PLACE is None:
        raise Unsupported(f"no table of system calls for {platform.machine()}")
    load, equal, has_bits, give = 0x20, 0x15, 0x45, 0x06
    allow, ask = (give, 0, 0, 0x7FFF0000), (give, 0, 0, 0x7FC00000)
    program = [(load, 0, 0, 0)]
    for number, name in _WATCHED.items():
        if name in _FLAGS_OF_OPEN:  # only what may create or empty a file
            flags = (load, 0, 0, 16 + 8 * _FLAGS_OF_OPEN[name])
            program += [(equal, 0, 4, number), flags, (has_bits, 0, 1, os.O_CREAT | os.O_TRUNC), ask, allow]
        else:
            program += [(equal, 0, 1, number), ask]
    program.append(allow)
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    fprog = struct.pack("@HP", len(program), ctypes.addressof(buffer))
    if _libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        raise Unsupported("prctl(PR_SET_NO_NEW_PRIVS) is refused")
    listener = _libc.syscall(_NUMBER["seccomp"], _FILTER, _NEW_LISTENER | _WAIT_KILLABLE, fprog)
    if listener < 0:
        raise Unsupported(f"seccomp with a listener is refused: {os.strerror(ctypes.get_errno())}")
    return int(listener)


class Watch:
    """The supervisor's side: the held calls of a child, one after the other; each must be answered."""

    def __init__(self, pid: int, listener: int, seconds: float) -> None:
        self._pid = pid
        self._listener = listener
        self._process = os.pidfd_open(pid)
        self._memory = self._open_memory()
        self._deadline = time.monotonic() + seconds
        self._poll = select.poll()
        self._poll.register(listener, select.POLLIN)
        self._poll.register(self._process, select.POLLIN)

    def close(self) -> None:
        for descriptor in (self._listener, self._process, self._memory):
            os.close(descriptor)

    def calls(self) -> Iterator[Call]:
        """Until the child has ended. TimeoutError, the child killed, if that takes too long."""
        while True:
            ready = dict(self._poll.poll(max(0.0, self._deadline - time.monotonic()) * 1000))
            if ready.get(self._listener, 0) & select.POLLIN:
                if call := self._receive():
                    yield call
            elif ready:
                return
            else:
                self.kill()
                raise TimeoutError(f"process {self._pid} hangs")

    def go_on(self, call: Call) -> None:
        self._answer(call, flags=_CONTINUE)

    def fail(self, call: Call, number: int) -> None:
        """The call returns this errno and does nothing."""
        self._answer(call, error=-number)

    def done(self, call: Call, num_bytes: int) -> None:
        """The call returns so many bytes written."""
        self._answer(call, value=num_bytes)

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)

    def write_half(self, call: Call) -> int:
        """Do the first half of a write in the child's stead, through its own descriptor; bytes written."""
        content = self.content(call)[: max(1, call.size // 2)]
        descriptor = _libc.syscall(_NUMBER["pidfd_getfd"], self._process, call.fd, 0)
        if descriptor < 0:
            raise Unsupported(f"pidfd_getfd is refused: {os.strerror(ctypes.get_errno())}")
        try:
            if call.offset is None:
                return os.write(descriptor, content)
            return os.pwrite(descriptor, content, call.offset)
        finally:
            os.close(descriptor)

    def content(self, call: Call) -> bytes:
        """The bytes that a call is about to write."""
        if call.source >= 0:
            place = self._position(call.source)[0] if call.source_place is None else call.source_place
            with open(f"/proc/{self._pid}/fd/{call.source}", "rb") as file:
                file.seek(place)
                return file.read(call.size)
        return b"".join(self._read(address, length) for address, length in call.pieces)

    def place(self, call: Call) -> int:
        """The offset in the file at which a call is about to write."""
        if call.offset is not None:
            return call.offset
        position, is_appending = self._position(call.fd)
        return os.stat(f"/proc/{self._pid}/fd/{call.fd}").st_size if is_appending else position

    def _position(self, fd: int) -> tuple[int, bool]:
        with open(f"/proc/{self._pid}/fdinfo/{fd}") as file:
            facts = dict(line.split(":", 1) for line in file if ":" in line)
        return int(facts["pos"]), bool(int(facts["flags"], 8) & os.O_APPEND)

    def _answer(self, call: Call, value: int = 0, error: int = 0, flags: int = 0) -> None:
        with suppress(FileNotFoundError):  # it is dead
            fcntl.ioctl(self._listener, _SEND, _ANSWER.pack(call.id, value, error, flags))

    def _receive(self) -> Call | None:
        notice = bytearray(_NOTICE.size)
        try:
            fcntl.ioctl(self._listener, _RECEIVE, notice)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):
                return None
            raise
        call_id, _, _, number, _, _, *arguments = _NOTICE.unpack(notice)
        return self._decode(call_id, _WATCHED[number], arguments)

    def _decode(self, call_id: int, name: str, a: list[int]) -> Call:
        match name:
            case "write" | "pwrite64":
                offset = a[3] if name == "pwrite64" else None
                return Call(
                    call_id, "write", self._opened(a[0]), "", a[0], a[2], ((a[1], a[2]),), offset=offset
                )
            case "writev" | "pwritev":
                vector = self._read(a[1], 16 * a[2])
                pieces = tuple(struct.iter_unpack("=QQ", vector))
                offset = a[3] if name == "pwritev" else None
                size = sum(length for _, length in pieces)
                return Call(call_id, "write", self._opened(a[0]), "", a[0], size, pieces, offset=offset)
            case "sendfile":
                return self._copy(call_id, a[0], a[1], a[2], a[3])
            case "copy_file_range":
                return self._copy(call_id, a[2], a[0], a[1], a[4])
            case "fsync" | "fdatasync":
                return Call(call_id, "sync", self._opened(a[0]), fd=a[0])
            case "ftruncate":
                return Call(call_id, "truncate", self._opened(a[0]), fd=a[0], size=a[1])
            case "fallocate":
                return Call(call_id, "truncate", self._opened(a[0]), fd=a[0], size=a[2] + a[3])
            case "truncate":
                return Call(call_id, "truncate", self._path(a[0]), size=a[1])
            case "open" | "creat":
                flags = a[1] if name == "open" else os.O_CREAT | os.O_TRUNC
                return Call(call_id, "create", self._path(a[0]), size=flags)
            case "openat":
                return Call(call_id, "create", self._path(a[1], a[0]), size=a[2])
            case "rename" | "link" | "symlink":
                return Call(call_id, name, self._path(a[0]), self._path(a[1]))
            case "renameat" | "renameat2" | "linkat":
                kind = "link" if name == "linkat" else "rename"
                return Call(call_id, kind, self._path(a[1], a[0]), self._path(a[3], a[2]))
            case "symlinkat":
                return Call(call_id, "symlink", "", self._path(a[2], a[1]))
            case "unlinkat":
                kind = "rmdir" if a[2] & _REMOVE_FOLDER else "unlink"
                return Call(call_id, kind, self._path(a[1], a[0]))
            case "mkdirat":
                return Call(call_id, "mkdir", self._path(a[1], a[0]))
            case _:  # unlink, mkdir, rmdir
                return Call(call_id, name, self._path(a[0]))

    def _open_memory(self) -> int:
        return os.open(f"/proc/{self._pid}/mem", os.O_RDONLY)

    def _read(self, address: int, length: int) -> bytes:
        """Bytes of the process's memory, at least one."""
        content = os.pread(self._memory, length, address)
        if length and not content:  # it has become another program: the old memory is gone
            os.close(self._memory)
            self._memory = self._open_memory()
            content = os.pread(self._memory, length, address)
            if not content:
                raise Unsupported(f"the memory of process {self._pid} cannot be read")
        return content

    def _copy(self, call_id: int, target: int, source: int, offset: int, size: int) -> Call:
        """A copy from descriptor to descriptor; `offset` is the address of where in the source, or 0."""
        place = struct.unpack("=q", self._read(offset, 8))[0] if offset else None
        path = self._opened(target)
        return Call(call_id, "write", path, fd=target, size=size, source=source, source_place=place)

    def _opened(self, fd: int) -> str:
        try:
            return os.readlink(f"/proc/{self._pid}/fd/{fd}")
        except OSError:
            return ""

    def _path(self, address: int, folder: int = _HERE) -> str:
        content = b""
        while b"\0" not in content:  # up to the end of a page: the next may not be there
            at = address + len(content)
            content += self._read(at, 4096 - at % 4096)
        path = os.fsdecode(content[: content.index(b"\0")])
        folder = ctypes.c_int(folder).value
        start = os.readlink(f"/proc/{self._pid}/cwd") if folder == _HERE else self._opened(folder)
        return os.path.normpath(os.path.join(start, path))
