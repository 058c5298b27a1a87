"""A server under comparison: where its endpoints are, which clients it knows; one raw exchange."""

import asyncio
import base64
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

AUDIENCE = "https://api.example"
FORM = "application/x-www-form-urlencoded"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
KEY = ec.generate_private_key(ec.SECP256R1())
GRANT = {"grant_type": "client_credentials"}


def public_jwk() -> dict[str, Any]:
    """Return the public half of the clients' key."""
    jwk = ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
    return {one: jwk[one] for one in ("kty", "crv", "x", "y")}


@dataclass(frozen=True)
class Client:
    """An id and a secret, registered for one way of authentication where a server has that."""

    id: str
    secret: str = field(repr=False)


@dataclass
class Place:
    """One of the two servers. `tokens` are those that were issued before: by whom → which."""

    port: int
    issuer: str
    paths: Mapping[str, str]
    basic: Client
    post: Client
    keyed: Client
    tokens: dict[str, str] = field(default_factory=dict, init=False)

    def ask(
        self,
        body: Mapping[str, Any] | bytes = b"",
        *,
        headers: Sequence[str] = (),
        content_type: str | None = FORM,
        method: str = "POST",
        to: str = "token",
        query: str = "",
    ) -> bytes:
        """Return a request, byte for byte."""
        content = body if isinstance(body, bytes) else urlencode(body, doseq=True).encode()
        lines = [
            f"{method} {self.paths[to]}{query} HTTP/1.1",
            f"Host: 127.0.0.1:{self.port}",
            "Connection: close",
            *headers,
        ]
        if content_type is not None:
            lines.append(f"Content-Type: {content_type}")
        if not any(one.startswith("Transfer-Encoding") for one in headers):
            lines.append(f"Content-Length: {len(content)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + content

    def by_basic(self, body: Mapping[str, Any] | None = None, **more: Any) -> bytes:
        """Return a request whose client authenticates by header."""
        pair = f"{self.basic.id}:{self.basic.secret}"
        return self.with_pair(pair, GRANT if body is None else body, **more)

    def with_pair(
        self,
        pair: str | bytes,
        body: Mapping[str, Any] = GRANT,
        *,
        scheme: str = "Basic ",
        headers: Sequence[str] = (),
        **more: Any,
    ) -> bytes:
        """Return a request with these bytes in base64."""
        raw = pair if isinstance(pair, bytes) else pair.encode()
        header = f"Authorization: {scheme}{base64.b64encode(raw).decode()}"
        return self.ask(body, headers=[header, *headers], **more)

    def by_post(self, **more: str) -> dict[str, str]:
        """Return a form whose client authenticates in the body."""
        return {**GRANT, "client_id": self.post.id, "client_secret": self.post.secret, **more}

    def by_key(self, assertion: str, **more: str) -> dict[str, str]:
        """Return a form whose client authenticates by an assertion."""
        signed = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
        return {**GRANT, **signed, **more}

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Return the claims of an assertion; one that is None is left out."""
        now = int(time.time())
        everything = {
            "iss": self.keyed.id,
            "sub": self.keyed.id,
            "aud": self.issuer,
            "iat": now,
            "exp": now + 60,
            "jti": uuid.uuid4().hex,
            **changes,
        }
        return {name: value for name, value in everything.items() if value is not None}

    def assertion(self, *, header: Mapping[str, Any] | None = None, **changes: Any) -> str:
        """Return a signed assertion."""
        return signed({"alg": "ES256", "kid": "k1", **(header or {})}, self.claims(**changes))

    def proof(self, **changes: Any) -> str:
        """Return a DPoP proof for the token endpoint."""
        claims = {
            "jti": uuid.uuid4().hex,
            "htm": "POST",
            "htu": f"{self.issuer}{self.paths['token']}",
            "iat": int(time.time()),
            **changes,
        }
        return signed({"alg": "ES256", "typ": "dpop+jwt", "jwk": public_jwk()}, claims)


def encoded(content: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def message(header: object, claims: object) -> str:
    """Return what is signed of a JWT."""
    return ".".join(encoded(json.dumps(one).encode()) for one in (header, claims))


def signed(header: object, claims: object) -> str:
    """Sign with the clients' key whatever the header says; libraries refuse to make some of it."""
    signs = message(header, claims)
    signature = jwt.get_algorithm_by_name("ES256").sign(signs.encode(), KEY)
    return f"{signs}.{encoded(signature)}"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def members(self) -> dict[str, Any]:
        """The body, if it is a JSON object."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def outcome(self) -> str:
        """The status, and what the body says in a word."""
        members = self.members
        if "active" in members:
            return f"{self.status} {'active' if members['active'] else 'inactive'}"
        word = members.get("error") or members.get("token_type", "")
        return f"{self.status} {word}".strip()

    def __str__(self) -> str:
        """Say what matters of it: the outcome, the challenge, and what is missing."""
        words = [self.outcome]
        challenge = self.headers.get("www-authenticate")
        if challenge is not None:
            words.append(f"({challenge.partition(' ')[0]})")
        if "allow" in self.headers:
            words.append(f"Allow: {self.headers['allow']}")
        if self.status != 0 and "no-store" not in self.headers.get("cache-control", ""):
            words.append("cacheable")
        return " ".join(words)


async def exchange(place: Place, request: bytes, *, seconds: float = 5) -> Answer:
    """Send one request; status 0 is a connection that was closed without an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
    try:
        writer.write(request)
        async with asyncio.timeout(seconds):
            raw = await reader.read()
    finally:
        writer.close()
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    if not first:
        return Answer(0, {}, b"")
    pairs = (line.partition(":") for line in lines)
    return Answer(
        int(first.split(" ")[1]),
        {name.lower(): value.strip() for name, _, value in pairs},
        body,
    )
