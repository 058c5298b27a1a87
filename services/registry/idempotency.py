"""`Idempotency-Key`: a POST that is sent again is done once, and answered the same again.

A record is claimed before the work and holds the sealed answer after it. A process may die, or the
database go, at any line between: the next retry finds a record without an answer, whose salt gives
the same command id, ids and secret again. Has the log the command, it is answered from there; if
not, it is done now. So the log alone decides whether something was done, and it knows each command
once. draft-ietf-httpapi-idempotency-key-header.
"""

import asyncio
import math
from dataclasses import dataclass, replace

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive

from services.registry.callers import Caller
from services.registry.domain import RegistryError
from services.registry.kept_answers import Busy, Claim, Kept, KeptAnswers, Mismatch
from services.registry.keyed_requests import (
    HEADER,
    Derived,
    KeyedRequest,
    fingerprint_of,
    key_of,
)
from services.registry.operations import Operation
from services.registry.recovery import AlreadyDone, Recovery
from services.registry.refusals import try_again
from shared.logs import get_logger
from shared.postgres import POSTGRES_ERRORS
from shared.problem import Problem
from shared.secret_source import SecretSource
from shared.setting_values import ConfigurationError
from shared.web import read_body

# Less than kept_answers.LEASE, so that two never work on one request.
WORK_SECONDS = 25.0
# A larger answer is not kept: its retry is answered from the log.
KEPT_BYTES = 65_536
REPLAYED = {"Idempotency-Replayed": "true"}
_NOT_KEPT = frozenset({b"content-length"})
log = get_logger(__name__)


class _Answer(msgspec.Struct, array_like=True):
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One try to do what a keyed request asks for."""

    claim: Claim
    derived: Derived

    @property
    def is_retry(self) -> bool:
        return self.claim.attempt > 1


class Idempotency:
    """Does each keyed POST once; those without a key pass."""

    def __init__(
        self, credential: SecretSource, *, answers: KeptAnswers, recovery: Recovery, body_limit: int
    ) -> None:
        self._credential = credential
        self._answers = answers
        self._recovery = recovery
        self._body_limit = body_limit

    async def answer(self, operation: Operation, request: Request, caller: Caller) -> Response:
        """Return the operation's answer, or the one that it had before.

        Raises Problem 400 (the key's form), 409 (under way), 422 (the key came with another
        request), and what the operation raises.
        """
        key = key_of(request.headers.getlist(HEADER))
        if key is None:
            return await operation.handler(request)
        body = await read_body(request, limit=self._body_limit)
        keyed = KeyedRequest.of(
            self._current_credential(),
            (caller.token.client_id, caller.user.id),
            key,
            fingerprint_of(
                request.method,
                request.url.path,
                request.url.query,
                request.headers.get("content-type", ""),
                body,
            ),
        )
        match await self._answers.claim(keyed.id, keyed.fingerprint):
            case Claim() as claim:
                attempt = _Attempt(claim, keyed.salted(claim.salt))
                request.state.caller = replace(caller, draws_from=attempt.derived)
                again = Request(request.scope, _replay(body, request.receive))
                return await self._work(operation, again, attempt)
            case Kept(salt=salt, sealed=sealed):
                return _replayed(keyed.salted(salt).open(sealed))
            case Busy(seconds=seconds):
                raise Problem(
                    409,
                    f"The first request with this {HEADER} is still being worked on. Send it again "
                    "later.",
                    headers={"Retry-After": str(max(1, math.ceil(seconds)))},
                )
            case Mismatch():
                raise Problem(
                    422,
                    f"This {HEADER} came with another request before. Use a new key for each "
                    "request, and the same one only to send that request again.",
                )

    def _current_credential(self) -> str:
        """Return what keys and answers are sealed with. Raises Problem 503."""
        try:
            return self._credential()
        except ConfigurationError:
            raise try_again(f"No {HEADER} can be taken at the moment.") from None

    async def _work(self, operation: Operation, request: Request, attempt: _Attempt) -> Response:
        """Do it, and leave the record as the next retry should find it."""
        try:
            async with asyncio.timeout(WORK_SECONDS):
                response = await self._done(operation, request, attempt)
        except TimeoutError:
            await self._leave(attempt, None, is_certain=False)
            raise try_again("This takes too long at the moment.") from None
        except Exception as error:
            await self._leave(attempt, None, is_certain=_is_refusal(error))
            raise
        await self._leave(attempt, response, is_certain=True)
        return response

    async def _done(self, operation: Operation, request: Request, attempt: _Attempt) -> Response:
        recovered = await self._recovered(operation, attempt) if attempt.is_retry else None
        if recovered is not None:
            return _marked(recovered)
        try:
            response = await operation.handler(request)
        except Exception:
            # It may be that what stands in the way is what was done: asked again, the log knows.
            recovered = await self._recovered(operation, attempt)
            if recovered is None:
                raise
            return _marked(recovered)
        # An earlier attempt, thought dead, may have been faster: what it stored is what counts.
        recovered = await self._recovered(operation, attempt) if attempt.is_retry else None
        return response if recovered is None else recovered

    async def _recovered(self, operation: Operation, attempt: _Attempt) -> Response | None:
        response = await self._recovery.answer(operation, attempt.derived)
        if response is not None:
            log.info("answered from the log", operation=operation.handler.__name__)
        return response

    async def _leave(
        self, attempt: _Attempt, response: Response | None, *, is_certain: bool
    ) -> None:
        """Keep a success, forget a refusal, and let a retry take up all else.

        The caller gets what there is in any case: a record that is not left as it should be is
        taken up when its lease ends.
        """
        claim = attempt.claim
        try:
            if not is_certain:
                await self._answers.release(claim)
            elif response is None or response.status_code >= 300:
                await self._answers.forget(claim)
            elif len(response.body) > KEPT_BYTES:
                await self._answers.release(claim)
            else:
                await self._answers.keep(claim, attempt.derived.seal(_packed(response)))
        except POSTGRES_ERRORS as error:
            log.warning("idempotency record not updated", reason=type(error).__name__)


def _is_refusal(error: Exception) -> bool:
    """Tell whether certainly nothing was done, so that the same key may begin anew."""
    if isinstance(error, AlreadyDone):
        return False
    return isinstance(error, RegistryError) or (isinstance(error, Problem) and error.status < 500)


def _packed(response: Response) -> bytes:
    headers = [one for one in response.raw_headers if one[0] not in _NOT_KEPT]
    return msgspec.msgpack.encode(_Answer(response.status_code, headers, bytes(response.body)))


def _replayed(packed: bytes) -> Response:
    answer = msgspec.msgpack.decode(packed, type=_Answer)
    response = Response(answer.body, answer.status)
    for name, value in answer.headers:
        response.headers[name.decode("latin-1")] = value.decode("latin-1")
    return _marked(response)


def _marked(response: Response) -> Response:
    response.headers.update(REPLAYED)
    return response


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body that was read already, and then what comes after it."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return left.pop() if left else await receive()

    return replay
