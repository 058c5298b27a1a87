-- Who is logged in to the pages.

CREATE TABLE registry.sessions (
    -- SHA-256 of what the cookie holds: whoever reads the table cannot take a session over.
    id              bytea       PRIMARY KEY,
    user_id         uuid        NOT NULL REFERENCES registry.users,
    -- Where the user is at work; without it, or when it is none of theirs any more, the first.
    organization_id uuid,
    created_at      timestamptz NOT NULL DEFAULT now(),
    seen_at         timestamptz NOT NULL DEFAULT now(),
    -- A sentence for the next page, such as "Saved successfully".
    notice          text
);
CREATE INDEX sessions_by_user ON registry.sessions (user_id);

-- Whoever is disabled or has another password is logged out everywhere, however that was done.
CREATE FUNCTION registry.end_sessions() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM registry.sessions WHERE user_id = NEW.id;
    RETURN NULL;
END
$$;
CREATE TRIGGER end_sessions AFTER UPDATE OF active, password_hash ON registry.users
    FOR EACH ROW WHEN (NOT NEW.active OR NEW.password_hash IS DISTINCT FROM OLD.password_hash)
    EXECUTE FUNCTION registry.end_sessions();
