"""As much of Thrift's compact protocol as a Parquet file takes: some fields are read, others passed over.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Wanted = Mapping[int, Any]
"""Numbers of the fields that are wanted -> None for a number, bytes or a list of them, or what is wanted of
the structure, or of each structure in a list."""

_DEEPEST = 8
_BOOLEANS, _NUMBERS, _BYTES, _LISTS, _STRUCT = (1, 2), (4, 5, 6), 8, (9, 10), 12


class Reader:
    """Reads from the beginning of some bytes; `at` says how far it is.

    IndexError at the end of the bytes, ValueError for what is not this protocol.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.at = 0

    def struct(self, wanted: Wanted, depth: int = 0) -> dict[int, Any]:
        """The wanted fields that are there, by number."""
        found: dict[int, Any] = {}
        field = 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self._number()
            if field in wanted:
                found[field] = self._value(head & 15, wanted[field], depth)
            else:
                self._pass(head & 15, depth)
        return found

    def _value(self, kind: int, wanted: Wanted | None, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")
        if kind in _LISTS:
            kind, size = self._list()
            return [self._value(kind, wanted, depth + 1) for _ in range(size)]
        if wanted is not None:
            if kind != _STRUCT:
                raise ValueError("no structure")
            return self.struct(wanted, depth + 1)
        if kind in _NUMBERS:
            return self._number()
        if kind == _BYTES:
            size = self._varint()
            self._skip(size)
            return self._content[self.at - size : self.at]
        raise ValueError("a value of another kind")

    def _pass(self, kind: int, depth: int) -> None:
        """Pass over a value of this kind."""
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")
        match kind:
            case 1 | 2:  # true, false: the kind is the value
                pass
            case 3:  # a byte
                self._skip(1)
            case 4 | 5 | 6:  # 16, 32, 64 bits
                self._varint()
            case 7:  # a double
                self._skip(8)
            case 8:  # bytes
                self._skip(self._varint())
            case 9 | 10:  # a list, a set
                kind, size = self._list()
                for _ in range(size):
                    self._skip(1) if kind in _BOOLEANS else self._pass(kind, depth + 1)
            case 12:  # a structure
                while head := self._byte():
                    if not head >> 4:
                        self._number()
                    self._pass(head & 15, depth + 1)
            case _:
                raise ValueError("a value of no known kind")

    def _list(self) -> tuple[int, int]:
        """The kind of the values that follow, and their number."""
        head = self._byte()
        return head & 15, head >> 4 if head >> 4 < 15 else self._varint()

    def _byte(self) -> int:
        self.at += 1
        return self._content[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise ValueError("a number without end")

    def _number(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _skip(self, size: int) -> None:
        self.at += size
        if self.at > len(self._content):
            raise IndexError("ends too early")
