"""Data only: calling rules with their sources, and what is known better than `phonenumbers` on where a number rings."""
