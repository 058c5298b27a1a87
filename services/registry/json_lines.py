"""Files of JSON lines, as imports read them: line by line, each good or bad by itself."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, TypeVar

# A line that is longer is not one of ours; it is not taken into memory.
LINE_LIMIT = 262_144
T = TypeVar("T")
NO_OBJECT = "not a JSON object"
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class RawLine:
    """A line of a file. `end` is how many bytes of the file it and all above it take."""

    number: int
    content: bytes = field(repr=False)
    end: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a line cannot be taken, in words without its content."""

    line: int
    reason: str


def raw_lines_of(file: IO[bytes], on_fault: Callable[[Fault], None]) -> Iterator[RawLine]:
    """Yield the lines that are not empty; one that is too long is told, and skipped."""
    end = number = 0
    while raw := file.readline(LINE_LIMIT + 1):
        number += 1
        end += len(raw)
        if len(raw) > LINE_LIMIT:
            while not raw.endswith(b"\n") and (raw := file.readline(LINE_LIMIT)):
                end += len(raw)
            on_fault(Fault(number, f"longer than {LINE_LIMIT} bytes"))
            continue
        if number == 1:
            raw = raw.removeprefix(_BOM)
        if content := raw.strip():
            yield RawLine(number, content, end)


def batches_of(lines: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of so many lines; the last may be shorter."""
    left = iter(lines)
    while batch := list(islice(left, size)):
        yield batch
