"""From the road to a database, or to an archive file: checks, stores, acknowledges; keeps nothing itself."""
