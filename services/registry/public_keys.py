"""The public keys of applications: taken as a JWK set (RFC 7517) or in PEM form, and judged."""

import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import get_default_algorithms

from services.registry.terms import FieldRefused
from shared.events import PublicKey
from shared.jwk import PRIVATE_MEMBERS, RSA_BITS, algorithm_of, public_members, thumbprint

MEMBER = "jwks"
MOST_KEYS = 8
LONGEST_RSA_BITS = 8192
KID_LIMIT = 255
_BEGIN, _END, _RULE = "-----BEGIN ", "-----END ", "-----"
_SIGNATURES = get_default_algorithms()


def keys_of(jwks: Mapping[str, Any]) -> tuple[PublicKey, ...]:
    """Return the keys of a JWK set. Raises FieldRefused, which says what is wrong with which."""
    keys = jwks.get("keys")
    if not isinstance(keys, list) or not all(isinstance(one, Mapping) for one in keys):
        raise FieldRefused('Give a JWK set: {"keys": [...]}.', MEMBER)
    return _checked([_of_jwk(one, (MEMBER, "keys", at)) for at, one in enumerate(keys)])


def keys_in(text: str) -> tuple[PublicKey, ...]:
    """Return the keys that a text holds, a JWK set, one JWK or PEM; none of an empty one.

    Raises FieldRefused.
    """
    text = text.strip()
    if not text:
        return ()
    if "-----BEGIN" in text:
        blocks, beside = _blocks_of(text)
        if beside.strip():
            raise FieldRefused("There is something beside the PEM keys.", MEMBER)
        return _checked([_of_pem(one) for one in blocks])
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise FieldRefused("Give a JWK set as JSON, or public keys in PEM form.", MEMBER)
    return keys_of(given if "keys" in given else {"keys": [given]})


def _blocks_of(text: str) -> tuple[list[str], str]:
    """Return the PEM blocks of a text, and what stands beside them; reads each character once."""
    blocks, beside, at = [], [], 0
    while (begin := text.find(_BEGIN, at)) >= 0:
        end = text.find(_END, begin)
        close = text.find(_RULE, end + len(_END)) if end >= 0 else -1
        if close < 0:
            break
        beside.append(text[at:begin])
        at = close + len(_RULE)
        blocks.append(text[begin:at])
    return blocks, "".join([*beside, text[at:]])


def _of_jwk(given: Mapping[str, Any], path: tuple[str | int, ...]) -> PublicKey:
    if not PRIVATE_MEMBERS.isdisjoint(given):
        message = "This is a private key: keep it, and never send it to anybody. Make a new one."
        raise FieldRefused(message, *path)
    try:
        key = jwt.PyJWK.from_dict(public_members(given)).key
    except (jwt.PyJWTError, ValueError, KeyError, TypeError, AttributeError):
        raise FieldRefused("This is no public key as a JWK.", *path) from None
    kid = given.get("kid")
    if kid is not None and (not isinstance(kid, str) or not 0 < len(kid) <= KID_LIMIT):
        raise FieldRefused("The kid is no text of a reasonable length.", *path)
    if given.get("use") not in (None, "sig"):
        raise FieldRefused("This key is not for signatures (use).", *path)
    found = _of_key(key, kid, path)
    if given.get("alg") not in (None, found.alg):
        raise FieldRefused(f"This key signs by {found.alg} here.", *path)
    return found


def _of_pem(text: str) -> PublicKey:
    if "PRIVATE KEY" in text:
        message = "This is a private key: keep it, and never send it to anybody. Make a new one."
        raise FieldRefused(message, MEMBER)
    try:
        key = serialization.load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm, binascii.Error):
        raise FieldRefused("This is no public key in PEM form.", MEMBER) from None
    return _of_key(key, None, (MEMBER,))


def _of_key(key: Any, kid: str | None, path: tuple[str | int, ...]) -> PublicKey:
    """Return a key with the one algorithm it is used with."""
    alg = algorithm_of(key)
    if alg is None or (isinstance(key, rsa.RSAPublicKey) and key.key_size > LONGEST_RSA_BITS):
        message = (
            f"Give an RSA key of {RSA_BITS} to {LONGEST_RSA_BITS} bits, a P-256 or an Ed25519 key."
        )
        raise FieldRefused(message, *path)
    members = public_members(_SIGNATURES[alg].to_jwk(key, as_dict=True))
    return PublicKey(kid=kid or thumbprint(members), alg=alg, **members)


def _checked(keys: Sequence[PublicKey]) -> tuple[PublicKey, ...]:
    if len(keys) > MOST_KEYS:
        raise FieldRefused(f"Give {MOST_KEYS} keys at most.", MEMBER)
    if len({one.kid for one in keys}) < len(keys):
        raise FieldRefused("Two keys have the same kid.", MEMBER)
    return tuple(keys)
