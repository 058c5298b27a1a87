"""The requests that both servers are sent, and what decides where their answers differ."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from cryptography.hazmat.primitives import serialization

from tests.conformance.place import (
    ASSERTION_TYPE,
    AUDIENCE,
    FORM,
    GRANT,
    KEY,
    Place,
    encoded,
    message,
    public_jwk,
    signed,
)

Make = Callable[[Place], bytes]
JSON = "application/json"
FAR = 4_000_000_000
GIVEN = "200 Bearer"
REFUSED = "401 invalid_client (Basic)"
MALFORMED = "400 invalid_request"


@dataclass(frozen=True)
class Case:
    """One request, our answer to it, and the section that decides where the other's differs."""

    does: str
    make: Make
    ours: str
    rule: str = ""


def raw_form(place: Place, more: str) -> bytes:
    """Return a good form and some more of it."""
    return f"{urlencode(place.by_post())}{more}".encode()


def json_of(place: Place, more: str = "") -> bytes:
    """Return a good JSON object and some more members."""
    return (json.dumps(place.by_post())[:-1] + more + "}").encode()


def by_basic_header(place: Place) -> str:
    """Return the right header."""
    pair = f"{place.basic.id}:{place.basic.secret}".encode()
    return f"Authorization: Basic {base64.b64encode(pair).decode()}"


def unpadded(place: Place) -> bytes:
    """Return right credentials whose base64 lacks its padding."""
    pair = f"{place.basic.id}:{place.basic.secret}"
    # Whatever the length, an escape more makes padding necessary.
    for pad in ("", "%5F", "%5F%5F"):
        one = pair.replace("_", pad or "_", 1)
        text = base64.b64encode(one.encode()).decode()
        if text.endswith("="):
            return place.ask(GRANT, headers=[f"Authorization: Basic {text.rstrip('=')}"])
    raise AssertionError


def hmac_signed(place: Place) -> str:
    """Return an assertion whose HMAC has the public key for a secret."""
    pem = KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    signs = message({"alg": "HS256", "kid": "k1"}, place.claims())
    return f"{signs}.{encoded(hmac.new(pem, signs.encode(), hashlib.sha256).digest())}"


def unsigned(claims: object) -> str:
    """Return a JWT of the algorithm `none`."""
    return f"{message({'alg': 'none', 'typ': 'at+jwt'}, claims)}."


def about(place: Place, token: str, **more: str) -> bytes:
    """Return the question for a token."""
    return place.by_basic({"token": token, **more}, to="introspect")


def ending(place: Place, token: str, **more: str) -> bytes:
    """Return the wish for a token's end."""
    return place.by_basic({"token": token, **more}, to="revoke")


def keyed(**changes: Any) -> Make:
    """Return a token request whose assertion differs in some claims."""
    return lambda place: place.ask(place.by_key(place.assertion(**changes)))


def headed(**header: object) -> Make:
    """Return a token request whose assertion differs in its header."""
    return lambda place: place.ask(place.by_key(place.assertion(header=header)))


def proven(*proofs: Callable[[Place], str]) -> Make:
    """Return a token request with DPoP proofs."""
    return lambda place: place.by_basic(headers=[f"DPoP: {one(place)}" for one in proofs])


METHODS = [
    Case(
        f"{method} at the token endpoint",
        lambda place, method=method: place.ask(method=method, content_type=None),  # type: ignore[misc]
        "405" + (" invalid_request" if method != "HEAD" else "") + " Allow: POST",
        "RFC 9110, 15.5.6: 405 and `Allow`",
    )
    for method in ("GET", "HEAD", "PUT", "OPTIONS")
]

