"""What is wrong, noted by the projector for every worker process of the host, which tells it."""

from contextlib import suppress
from pathlib import Path


class Trouble:
    """A file beside the projection, there while there is something to tell.

    On a disk that is full there is none: then this process alone tells it.
    """

    def __init__(self, folder: Path, name: str = "trouble") -> None:
        self._path = folder / name
        self._unwritten: str | None = None

    def read(self) -> str | None:
        """Return why, or None."""
        if self._unwritten is not None:
            return self._unwritten
        try:
            return self._path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    def note(self, trouble: str | None) -> None:
        """Note why, or that all is well again."""
        if trouble == self.read() and self._unwritten is None:
            return
        self._unwritten = trouble
        with suppress(OSError):
            if trouble is None:
                self._path.unlink(missing_ok=True)
                return
            beside = self._path.with_suffix(".new")
            beside.write_text(trouble, encoding="utf-8")
            # In one step: nobody reads half a sentence.
            beside.replace(self._path)
            self._unwritten = None
