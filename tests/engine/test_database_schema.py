"""Outdial's tables in a schema of their own, beside those of a host and those of another Outdial."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from outdial.clock import SystemClock
from outdial.domain.attempt import Ending, EventKind
from outdial.domain.contact import ContactState
from outdial.domain.errors import SchemaOutOfDate, SettingsError
from outdial.settings import load_settings
from outdial.storage import migrate
from outdial.storage.database import Database, create_engine, hosts_tables, outdials_tables
from outdial.storage.migrate import VERSION_TABLE, check, current_revision, upgrade
from outdial.storage.tables import metadata
from tests.support.world import RecordingProvider, World, event, number

ONE, OTHER = "outdial", "outdial_two"


@pytest.fixture
def url(empty_postgres_url: str) -> str:
    """A host's database, in which two Outdials are guests, and a table of the host's own has the name of one of ours."""
    engine = create_engine(empty_postgres_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE contacts (id integer PRIMARY KEY, nickname text)")
        connection.exec_driver_sql("INSERT INTO contacts VALUES (1, 'Ada')")
    engine.dispose()
    for schema in (ONE, OTHER):
        upgrade(empty_postgres_url, schema=schema)
    return empty_postgres_url


@pytest.fixture
def worlds(url: str) -> Iterator[tuple[World, World]]:
    one, other = World(url, schema=ONE), World(url, schema=OTHER)
    yield one, other
    one.close()
    other.close()


def nicknames(connection: sa.Connection) -> list[str]:
    return list(connection.execute(sa.text("SELECT nickname FROM contacts ORDER BY id")).scalars())


def test_all_tables_come_into_the_schema_and_none_beside_it(url: str) -> None:
    engine = create_engine(url)
    inspector = sa.inspect(engine)
    ours = {*metadata.tables, VERSION_TABLE}
    assert inspector.get_table_names() == ["contacts"]
    assert set(inspector.get_table_names(schema=ONE)) == ours
    assert set(inspector.get_table_names(schema=OTHER)) == ours
    foreign_keys = [key for table in ours for key in inspector.get_foreign_keys(table, schema=OTHER)]
    assert {key["referred_schema"] for key in foreign_keys} == {OTHER}
    engine.dispose()


def test_two_in_one_database_call_only_their_own(worlds: tuple[World, World]) -> None:
    one, other = worlds
    mine = one.add_contacts(one.add_campaign(), map(number, range(3)))
    other.add_contacts(other.add_campaign(), [number(0)])
    provider = RecordingProvider()
    result = one.run_pass(provider)
    assert len(result.scheduled) == len(provider.requests) == 3
    one.hear(*(event(EventKind.RESULT, call.call_id, result="completed") for call in result.scheduled))
    one.hear(*(event(EventKind.ENDED, call.call_id, ending=Ending.ANSWERED) for call in result.scheduled))
    assert {one.contact(contact)["state"] for contact in mine} == {ContactState.COMPLETED}
    assert other.contacts_in(ContactState.PENDING) == 1
    assert not other.attempts()


def test_a_hosts_session_finds_its_own_tables_before_inside_and_after(worlds: tuple[World, World]) -> None:
    one, _ = worlds
    ours = metadata.tables["contacts"]
    one.add_contacts(one.add_campaign(), map(number, range(2)))
    with one.engine.begin() as connection:
        path = connection.execute(sa.text("SHOW search_path")).scalar_one()
        with outdials_tables(connection):
            assert connection.execute(sa.select(sa.func.count()).select_from(ours)).scalar_one() == 2
            with hosts_tables(connection):
                assert nicknames(connection) == ["Ada"]
        assert nicknames(connection) == ["Ada"]
        assert connection.execute(sa.select(sa.table("contacts", sa.column("nickname")))).scalars().all() == [
            "Ada"
        ]
        assert connection.execute(sa.text("SHOW search_path")).scalar_one() == path


def test_a_hosts_own_translation_of_schemas_stays(url: str) -> None:
    engine = create_engine(url, ONE).execution_options(
        schema_translate_map={None: "public", "tenant": "public"}
    )
    database = Database(engine, SystemClock())
    hosts = sa.Table("contacts", sa.MetaData(), sa.Column("nickname", sa.Text))
    with database.begin() as connection:
        assert connection.execute(sa.select(metadata.tables["contacts"])).all() == []
        with hosts_tables(connection):
            assert connection.execute(sa.select(hosts)).scalars().all() == ["Ada"]
    with engine.begin() as connection:
        with outdials_tables(connection):
            assert connection.execute(sa.select(metadata.tables["contacts"])).all() == []
        assert connection.execute(sa.select(hosts)).scalars().all() == ["Ada"]
    engine.dispose()


def test_a_schema_that_is_not_there_is_named(url: str) -> None:
    engine = create_engine(url, "elsewhere")
    with engine.connect() as connection, pytest.raises(SchemaOutOfDate, match="elsewhere"):
        check(connection)
    engine.dispose()


def test_an_upgrade_again_needs_no_right_to_make_schemas(url: str) -> None:
    engine = create_engine(url, ONE)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE limited_{id(engine)} LOGIN")
        connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA {ONE} TO limited_{id(engine)}")
        connection.exec_driver_sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA {ONE} TO limited_{id(engine)}")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"SET ROLE limited_{id(engine)}")
        connection.commit()
        migrate.upgrade_connection(connection)
        assert current_revision(connection) == migrate.expected_revision()
        connection.exec_driver_sql("RESET ROLE")
        connection.exec_driver_sql(f"DROP OWNED BY limited_{id(engine)}")
        connection.exec_driver_sql(f"DROP ROLE limited_{id(engine)}")
        connection.commit()
    engine.dispose()


def test_a_schema_with_sqlite_is_refused_in_one_sentence(empty_sqlite_url: str) -> None:
    with pytest.raises(SettingsError, match="SQLite has no schemas") as caught:
        create_engine(empty_sqlite_url, ONE)
    assert str(caught.value).count(". ") == 0


@pytest.mark.parametrize("name", ["Outdial", "pg_mine", "a b", 'a"; DROP', "", "1st"])
def test_a_schema_of_another_name_is_refused(empty_postgres_url: str, name: str) -> None:
    with pytest.raises(SettingsError, match="small letters"):
        create_engine(empty_postgres_url, name)


def test_the_schema_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("OUTDIAL_DB_SCHEMA", ONE)
    settings = load_settings()
    engine = create_engine(settings.database_url, settings.db_schema)
    with engine.connect() as connection:
        check(connection)
    engine.dispose()