BODIES = [
    Case("a good request, Basic", lambda p: p.by_basic(), GIVEN),
    Case("a good request, body", lambda p: p.ask(p.by_post()), GIVEN),
    Case(
        "`charset=utf-8` in Content-Type",
        lambda p: p.ask(p.by_post(), content_type=f"{FORM}; charset=utf-8"),
        GIVEN,
    ),
    Case(
        "`charset=utf-16` in Content-Type, a body in UTF-8",
        lambda p: p.ask(p.by_post(), content_type=f"{FORM}; charset=utf-16"),
        GIVEN,
        "RFC 6749, appendix B: UTF-8; the media type has no charset",
    ),
    Case(
        "two Content-Type headers",
        lambda p: p.ask(p.by_post(), headers=[f"Content-Type: {FORM}"]),
        MALFORMED,
        "RFC 9110, 5.3: no list, so not to be repeated",
    ),
    Case(
        "text/plain",
        lambda p: p.ask(p.by_post(), content_type="text/plain"),
        "415 invalid_request",
        "RFC 9110, 15.5.16: 415",
    ),
    Case(
        "no Content-Type",
        lambda p: p.ask(p.by_post(), content_type=None),
        "415 invalid_request",
        "RFC 9110, 15.5.16: 415",
    ),
    Case(
        "JSON",
        lambda p: p.ask(json_of(p), content_type=JSON),
        GIVEN,
        "an extension; RFC 6749, 4.4.2 has forms",
    ),
    Case(
        "a body of 60 KB",
        lambda p: p.ask(raw_form(p, f"&x={'x' * 60_000}")),
        "413 invalid_request",
        "RFC 9110, 15.5.14: 413",
    ),
    Case(
        "a form that is not UTF-8",
        lambda p: p.ask(raw_form(p, "&scope=%ff%fe")),
        MALFORMED,
        "RFC 6749, appendix B: UTF-8, form-encoded",
    ),
    Case(
        "a form with a broken escape",
        lambda p: p.ask(raw_form(p, "&x=%zz")),
        MALFORMED,
        "RFC 6749, appendix B: UTF-8, form-encoded",
    ),
    Case(
        "a chunked body",
        lambda p: p.ask(
            b"%x\r\n%s\r\n0\r\n\r\n" % (len(raw_form(p, "")), raw_form(p, "")),
            headers=["Transfer-Encoding: chunked"],
        ),
        GIVEN,
    ),
]

BASIC = [
    Case(
        "`basic` in small letters",
        lambda p: p.with_pair(f"{p.basic.id}:{p.basic.secret}", scheme="basic "),
        GIVEN,
    ),
    Case(
        "`Basic` and three spaces",
        lambda p: p.with_pair(f"{p.basic.id}:{p.basic.secret}", scheme="Basic   "),
        GIVEN,
        "RFC 9110, 11.4: `1*SP`",
    ),
    Case(
        "base64 without padding",
        unpadded,
        REFUSED,
        "RFC 7617, 2 and RFC 4648, 3.2: padding is not optional",
    ),
    Case(
        "Basic that is not base64",
        lambda p: p.ask(GRANT, headers=["Authorization: Basic !!!"]),
        REFUSED,
        "RFC 6749, 5.2: it failed in the header, so 401",
    ),
    Case(
        "Basic that is not UTF-8",
        lambda p: p.with_pair(b"\xff:\xff"),
        REFUSED,
        "RFC 6749, 5.2: it failed in the header, so 401",
    ),
    Case(
        "Basic without a colon",
        lambda p: p.with_pair("x"),
        REFUSED,
        "RFC 6749, 5.2: it failed in the header, so 401",
    ),
    Case(
        "Basic with `%zz`",
        lambda p: p.with_pair(f"{p.basic.id}:%zz"),
        REFUSED,
        "RFC 6749, 5.2: it failed in the header, so 401",
    ),
    Case(
        "Basic with `%00`",
        lambda p: p.with_pair(f"{p.basic.id}:%00"),
        REFUSED,
        "RFC 6749, 5.2: it failed in the header, so 401",
    ),
    Case(
        "Basic, every character escaped",
        lambda p: p.with_pair(
            ":".join("".join(f"%{ord(c):02x}" for c in one) for one in (p.basic.id, p.basic.secret))
        ),
        GIVEN,
    ),
    Case(
        "Basic with an empty secret",
        lambda p: p.with_pair(f"{p.basic.id}:"),
        REFUSED,
        "RFC 6749, 5.2: it failed in the header, so 401",
    ),
    Case("Basic, wrong secret", lambda p: p.with_pair(f"{p.basic.id}:{p.post.secret}x"), REFUSED),
    Case("Basic, unknown client", lambda p: p.with_pair(f"{'0' * 32}:{p.basic.secret}"), REFUSED),
    Case(
        "body, wrong secret",
        lambda p: p.ask(p.by_post(client_secret=f"{p.post.secret}x")),
        REFUSED,
        "RFC 9110, 15.5.2: every 401 has a challenge",
    ),
    Case(
        "no credentials",
        lambda p: p.ask(GRANT),
        REFUSED,
        "RFC 6749, 5.2: “no client authentication included” is `invalid_client`",
    ),
    Case("a client_id alone", lambda p: p.ask({**GRANT, "client_id": p.post.id}), REFUSED),
    Case(
        "a client_secret alone",
        lambda p: p.ask({**GRANT, "client_secret": p.post.secret}),
        MALFORMED,
    ),
    Case(
        "Bearer in place of Basic",
        lambda p: p.ask(GRANT, headers=["Authorization: Bearer x"]),
        REFUSED,
        "RFC 6749, 5.2: it failed in the header, so 401",
    ),
]

