"""The registry's part of a database: its schema, what has become of it so far, where it lies."""

from importlib.resources import files

from shared.postgres import migrations_in

SCHEMA = "registry"
MIGRATIONS = migrations_in(files("services.registry") / "migrations")
DATABASE_SETTING = "OAUTHAPPS_REGISTRY__DATABASE__URL"
