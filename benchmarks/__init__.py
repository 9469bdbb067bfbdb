"""Measurements, as ratios. `python -m benchmarks` runs them; none is a test, since a busy machine must not fail a build."""
