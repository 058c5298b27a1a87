"""Sends the same requests to our token service and to oidc-provider; prints their answers.

`python -m tests.conformance` prints a table of those that differ, `--all` of all.
"""

import asyncio
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.conformance.cases import CASES, Case
from tests.conformance.place import Answer, exchange
from tests.conformance.servers import ours, peers, prepare
from tests.integration.token.house import House


async def compare() -> Sequence[tuple[Case, Answer, Answer]]:
    """Return each request with both answers."""
    with tempfile.TemporaryDirectory() as folder:
        async with ours(House(Path(folder))) as here, peers() as there:
            for place in (here, there):
                await prepare(place)
            return [
                (
                    case,
                    await exchange(here, case.make(here)),
                    await exchange(there, case.make(there)),
                )
                for case in CASES
            ]


def table(rows: Sequence[tuple[Case, Answer, Answer]], *, everything: bool) -> Iterator[str]:
    """Return the lines of a table in Markdown; requests that go alike share one.

    Where only headers differ, that is said for the requests that have a rule about them.
    """
    alike: dict[tuple[str, str, str], list[str]] = {}
    for case, one, other in rows:
        is_other = str(one) != str(other) and (case.rule or one.outcome != other.outcome)
        if everything or is_other:
            alike.setdefault((str(one), str(other), case.rule), []).append(case.does)
    yield "| a request | ours | oidc-provider's | what decides |"
    yield "|---|---|---|---|"
    for answers_and_rule, requests in alike.items():
        yield f"| {'; '.join(requests)} | {' | '.join(answers_and_rule)} |"


if __name__ == "__main__":
    answers = asyncio.run(compare())
    for line in table(answers, everything="--all" in sys.argv):
        sys.stdout.write(f"{line}\n")
    same = sum(one.outcome == other.outcome for _, one, other in answers)
    sys.stdout.write(f"\n{len(answers)} requests, {same} with the same status and code\n")
