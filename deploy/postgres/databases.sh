#!/bin/bash
# Run once by the Postgres image, on an empty data folder: a role and a database for each service.
# Neither can connect to the other's.
set -euo pipefail

for service in registry notifier; do
    variable="${service^^}_DATABASE_PASSWORD"
    psql --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres \
        --set service="$service" --set password="${!variable}" <<'SQL'
CREATE ROLE :"service" LOGIN PASSWORD :'password';
CREATE DATABASE :"service" OWNER :"service";
REVOKE ALL ON DATABASE :"service" FROM PUBLIC;
SQL
done
