"""Writes of one turn of the event loop leave as one."""

import asyncio

import pytest

from shared import one_write
from shared.one_write import JoinedWrites


class Wire(asyncio.Transport):
    """A transport that remembers what it was told, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[object] = []

    def write(self, data: object) -> None:
        self.told.append(data)

    def close(self) -> None:
        self.told.append("closed")

    def write_eof(self) -> None:
        self.told.append("ended")

    def resume_reading(self) -> None:
        self.told.append("reading")

    def get_protocol(self) -> asyncio.BaseProtocol:
        return asyncio.Protocol()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Nobody listens to this wire."""

    def is_closing(self) -> bool:
        return "closed" in self.told


async def test_what_is_written_in_one_turn_is_one_packet() -> None:
    """Head and body of an answer wake the client once."""
    wire = Wire()
    joined = JoinedWrites(wire, asyncio.get_running_loop())

    joined.write(b"head ")
    joined.write(b"body")
    assert wire.told == []
    await asyncio.sleep(0)
    joined.write(b"next")
    await asyncio.sleep(0)

    assert wire.told == [b"head body", b"next"]


async def test_nothing_is_lost_by_closing() -> None:
    """An answer that ends its connection is sent before it ends."""
    wire = Wire()
    joined = JoinedWrites(wire, asyncio.get_running_loop())

    joined.write(b"last words")
    joined.close()
    await asyncio.sleep(0)

    assert wire.told == [b"last words", "closed"]


async def test_a_client_that_is_still_sending_is_told_before_it_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two steps: our side ends, and what still comes is read away; a second call waits no more."""
    monkeypatch.setattr(one_write, "LINGER_SECONDS", 0.01)
    loop = asyncio.get_running_loop()
    for is_hurried in (False, True):
        wire = Wire()
        joined = JoinedWrites(wire, loop, lambda: True)

        joined.write(b"stop")
        joined.close()
        assert wire.told == [b"stop", "ended", "reading"]
        assert joined.is_closing()
        if is_hurried:
            joined.close()
        else:
            await asyncio.sleep(0.05)

        assert wire.told[-1] == "closed"


async def test_all_else_is_the_transport_s() -> None:
    """Flow control and addresses are none of its business."""
    wire = Wire()
    joined = JoinedWrites(wire, asyncio.get_running_loop())

    assert not joined.is_closing()
    wire.close()
    assert joined.is_closing()
