-- From which addresses applications obtain tokens, where the token service reports it: an IPv4
-- address, or the /64 of an IPv6 address. Personal data of sorts: kept for a while, and nowhere else.

CREATE TABLE registry.addresses (
    application_id uuid        NOT NULL,
    address        text        NOT NULL,
    first_seen_at  timestamptz NOT NULL,
    last_seen_at   timestamptz NOT NULL,
    PRIMARY KEY (application_id, address)
);
CREATE INDEX addresses_by_age ON registry.addresses (last_seen_at);
-- The newest of an application.
CREATE INDEX addresses_of_application ON registry.addresses (application_id, last_seen_at);

-- Those that were new to an application that was known from others: what the notifier reads. An entry
-- goes with its address. Numbers are given out under the log's lock, and so seen in their order.
CREATE TABLE registry.first_uses (
    number         bigserial   PRIMARY KEY,
    -- A mail is known by it. Not the number: a backup that is restored gives out numbers again.
    id             uuid        NOT NULL DEFAULT gen_random_uuid(),
    application_id uuid        NOT NULL,
    address        text        NOT NULL,
    seen_at        timestamptz NOT NULL,
    FOREIGN KEY (application_id, address) REFERENCES registry.addresses ON DELETE CASCADE
);
CREATE INDEX first_uses_of_application ON registry.first_uses (application_id, address);
CREATE INDEX first_uses_by_age ON registry.first_uses (seen_at);
