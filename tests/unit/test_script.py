"""Scripts with the contact's own words in them."""

from __future__ import annotations

import pytest

from outdial.domain.script import render


@pytest.mark.parametrize(
    ("text", "values", "spoken"),
    [
        ("Good day {name}!", {"name": "Ada"}, "Good day Ada!"),
        ("{name}, {city}, {name}", {"name": "Ada", "city": "Turin"}, "Ada, Turin, Ada"),
        ("You have {points} points.", {"points": 0}, "You have 0 points."),
        ("Città: {città}", {"città": "Forlì"}, "Città: Forlì"),
        ("No placeholder, {} nor { } here", {}, "No placeholder, {} nor { } here"),
    ],
)
def test_a_placeholder_becomes_the_contacts_word(text: str, values: dict[str, object], spoken: str) -> None:
    assert render(text, values) == spoken


@pytest.mark.parametrize("values", [{}, {"name": None}, {"name": ""}])
def test_what_the_contact_lacks_becomes_nothing(values: dict[str, object]) -> None:
    assert render("Good day {name}!", values) == "Good day !"


def test_what_a_contact_is_called_is_never_a_placeholder_itself() -> None:
    assert render("Good day {name}", {"name": "{secret}", "secret": "x"}) == "Good day {secret}"
