"""Signing keys: made, read, refused with a remedy, noticed when they change."""

import os
import stat
import subprocess
import time
from pathlib import Path

import pytest

from services.token import key_ring, keys
from services.token.key_ring import KeyRing
from services.token.keys import Algorithm, KeyExists, KeyUnusable, generate, load
from shared.jwk import thumbprint


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture
def private(tmp_path: Path) -> Path:
    return tmp_path / "oauth_private.key"


@pytest.fixture
def public(tmp_path: Path) -> Path:
    return tmp_path / "oauth_public.key"


def made_by_openssl(private: Path, public: Path, *arguments: str) -> None:
    openssl(*arguments, "-out", private)
    private.chmod(0o600)
    openssl("pkey", "-in", private, "-pubout", "-out", public)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_generated_pair_is_usable_and_only_the_owner_reads_its_private_half(
    private: Path, public: Path, algorithm: Algorithm
) -> None:
    """The usual umask, or a strict one, changes nothing about the modes."""
    before = os.umask(0o077)
    try:
        key = generate(private, public, algorithm)
    finally:
        os.umask(before)

    assert algorithm == key.algorithm
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(public.stat().st_mode) == 0o644
    assert private.read_text().startswith("-----BEGIN PRIVATE KEY-----")
    assert public.read_text().startswith("-----BEGIN PUBLIC KEY-----")
    assert {private, public} == set(private.parent.iterdir())


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_openssl_reads_what_was_generated(
    private: Path, public: Path, algorithm: Algorithm
) -> None:
    """PKCS 8 and SubjectPublicKeyInfo are what other programs expect."""
    generate(private, public, algorithm)

    openssl("pkey", "-in", private, "-check", "-noout")
    openssl("pkey", "-pubin", "-in", public, "-noout")


@pytest.mark.parametrize("existing", ["oauth_private.key", "oauth_public.key"])
def test_an_existing_file_is_never_overwritten(private: Path, public: Path, existing: str) -> None:
    """Tokens signed by a lost key are refused everywhere."""
    (private.parent / existing).write_text("precious")

    with pytest.raises(KeyExists, match="not overwritten"):
        generate(private, public, "ES256")

    assert [existing] == [one.name for one in private.parent.iterdir()]
    assert (private.parent / existing).read_text() == "precious"


def test_a_dangling_link_in_the_place_of_a_key_is_not_followed(private: Path, public: Path) -> None:
    """A key must not be written to where somebody else points."""
    private.symlink_to(private.parent / "elsewhere")

    with pytest.raises(KeyExists):
        generate(private, public, "ES256")

    assert not (private.parent / "elsewhere").exists()


def test_a_pair_that_cannot_be_completed_leaves_nothing(private: Path, tmp_path: Path) -> None:
    """Half a pair would stand in the way of the next try."""
    (tmp_path / "file").write_text("")

    with pytest.raises(KeyUnusable, match="cannot be written"):
        generate(private, tmp_path / "file" / "oauth_public.key", "ES256")

    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_a_pair_that_breaks_off_between_its_two_names_leaves_nothing(
    private: Path, public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C comes at any time."""
    link = Path.hardlink_to

    def interrupted(self: Path, target: Path) -> None:
        if self == public:
            raise KeyboardInterrupt
        link(self, target)

    monkeypatch.setattr(Path, "hardlink_to", interrupted)

    with pytest.raises(KeyboardInterrupt):
        generate(private, public, "ES256")

    assert list(private.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "algorithm"),
    [
        (["genrsa", "-traditional"], "RS256"),
        (["genrsa"], "RS256"),
        (["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"], "RS256"),
        (["ecparam", "-name", "prime256v1", "-genkey"], "ES256"),
        (["ecparam", "-name", "prime256v1", "-genkey", "-noout"], "ES256"),
        (["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "ES256"),
        (["genpkey", "-algorithm", "ED25519"], "EdDSA"),
    ],
)
def test_keys_made_by_openssl_work(
    private: Path, public: Path, arguments: list[str], algorithm: str
) -> None:
    """Organizations have their own way of making keys."""
    made_by_openssl(private, public, *arguments)

    assert algorithm == load(private, public).algorithm


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"], "1024 bits"),
        (["ecparam", "-name", "secp384r1", "-genkey", "-noout"], "neither RSA nor P-256"),
        (["ecparam", "-name", "secp256k1", "-genkey", "-noout"], "neither RSA nor P-256"),
        (["genpkey", "-algorithm", "ED448"], "neither RSA nor P-256"),
        (["genpkey", "-algorithm", "X25519"], "neither RSA nor P-256"),
    ],
)
def test_other_keys_are_refused_with_the_reason(
    private: Path, public: Path, arguments: list[str], reason: str
) -> None:
    """A weak or foreign key is found at once, not by the first client that cannot verify."""
    made_by_openssl(private, public, *arguments)

    with pytest.raises(KeyUnusable, match=reason):
        load(private, public)


@pytest.mark.parametrize("form", [["-traditional"], []])
def test_an_encrypted_key_is_refused_with_the_remedy(
    private: Path, public: Path, form: list[str]
) -> None:
    """There is nobody to type its passphrase."""
    openssl("genrsa", *form, "-aes128", "-passout", "pass:secret", "-out", private)
    private.chmod(0o600)

    with pytest.raises(KeyUnusable, match=r"encrypted; .*openssl pkey -in"):
        load(private, public)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_private_key_that_others_can_read_is_refused_with_the_remedy(
    private: Path, public: Path, mode: int
) -> None:
    """Whoever reads it can be any client."""
    generate(private, public, "ES256")
    private.chmod(mode)

    with pytest.raises(KeyUnusable, match=f"`chmod 600 {private}`"):
        load(private, public)


def test_halves_of_two_pairs_are_refused(private: Path, public: Path, tmp_path: Path) -> None:
    """Nobody could verify what would be signed."""
    generate(private, public, "ES256")
    public.unlink()
    generate(tmp_path / "other.key", public, "ES256")

    with pytest.raises(KeyUnusable, match="is not the public key of"):
        load(private, public)


@pytest.mark.parametrize("content", [b"", b"junk", b"\x00\xff", b"-----BEGIN PRIVATE KEY-----\n"])
def test_what_is_no_key_is_refused(private: Path, public: Path, content: bytes) -> None:
    """Truncated copies happen."""
    generate(private, public, "ES256")
    private.write_bytes(content)
    with pytest.raises(KeyUnusable, match="not a private key"):
        load(private, public)

    private.unlink()
    public.unlink()
    generate(private, public, "ES256")
    public.write_bytes(content)
    with pytest.raises(KeyUnusable, match="not a public key"):
        load(private, public)


def test_a_pipe_or_folder_in_the_place_of_a_key_blocks_nobody(private: Path, public: Path) -> None:
    """The event loop reads the key; waiting for a pipe's other end would stop the service."""
    os.mkfifo(private, 0o600)
    with pytest.raises(KeyUnusable, match="not a regular file"):
        load(private, public)

    private.unlink()
    private.mkdir()
    with pytest.raises(KeyUnusable):
        load(private, public)


def test_the_thumbprint_is_the_one_of_the_rfc() -> None:
    """RFC 7638, section 3.1; RFC 8037, appendix A.3."""
    rsa = {
        "kty": "RSA",
        "n": (
            "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6t"
            "Soc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-"
            "65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qN"
            "Lyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awa"
            "pJzKnqDKgw"
        ),
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29",
    }
    okp = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}

    assert thumbprint(rsa) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    assert thumbprint(okp) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_the_jwk_has_nothing_private(private: Path, public: Path) -> None:
    """It is published."""
    expected = {
        "RS256": {"kty", "n", "e", "use", "alg", "kid"},
        "ES256": {"kty", "crv", "x", "y", "use", "alg", "kid"},
        "EdDSA": {"kty", "crv", "x", "use", "alg", "kid"},
    }
    algorithms: list[Algorithm] = ["RS256", "ES256", "EdDSA"]
    for algorithm in algorithms:
        key = generate(private, public, algorithm)
        private.unlink()
        public.unlink()

        assert expected[algorithm] == set(key.jwk)
        assert "BEGIN" not in repr(key)


