-- Only its owner may sort what is pending into an index. A service that runs as another role than
-- the one that migrates does so through this function.
CREATE FUNCTION registry.tidy_names() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT gin_clean_pending_list('registry.applications_by_name_parts')
$$;