PARAMETERS = [
    Case(
        "Basic and the same client_id in the body",
        lambda p: p.by_basic({**GRANT, "client_id": p.basic.id}),
        GIVEN,
    ),
    Case(
        "Basic and another client_id",
        lambda p: p.by_basic({**GRANT, "client_id": p.post.id}),
        MALFORMED,
    ),
    Case(
        "Basic and an empty client_id",
        lambda p: p.by_basic({**GRANT, "client_id": ""}),
        GIVEN,
        "RFC 6749, 3.2: empty is omitted",
    ),
    Case(
        "Basic and an empty client_secret",
        lambda p: p.by_basic({**GRANT, "client_secret": ""}),
        GIVEN,
    ),
    Case(
        "Basic and client_secret",
        lambda p: p.by_basic(p.by_post(client_id=p.basic.id)),
        MALFORMED,
    ),
    Case(
        "the Authorization header twice",
        lambda p: p.by_basic(headers=[by_basic_header(p)]),
        MALFORMED,
        "RFC 9110, 5.3: no list, so not to be repeated",
    ),
    Case(
        "right credentials in the query",
        lambda p: p.ask(GRANT, query=f"?{urlencode(p.by_post())}"),
        REFUSED,
        "RFC 6749, 2.3.1: not in the URI; 5.2: none included",
    ),
    Case(
        "grant_type in the query",
        lambda p: p.by_basic({}, query="?grant_type=client_credentials"),
        MALFORMED,
    ),
    Case(
        "scope twice",
        lambda p: p.ask(raw_form(p, "&scope=events:read&scope=events:read")),
        MALFORMED,
    ),
    Case(
        "an unknown parameter twice",
        lambda p: p.ask(raw_form(p, "&x=1&x=2")),
        MALFORMED,
        "RFC 6749, 3.2: no parameter more than once",
    ),
    Case(
        "resource twice, the same",
        lambda p: p.ask(raw_form(p, f"&resource={quote(AUDIENCE)}" * 2)),
        GIVEN,
        "RFC 8707, 2: may be repeated",
    ),
    Case("an unknown parameter", lambda p: p.by_basic({**GRANT, "x": "1"}), GIVEN),
    Case("an empty scope", lambda p: p.by_basic({**GRANT, "scope": ""}), GIVEN),
    Case(
        "`;` in place of `&`",
        lambda p: p.ask(urlencode(p.by_post()).replace("&", ";").encode()),
        "400 unsupported_grant_type",
        "WHATWG URL, 5.1: `&` alone",
    ),
    Case("no grant_type", lambda p: p.by_basic({}), MALFORMED),
    Case(
        "an unknown grant_type",
        lambda p: p.by_basic({"grant_type": "password"}),
        "400 unsupported_grant_type",
    ),
    Case(
        "an unknown scope",
        lambda p: p.by_basic({**GRANT, "scope": "nothing"}),
        "400 invalid_scope",
        "RFC 6749, 5.2: `invalid_scope`",
    ),
    Case(
        "two spaces between scopes",
        lambda p: p.by_basic({**GRANT, "scope": "events:read  applications:read"}),
        "400 invalid_scope",
        "RFC 6749, 3.3: one space",
    ),
    Case(
        "a scope of one space",
        lambda p: p.by_basic({**GRANT, "scope": " "}),
        "400 invalid_scope",
        "RFC 6749, 3.3",
    ),
    Case(
        "a tab between scopes",
        lambda p: p.by_basic({**GRANT, "scope": "events:read\tapplications:read"}),
        "400 invalid_scope",
        "RFC 6749, 3.3 and 5.2",
    ),
    Case(
        "a scope with a quote and a letter beyond ASCII",
        lambda p: p.by_basic({**GRANT, "scope": '"é'}),
        "400 invalid_scope",
        "RFC 6749, 5.2",
    ),
    Case(
        "an unknown resource",
        lambda p: p.by_basic({**GRANT, "resource": "https://nowhere.example"}),
        "400 invalid_target",
    ),
    Case(
        "a resource with a fragment",
        lambda p: p.by_basic({**GRANT, "resource": f"{AUDIENCE}#x"}),
        "400 invalid_target",
    ),
    Case(
        "a resource that is no URI",
        lambda p: p.by_basic({**GRANT, "resource": "x"}),
        "400 invalid_target",
    ),
]

