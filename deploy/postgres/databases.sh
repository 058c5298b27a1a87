#!/bin/bash
# Run once by the Postgres image, on an empty data folder. For each service a database that nobody
# else can connect to, and two roles: the owner, as which `oauthapps migrate` makes and changes
# tables, and the one as which the service runs. That one reads and writes rows, and cannot change,
# empty or drop a table, nor switch its triggers off.
set -euo pipefail

secrets=/run/secrets

for service in registry notifier; do
    psql --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres \
        --set service="$service" --set owner="${service}_owner" \
        --set password="$(cat "$secrets/${service}_password")" \
        --set owner_password="$(cat "$secrets/${service}_owner_password")" <<'SQL'
CREATE ROLE :"owner" LOGIN PASSWORD :'owner_password';
CREATE ROLE :"service" LOGIN PASSWORD :'password';
CREATE DATABASE :"service" OWNER :"owner";
REVOKE ALL ON DATABASE :"service" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"service" TO :"service";
\connect :"service"
REVOKE ALL ON SCHEMA public FROM PUBLIC;
-- Of what the owner will make.
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" GRANT USAGE ON SCHEMAS TO :"service";
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"service";
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" GRANT USAGE ON SEQUENCES TO :"service";
SQL
done
