"""The rules about mail that we ship: the default of `notifier.rules`, as `config.yml` shows it."""

from typing import Any

SHIPPED: dict[str, Any] = {
    "application-created": {
        "event": "ApplicationCreated",
        "template": "application_created",
        "recipients": ["owner", "actor"],
        "enabled": True,
    },
    "secret-rotated": {
        "event": "ApplicationSecretRotated",
        "template": "secret_rotated",
        "recipients": ["owner", "actor"],
        "enabled": True,
    },
    "secret-expiring": {
        "event": "SecretExpiring",
        "template": "secret_expiring",
        "recipients": ["owner"],
        "days_before": [7, 1],
        "enabled": True,
    },
    "application-deactivated": {
        "event": "ApplicationDeactivated",
        "template": "application_deactivated",
        "recipients": ["owner", "actor"],
        "enabled": True,
    },
    "application-activated": {
        "event": "ApplicationActivated",
        "template": "application_activated",
        "recipients": ["owner", "actor"],
        "enabled": True,
    },
    "application-deleted": {
        "event": "ApplicationDeleted",
        "template": "application_deleted",
        "recipients": ["owner", "actor"],
        "enabled": True,
    },
    "first-use": {
        "event": "FirstUseFromAddress",
        "template": "first_use",
        "recipients": ["owner"],
        "enabled": False,
    },
}
