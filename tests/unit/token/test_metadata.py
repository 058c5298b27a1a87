"""The metadata document (RFC 8414)."""

from authlib.oauth2.rfc8414 import AuthorizationServerMetadata

from services.token.metadata import metadata_of, metadata_path
from shared.config import Settings
from shared.sections import Token


def settings(issuer: str | None = None) -> Settings:
    return Settings(token=Token(issuer=issuer))


def test_the_well_known_segment_comes_before_the_issuer_s_path() -> None:
    """RFC 8414, section 3.1."""
    well_known = "/.well-known/oauth-authorization-server"

    assert metadata_path("https://id.example") == well_known
    assert metadata_path("https://id.example/") == well_known
    assert metadata_path("https://id.example/tenant/one") == f"{well_known}/tenant/one"


def test_the_issuer_is_byte_identical_to_the_configured_one() -> None:
    """Clients compare it with what they asked for (section 3.3)."""
    for issuer in ("https://id.example", "https://id.example/", "https://id.example/a"):
        assert issuer == metadata_of(settings(issuer), "RS256")["issuer"]


def test_endpoints_are_below_the_issuer() -> None:
    """A path of the issuer is part of every address."""
    document = metadata_of(settings("https://id.example/a"), "RS256")

    assert document["token_endpoint"] == "https://id.example/a/oauth2-token"
    assert document["jwks_uri"] == "https://id.example/a/.well-known/jwks.json"


def test_another_implementation_finds_the_document_valid() -> None:
    """Authlib checks every member by the rules of section 2."""
    AuthorizationServerMetadata(metadata_of(settings("https://id.example"), "ES256")).validate()


def test_nothing_is_empty() -> None:
    """Section 3.2: members with zero elements are left out."""
    document = metadata_of(Settings(scopes={}), None)

    assert all(document.values())
    assert "scopes_supported" not in document
    assert "access_token_signing_alg_values_supported" not in document
