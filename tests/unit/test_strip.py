"""The next day as a line of half hours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from outdial.cli.strip import ASCII, BLOCKS, Cell, cells_of, signs_for, strip
from outdial.domain.callability import Block, Interval, When
from outdial.domain.campaign import CampaignStatus
from outdial.domain.sufficiency import Capacity, Forecast
from outdial.operations.preview import MeasuredOn, Preview, Sufficiency, ZoneOutlook

AT = datetime(2026, 3, 2, 9, 40, tzinfo=UTC)
BEGIN = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
NOTHING = Forecast(calls=0, left=0, done_at=AT)


def hours(start: float, end: float) -> Interval:
    return Interval(BEGIN + timedelta(hours=start), BEGIN + timedelta(hours=end))


def outlook(*names: str, waiting: int = 10, openings: tuple[Interval, ...] = ()) -> ZoneOutlook:
    return ZoneOutlook(
        time_zones=names,
        country=None,
        waiting=waiting,
        opens_at=openings[0].begin if openings else None,
        blocked_by=None if openings else Block.NEVER_OPEN,
        openings=openings,
    )


def preview_of(*zones: ZoneOutlook) -> Preview:
    return Preview(
        campaign="survey",
        status=CampaignStatus.DRAFT,
        at=AT,
        total=0,
        callable=dict.fromkeys(When, 0),
        blocked={},
        calling=0,
        done={},
        capped_until=(),
        rejected_rows=0,
        holds=(),
        hindrances=(),
        zones=zones,
        sufficiency=Sufficiency(
            capacity=Capacity(lines=1, calls_per_second=None, held_seconds=60),
            measured_on=MeasuredOn.ASSUMED,
            until=AT,
            has_end=False,
            once=NOTHING,
            at_most=NOTHING,
        ),
    )


def test_each_half_hour_is_open_closed_or_open_for_a_part() -> None:
    cells = cells_of([hours(1, 2.25)], BEGIN, AT)
    assert len(cells) == 48
    assert cells[:6] == (Cell.CLOSED, Cell.CLOSED, Cell.OPEN, Cell.OPEN, Cell.PARTLY, Cell.CLOSED)


def test_what_has_passed_of_this_half_hour_does_not_count() -> None:
    assert cells_of([Interval(AT, AT + timedelta(hours=1))], BEGIN, AT)[0] is Cell.OPEN


def test_the_ruler_has_the_hours_above_their_half_hours() -> None:
    ruler, line = strip(preview_of(outlook("Europe/Rome", openings=(hours(2.5, 8),))), BLOCKS)[:2]
    assert ruler.index("12") == line.index("█")


def test_zones_with_the_same_hours_share_a_line_and_the_largest_comes_first() -> None:
    rome, berlin = (
        outlook(name, waiting=5, openings=(hours(1, 8),)) for name in ("Europe/Rome", "Europe/Berlin")
    )
    tokyo = outlook("Asia/Tokyo", waiting=7, openings=(hours(15, 23),))
    lines = strip(preview_of(tokyo, rome, berlin), BLOCKS)
    assert lines[1].startswith("Europe/Rome +1")
    assert lines[1].endswith("opens Mon 11:30")
    assert lines[2].endswith("opens Tue 09:30")
    assert len(lines) == 4


def test_no_line_is_wider_than_a_hundred_columns_and_many_zones_are_summed() -> None:
    zones = [
        outlook(
            "America/Argentina/ComodRivadavia",
            *(f"America/North_Dakota/{word}" for word in ("Center", "Beulah")),
            waiting=123_456_789 - number,
            openings=(hours(number / 2, 20),),
        )
        for number in range(1, 30)
    ]
    lines = strip(preview_of(*zones), BLOCKS)
    assert max(map(len, lines)) <= 100
    assert len(lines) == 15
    assert lines[-2].startswith("17 more zones")


def test_an_output_that_cannot_show_blocks_gets_plain_signs() -> None:
    assert signs_for("utf-8") is BLOCKS
    assert signs_for("ascii") is ASCII
    assert signs_for("cp1252") is ASCII
    assert signs_for(None) is ASCII
    drawn = "".join(strip(preview_of(outlook("Europe/Rome", openings=(hours(1, 2),))), ASCII))
    assert drawn.isascii()
    assert "##" in drawn