ASSERTIONS = [
    Case("private_key_jwt", keyed(), GIVEN),
    Case(
        "an assertion without kid",
        lambda p: p.ask(p.by_key(signed({"alg": "ES256"}, p.claims()))),
        GIVEN,
    ),
    Case("the same assertion again", lambda p: p.ask(p.by_key(p.tokens["assertion"])), REFUSED),
    Case("aud: the issuer, in a list", lambda p: keyed(aud=[p.issuer])(p), GIVEN),
    Case(
        "aud: the issuer and somebody else",
        lambda p: keyed(aud=[p.issuer, "https://elsewhere.example"])(p),
        REFUSED,
        "draft-ietf-oauth-rfc7523bis: the issuer, and no other",
    ),
    Case(
        "aud: the token endpoint",
        lambda p: keyed(aud=f"{p.issuer}{p.paths['token']}")(p),
        REFUSED,
        "draft-ietf-oauth-rfc7523bis: the issuer, and no other",
    ),
    Case("aud: somebody else", keyed(aud="https://elsewhere.example"), REFUSED),
    Case("no exp", keyed(exp=None), REFUSED),
    Case("exp past", keyed(exp=1), REFUSED),
    Case(
        "exp in decades",
        keyed(exp=FAR),
        REFUSED,
        "RFC 7523, 3, item 4: may be refused as unreasonably far",
    ),
    Case("exp a text", keyed(exp="soon"), REFUSED),
    Case("nbf ahead", keyed(nbf=FAR), REFUSED),
    Case(
        "iat ahead",
        keyed(iat=FAR),
        REFUSED,
        "FAPI 2.0 Security Profile: a minute ahead at most",
    ),
    Case("no jti", keyed(jti=None), REFUSED),
    Case("jti half a character", keyed(jti="\ud800"), GIVEN),
    Case("iss another client", keyed(iss="0" * 32), REFUSED),
    Case("no iss", keyed(iss=None), REFUSED),
    Case("sub unknown", keyed(sub="0" * 32, iss="0" * 32), REFUSED),
    Case("`none`", lambda p: p.ask(p.by_key(unsigned(p.claims()))), REFUSED),
    Case("HS256 with the public key", lambda p: p.ask(p.by_key(hmac_signed(p))), REFUSED),
    Case("its own key in the header", headed(kid="other", jwk=public_jwk()), REFUSED),
    Case("an unknown crit", headed(crit=["x"], x=1), REFUSED),
    Case("`b64` false", headed(crit=["b64"], b64=False), REFUSED, "RFC 7797: never in a JWT"),
    Case(
        "no JWT",
        lambda p: p.ask(p.by_key("x")),
        REFUSED,
        "RFC 7523, 3.2: `invalid_client`",
    ),
    Case("an assertion and Basic", lambda p: p.by_basic(p.by_key(p.assertion())), MALFORMED),
    Case(
        "an assertion and client_secret",
        lambda p: p.ask(p.by_key(p.assertion(), client_secret="x")),
        MALFORMED,
    ),
    Case(
        "an assertion and another client_id",
        lambda p: p.ask(p.by_key(p.assertion(), client_id=p.post.id)),
        REFUSED,
        "RFC 7521, 4.2 and 4.2.1: `invalid_client`",
    ),
    Case(
        "an assertion of an unknown type",
        lambda p: p.ask({**p.by_key(p.assertion()), "client_assertion_type": "urn:x"}),
        REFUSED,
        "RFC 6749, 5.2: “unsupported authentication method” is `invalid_client`",
    ),
    Case(
        "an assertion without its type",
        lambda p: p.ask({**GRANT, "client_assertion": p.assertion()}),
        MALFORMED,
    ),
    Case(
        "a type without an assertion",
        lambda p: p.ask(
            {**GRANT, "client_assertion_type": ASSERTION_TYPE, "client_id": p.keyed.id}
        ),
        MALFORMED,
        "RFC 7521, 4.2: a parameter is missing",
    ),
]