@pytest.fixture
def ring(private: Path, public: Path, monkeypatch: pytest.MonkeyPatch) -> KeyRing:
    """A ring that looks at the files whenever it is asked."""
    monkeypatch.setattr(key_ring, "LOOK_SECONDS", 0.0)
    return KeyRing(private, public)


def test_keys_are_noticed_when_they_appear_vanish_and_are_replaced(
    ring: KeyRing, private: Path, public: Path
) -> None:
    """None of it takes a restart."""
    assert ring.current() is None
    assert ring.published() == []
    assert "no such file; `oauthapps keys generate`" in str(ring.trouble)

    first = generate(private, public, "ES256")
    assert first.kid == ring.current().kid  # type: ignore[union-attr]
    assert ring.trouble is None

    private.chmod(0o644)
    assert ring.current() is None
    assert "chmod 600" in str(ring.trouble)

    private.chmod(0o600)
    assert first.kid == ring.current().kid  # type: ignore[union-attr]

    private.unlink()
    public.unlink()
    assert ring.current() is None

    second = generate(private, public, "EdDSA")
    assert [second.kid] == [one["kid"] for one in ring.published()]


def test_a_key_that_could_not_be_read_for_a_moment_comes_back(
    ring: KeyRing, private: Path, public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many open files, say: nothing about the file itself tells that it can be read again."""
    generate(private, public, "ES256")

    def fails(*_: object) -> None:
        raise KeyUnusable("too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(keys, "read_private", fails)
        assert ring.current() is None

    assert ring.current() is not None


def test_the_files_are_looked_at_once_a_second_at_most(
    private: Path, public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request costs a comparison of two clocks."""
    looks: list[Path] = []
    real = key_ring._fingerprint

    def watched(path: Path) -> object:
        looks.append(path)
        return real(path)

    monkeypatch.setattr(key_ring, "_fingerprint", watched)
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    ring = KeyRing(private, public)

    for _ in range(50):
        ring.current()
    once = len(looks)
    assert {private, public} <= set(looks)
    assert len(set(looks)) == once

    now[0] += 1.0
    ring.current()
    assert len(looks) == 2 * once


def test_a_draft_of_a_private_key_is_unreadable_to_others_before_its_first_byte(
    private: Path, public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The original's generator leaves a window in which everybody can read it."""
    opened: list[tuple[int, int]] = []
    real = os.open

    def watched(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            opened.append((flags, mode))
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", watched)

    generate(private, public, "ES256")

    assert len(opened) == 2
    assert all(flags & os.O_EXCL and mode == 0o600 for flags, mode in opened)


def test_looking_at_a_folder_in_the_place_of_a_key_leaves_nothing_open(
    private: Path, public: Path
) -> None:
    """A container's mount of a missing file is a folder, and it is looked at once a second."""
    descriptors = Path("/proc/self/fd")
    private.mkdir()
    before = len(list(descriptors.iterdir()))
    for _ in range(10):
        with pytest.raises(KeyUnusable, match="not a regular file"):
            load(private, public)

    assert before == len(list(descriptors.iterdir()))
