"""The metadata of an ONNX file, without a package that reads ONNX.

Such packages belong to training or take long to load, and some take garbage for other formats and complain of it
on stderr. Walking over the file's outermost fields is all that is needed.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator
from pathlib import Path

__all__ = ["read_metadata"]

# Field numbers of ModelProto and StringStringEntryProto in onnx.proto.
GRAPH, METADATA_PROPS, ENTRY_KEY, ENTRY_VALUE = 7, 14, 1, 2


def read_metadata(file: Path) -> tuple[dict[str, str], str]:
    """Read the metadata of an ONNX file.

    Parameters
    ----------
    file : pathlib.Path

    Returns
    -------
    metadata : dict of str to str
    sha256 : str
        Of the whole file, in hexadecimal.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError, IndexError
        If it is not ONNX, or is cut off.
    """
    with file.open("rb") as stream:
        data = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    metadata, has_graph = {}, False
    for number, value in _walk_fields(data):
        has_graph |= number == GRAPH and len(value) > 0
        if number == METADATA_PROPS:
            entry = dict(_walk_fields(value))
            metadata[str(entry[ENTRY_KEY], "utf-8")] = str(entry.get(ENTRY_VALUE, b""), "utf-8")
    if not has_graph:
        raise ValueError("no graph")
    return metadata, hashlib.sha256(data).hexdigest()


def _walk_fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and content of a message's fields, as protobuf.dev/programming-guides/encoding has it."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        if tag & 7 == 0:
            start = at
            _, at = _read_varint(data, at)
            size = at - start
            at = start
        elif tag & 7 == 2:
            size, at = _read_varint(data, at)
        else:
            size = {1: 8, 5: 4}.get(tag & 7, len(data))
        if at + size > len(data):
            raise ValueError("a field reaches beyond the end")
        yield tag >> 3, data[at : at + size]
        at += size


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