TOKENS = [
    Case(
        "introspection of one's own token",
        lambda p: about(p, p.tokens["basic"]),
        "200 active",
        "RFC 7662, 2.2: `active` true, whatever the form of the token",
    ),
    Case(
        "introspection without credentials",
        lambda p: p.ask({"token": "x"}, to="introspect"),
        REFUSED,
        "RFC 7662, 2.3, and RFC 6749, 5.2: `invalid_client`",
    ),
    Case(
        "introspection, wrong secret",
        lambda p: p.with_pair(f"{p.basic.id}:x", {"token": "x"}, to="introspect"),
        REFUSED,
    ),
    Case("introspection without a token", lambda p: p.by_basic({}, to="introspect"), MALFORMED),
    Case(
        "introspection of garbage",
        lambda p: about(p, "x.y.z"),
        "200 inactive",
        "RFC 7662, 2.2: `active` false",
    ),
    Case(
        "introspection of `none`",
        lambda p: about(p, unsigned({"iss": p.issuer, "exp": FAR})),
        "200 inactive",
        "RFC 7662, 2.2: `active` false",
    ),
    Case(
        "introspection of a foreign token",
        lambda p: about(p, p.assertion(iss="https://elsewhere.example")),
        "200 inactive",
        "RFC 7662, 2.2: `active` false",
    ),
    Case(
        "introspection of another client's token",
        lambda p: about(p, p.tokens["post"]),
        "200 inactive",
        "RFC 7662, 2.2: `active` false",
    ),
    Case(
        "GET of introspection",
        lambda p: p.ask(method="GET", to="introspect", content_type=None),
        "405 invalid_request Allow: POST",
        "RFC 9110, 15.5.6: 405 and `Allow`",
    ),
    Case(
        "revocation without credentials",
        lambda p: p.ask({"token": "x"}, to="revoke"),
        REFUSED,
        "RFC 6749, 5.2",
    ),
    Case("revocation without a token", lambda p: p.by_basic({}, to="revoke"), MALFORMED),
    Case("revocation of garbage", lambda p: ending(p, "x.y.z"), "200"),
    Case(
        "revocation of another client's token",
        lambda p: ending(p, p.tokens["post"]),
        MALFORMED,
        "RFC 7009, 2.1: refused, and told so",
    ),
    Case(
        "revocation of one's own token, unknown hint",
        lambda p: ending(p, p.tokens["basic"], token_type_hint="x"),
        "200",
        "RFC 7009, 2.1: an unknown hint is ignored; a JWT can be revoked here",
    ),
    Case(
        "introspection after it",
        lambda p: about(p, p.tokens["basic"]),
        "200 inactive",
        "RFC 7662, 2.2: `active` false",
    ),
]

