"""What the command line says when a command fails: one line, in which nothing is secret."""

from services.embedded.postgres import EmbeddedPostgresError
from services.token.keys import KeyExists, KeyUnusable
from shared.logs import get_logger, scrub
from shared.postgres import TRANSIENT_ERRORS, DatabaseError
from shared.server import PortInUse, StartFailed
from shared.setting_values import ConfigurationError

log = get_logger(__name__)


def sentence_of(error: Exception) -> str:
    """Return the line."""
    return scrub(" ".join(_sentence_of(error).split()))


def _sentence_of(error: Exception) -> str:
    match error:
        case (
            ConfigurationError()
            | DatabaseError()
            | EmbeddedPostgresError()
            | PortInUse()
            | StartFailed()
            | KeyUnusable()
            | KeyExists()
        ):
            return str(error)
        case _ if isinstance(error, TRANSIENT_ERRORS):
            return f"a connection or file failed: {str(error) or type(error).__name__}"
        case _:
            log.debug("unexpected", exc_info=error)
            name = type(error).__name__
            return f"unexpected {name}: {error} (OAUTHAPPS_LOGS__LEVEL=debug shows where)"
