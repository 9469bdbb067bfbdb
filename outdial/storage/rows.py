"""Many rows as one parameter, so that a statement stays one statement however many rows it writes.

They travel as one JSON text: `json_to_recordset` on Postgres, `json_each` on SQLite. Array parameters with `unnest` cost
the client three to four times as much for rows with text in them, since each element is quoted in Python. Statements
over rows are built once per dialect and cached by their makers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from outdial.storage.types import Instant, instant_text

Types = Mapping[str, sa.types.TypeEngine[Any] | type[sa.types.TypeEngine[Any]]]


class Rows:
    """A source of rows with the given columns, to select from, join, or update from."""

    def __init__(self, dialect: str, name: str, columns: Types) -> None:
        self._dialect = dialect
        self._name = name
        self._types = {column: sa.types.to_instance(kind) for column, kind in columns.items()}
        self.source = self._sqlite() if dialect == "sqlite" else self._postgres()
        self.c = self.source.c

    def params(self, rows: Iterable[Mapping[str, Any]] | Iterable[Sequence[Any]]) -> dict[str, Any]:
        """The statement's parameter for `rows`: mappings by column, or sequences in the columns' order."""
        names = list(self._types)
        listed = [row if isinstance(row, Mapping) else dict(zip(names, row, strict=True)) for row in rows]
        text = json.dumps(listed, default=self._instant)
        # Postgres stores no NUL, and a provider's text must not fail for it.
        if "\\u0000" in text:
            text = json.dumps(_without_nul(listed), default=self._instant)
        return {self._name: text}

    def _instant(self, value: object) -> str:
        if not isinstance(value, datetime):
            raise TypeError(f"{type(value).__name__} cannot be a column of {self._name}")
        return instant_text(value) if self._dialect == "sqlite" else value.isoformat()

    def _postgres(self) -> sa.Subquery:
        raw = (
            sa.func.json_to_recordset(sa.cast(sa.bindparam(self._name, type_=sa.Text), sa.JSON))
            .table_valued(*(sa.column(column, _plain(kind)) for column, kind in self._types.items()))
            .render_derived(name=f"{self._name}_raw", with_types=True)
        )
        typed = (sa.type_coerce(raw.c[column], kind).label(column) for column, kind in self._types.items())
        return sa.select(*typed).subquery(self._name)

    def _sqlite(self) -> sa.Subquery:
        raw = sa.func.json_each(sa.bindparam(self._name, type_=sa.Text)).table_valued(
            "value", name=f"{self._name}_raw"
        )
        extracted = (
            sa.type_coerce(sa.func.json_extract(raw.c.value, sa.literal_column(f"'$.{column}'")), kind).label(
                column
            )
            for column, kind in self._types.items()
        )
        return sa.select(*extracted).subquery(self._name)


def _plain(kind: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
    """The type that Postgres names in the record's definition."""
    return sa.DateTime(timezone=True) if isinstance(kind, Instant) else kind


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "")
    if isinstance(value, Mapping):
        return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    return [_without_nul(item) for item in value] if isinstance(value, list | tuple) else value
