-- What was answered to requests with an Idempotency-Key, so that a retry gets the same answer.
-- Neither key, nor caller, nor answer can be read here: all of them are hashed or sealed with keys
-- that need the service credential and the caller's Idempotency-Key.

CREATE TABLE registry.idempotency_keys (
    -- Of caller and key, keyed with the service credential.
    id           bytea       PRIMARY KEY CHECK (octet_length(id) = 32),
    -- Of method, path, content type and body, likewise.
    fingerprint  bytea       NOT NULL,
    -- Drawn when the request was first seen: the same key, used again after its end, is another
    -- request, with other ids and another secret.
    salt         bytea       NOT NULL,
    attempt      integer     NOT NULL CHECK (attempt >= 1),
    -- Whoever works on the request is believed to be alive so long.
    leased_until timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    -- NULL while there is none.
    answer       bytea
);
CREATE INDEX idempotency_keys_by_end ON registry.idempotency_keys (expires_at);
