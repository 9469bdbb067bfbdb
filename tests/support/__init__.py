"""What several tests need and the package does not: a Postgres of our own, databases in it, processes to start and kill."""
