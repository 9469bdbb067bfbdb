"""The check of the checks: an engine that was broken on purpose is found out."""

import subprocess
import sys

import pytest

from tests.simulation.mutants import problems
from tests.simulation.mutations import MUTATIONS, Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name)
def test_mutation_changes_what_is_there(mutation: Mutation) -> None:
    assert problems(mutation) == []


@pytest.mark.timeout(600)
def test_every_mutant_is_seen() -> None:
    """In a process of its own, which has not yet imported what is to be changed."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.simulation.mutants", "--jobs", "2"],
        capture_output=True,
        text=True,
        check=False,
    )
    print(ran.stdout)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{len(MUTATIONS)} of {len(MUTATIONS)} mutants were seen" in ran.stdout
