-- What a delivery is part of: the id that all has in common that followed from one request, and the
-- place in its trace (W3C traceparent) where what happens to the delivery is told, if that is traced.
ALTER TABLE notifier.deliveries ADD COLUMN correlation_id text;
ALTER TABLE notifier.deliveries ADD COLUMN traceparent    text;
