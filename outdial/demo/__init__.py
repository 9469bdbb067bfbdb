"""`outdial demo`: a whole installation for a minute, on this machine, judged by the provider's own ledger."""
