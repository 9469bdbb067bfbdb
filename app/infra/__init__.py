"""The earlier scheduler's infrastructure package."""
