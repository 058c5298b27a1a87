SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;


CREATE SCHEMA notifier;


SET default_tablespace = '';

SET default_table_access_method = heap;


CREATE TABLE notifier.cursor (
    singleton boolean DEFAULT true NOT NULL,
    log_epoch text,
    "position" bigint NOT NULL,
    CONSTRAINT cursor_position_check CHECK (("position" >= 0)),
    CONSTRAINT cursor_singleton_check CHECK (singleton)
);



CREATE TABLE notifier.deliveries (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    event_id text NOT NULL,
    event_type text NOT NULL,
    "position" bigint NOT NULL,
    rule text NOT NULL,
    template text NOT NULL,
    recipient text NOT NULL,
    context jsonb NOT NULL,
    message_id text NOT NULL,
    state text NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    unknown_outcomes integer DEFAULT 0 NOT NULL,
    due_since timestamp with time zone DEFAULT now() NOT NULL,
    next_attempt_at timestamp with time zone DEFAULT now() NOT NULL,
    lease_owner uuid,
    lease_until timestamp with time zone,
    last_error text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    finished_at timestamp with time zone,
    CONSTRAINT deliveries_check CHECK (((state = 'sending'::text) = ((lease_owner IS NOT NULL) AND (lease_until IS NOT NULL)))),
    CONSTRAINT deliveries_state_check CHECK ((state = ANY (ARRAY['due'::text, 'sending'::text, 'sent'::text, 'unknown'::text, 'parked'::text, 'suppressed'::text, 'expired'::text, 'discarded'::text])))
);



CREATE TABLE notifier.migrations (
    number integer NOT NULL,
    name text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);



INSERT INTO notifier.cursor VALUES (true, '33333333-3333-4333-8333-333333333333', 3);



INSERT INTO notifier.deliveries VALUES ('5de1f662-4ff4-42f3-9cdb-a785cf0b1d85', '1464a9f9-def1-4c48-abd4-c98e1002f62b', 'ApplicationCreated', 1, 'application-created', 'application_created', '22222222-2222-4222-8222-222222222222', '{"client_id": "cccccccccccccccccccccccccccccccc", "application_name": "Müllers Café №1"}', '<2135ce1f751c0ad779b82f916ee3f6c3a378d207@mail.example>', 'due', 0, 0, '2026-11-24 04:58:09.369959+00', '2026-11-24 04:58:09.369959+00', NULL, NULL, NULL, '2026-11-24 04:58:09.369959+00', NULL);
INSERT INTO notifier.deliveries VALUES ('27404e2b-5d0a-479b-bb91-675ef65f2779', '1cd1908c-3807-4322-b509-cce07f8efd5f', 'ApplicationCreated', 2, 'application-created', 'application_created', '22222222-2222-4222-8222-222222222222', '{"client_id": "cccccccccccccccccccccccccccccccc", "application_name": "100 % _''\"\\ </b>"}', '<41633a26968e0be588cdaee13679431913ba5607@mail.example>', 'due', 0, 0, '2026-11-24 04:58:09.369959+00', '2026-11-24 04:58:09.369959+00', NULL, NULL, NULL, '2026-11-24 04:58:09.369959+00', NULL);
INSERT INTO notifier.deliveries VALUES ('68bdc613-c27a-477e-b885-83456c0089b9', '78c47cf5-a297-4f9a-b497-68c08c334b2e', 'ApplicationCreated', 3, 'application-created', 'application_created', '22222222-2222-4222-8222-222222222222', '{"client_id": "cccccccccccccccccccccccccccccccc", "application_name": "CI"}', '<ac88ed9e140203c7e19db8e722a18fda79fc26c5@mail.example>', 'due', 0, 0, '2026-11-24 04:58:09.369959+00', '2026-11-24 04:58:09.369959+00', NULL, NULL, NULL, '2026-11-24 04:58:09.369959+00', NULL);



INSERT INTO notifier.migrations VALUES (1, '0001_deliveries.sql', '2026-11-24 04:58:09.359782+00');



ALTER TABLE ONLY notifier.cursor
    ADD CONSTRAINT cursor_pkey PRIMARY KEY (singleton);



ALTER TABLE ONLY notifier.deliveries
    ADD CONSTRAINT deliveries_event_id_rule_recipient_key UNIQUE (event_id, rule, recipient);



ALTER TABLE ONLY notifier.deliveries
    ADD CONSTRAINT deliveries_pkey PRIMARY KEY (id);



ALTER TABLE ONLY notifier.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (number);



CREATE INDEX deliveries_by_age ON notifier.deliveries USING btree (created_at, id);



CREATE INDEX deliveries_parked ON notifier.deliveries USING btree (created_at) WHERE (state = 'parked'::text);



CREATE INDEX deliveries_to_send ON notifier.deliveries USING btree (next_attempt_at) WHERE (state = ANY (ARRAY['due'::text, 'unknown'::text, 'sending'::text]));