DPOP = [
    Case("a DPoP proof", proven(Place.proof), "200 DPoP"),
    Case(
        "two DPoP headers",
        proven(Place.proof, Place.proof),
        "400 invalid_dpop_proof",
        "RFC 9449, 4.3, check 1, and 5",
    ),
    Case(
        "a DPoP proof again",
        lambda p: p.by_basic(headers=[f"DPoP: {p.tokens['proof']}"]),
        "400 invalid_dpop_proof",
        "RFC 9449, 5: `invalid_dpop_proof`",
    ),
    Case("a DPoP proof for GET", proven(lambda p: p.proof(htm="GET")), "400 invalid_dpop_proof"),
    Case(
        "a DPoP proof for another address",
        proven(lambda p: p.proof(htu="https://elsewhere.example/")),
        "400 invalid_dpop_proof",
    ),
    Case(
        "a DPoP proof of an hour ago",
        proven(lambda p: p.proof(iat=int(time.time()) - 3600)),
        "400 invalid_dpop_proof",
    ),
    Case("a DPoP header that is no JWT", proven(lambda _: "x"), "400 invalid_dpop_proof"),
    Case("a DPoP proof, jti half a character", proven(lambda p: p.proof(jti="\ud800")), "200 DPoP"),
    Case(
        "a DPoP nonce that nobody gave",
        proven(lambda p: p.proof(nonce="é")),
        "400 use_dpop_nonce",
        "RFC 9449, 8: `use_dpop_nonce` with another",
    ),
    Case(
        "a DPoP proof and a wrong secret",
        lambda p: p.with_pair(f"{p.basic.id}:x", headers=[f"DPoP: {p.proof()}"]),
        REFUSED,
    ),
]

JSONS = [
    Case(
        "JSON, a member twice",
        lambda p: p.ask(json_of(p, ',"scope":"a","scope":"a"'), content_type=JSON),
        MALFORMED,
        "RFC 6749, 3.2",
    ),
    Case(
        "JSON, resource a list",
        lambda p: p.ask(json_of(p, f',"resource":["{AUDIENCE}"]'), content_type=JSON),
        GIVEN,
        "an extension; RFC 6749, 4.4.2 has forms",
    ),
    Case("JSON, not an object", lambda p: p.ask(b"[]", content_type=JSON), MALFORMED),
    Case(
        "JSON, a value that is no text",
        lambda p: p.ask(json_of(p, ',"scope":{"a":1}'), content_type=JSON),
        MALFORMED,
        "an extension; RFC 6749, 4.4.2 has forms",
    ),
    Case(
        "JSON after a byte order mark",
        lambda p: p.ask(b"\xef\xbb\xbf" + json_of(p), content_type=JSON),
        MALFORMED,
        "RFC 8259, 8.1",
    ),
]

CASES = [*METHODS, *BODIES, *JSONS, *BASIC, *PARAMETERS, *ASSERTIONS, *DPOP, *TOKENS]
