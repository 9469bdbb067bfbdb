"""Many rows as one parameter set, so that a statement stays one statement however many rows it writes.

Arrays and `unnest` on Postgres, one JSON text and `json_each` on SQLite. Statements over them are built once per
dialect and cached by their makers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

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
        """The statement's parameters for `rows`: mappings by column, or sequences in the columns' order."""
        listed = [self._values(row) for row in rows]
        if self._dialect == "sqlite":
            return {self._name: json.dumps([[_sqlite_value(value) for value in row] for row in listed])}
        columns = zip(*listed, strict=True) if listed else ((),) * len(self._types)
        return {
            f"{self._name}_{column}": list(values)
            for column, values in zip(self._types, columns, strict=True)
        }

    def params_of_columns(self, columns: Sequence[Sequence[Any]]) -> dict[str, Any]:
        """The same for columns in their order, all of one length and as the driver takes them: for thousands of rows."""
        if self._dialect == "sqlite":
            return {self._name: json.dumps(list(zip(*columns, strict=True)), ensure_ascii=False)}
        return {
            f"{self._name}_{column}": list(values)
            for column, values in zip(self._types, columns, strict=True)
        }

    def _values(self, row: Mapping[str, Any] | Sequence[Any]) -> list[Any]:
        given = [row[column] for column in self._types] if isinstance(row, Mapping) else list(row)
        return [
            _storable(value, kind) if value is not None else None
            for value, kind in zip(given, self._types.values(), strict=True)
        ]

    def _postgres(self) -> sa.Subquery:
        arrays = []
        for column, kind in self._types.items():
            element = sa.Text() if isinstance(kind, sa.JSON) else kind
            element = sa.DateTime(timezone=True) if isinstance(kind, Instant) else element
            bound = sa.bindparam(f"{self._name}_{column}", type_=ARRAY(element))
            arrays.append(sa.cast(bound, ARRAY(element)))
        raw = (
            sa.func.unnest(*arrays)
            .table_valued(*(sa.column(column, kind) for column, kind in self._types.items()))
            .render_derived(name=f"{self._name}_raw")
        )
        return sa.select(*(self._typed(raw.c[column], column) for column in self._types)).subquery(self._name)

    def _sqlite(self) -> sa.Subquery:
        raw = sa.func.json_each(sa.bindparam(self._name, type_=sa.Text)).table_valued(
            "value", name=f"{self._name}_raw"
        )
        extracted = (
            sa.type_coerce(
                sa.func.json_extract(raw.c.value, sa.literal_column(f"'$[{position}]'")), kind
            ).label(column)
            for position, (column, kind) in enumerate(self._types.items())
        )
        return sa.select(*extracted).subquery(self._name)

    def _typed(self, element: sa.ColumnElement[Any], column: str) -> sa.ColumnElement[Any]:
        kind = self._types[column]
        if isinstance(kind, sa.JSON):
            return sa.cast(element, kind).label(column)
        return element.label(column)


def _storable(value: Any, kind: sa.types.TypeEngine[Any]) -> Any:
    """JSON as text, and no NUL: Postgres stores none, and a provider's text must not fail for it."""
    if isinstance(kind, sa.JSON):
        text = json.dumps(value)
        return json.dumps(_without_nul(value)) if "\\u0000" in text else text
    return value.replace("\x00", "") if isinstance(value, str) else value


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "")
    if isinstance(value, Mapping):
        return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    return [_without_nul(item) for item in value] if isinstance(value, list | tuple) else value


def _sqlite_value(value: Any) -> Any:
    return instant_text(value) if isinstance(value, datetime) else value
