"""The whole installation under blows that a seed decides, judged by the provider's ledger: `python -m tests.chaos`."""
