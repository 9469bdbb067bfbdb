"""`outdial account`: accounts at telephony providers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from outdial.cli.context import open_context
from outdial.cli.output import print_json, print_table, say, shown, warn
from outdial.domain.breaker import Breaker
from outdial.domain.errors import UserError

if TYPE_CHECKING:
    from outdial.domain.account import Account
    from outdial.telephony.options import AdapterKind

app = typer.Typer(help="Accounts at telephony providers, and their limits.", no_args_is_help=True)

DEFAULT_ADAPTER: Final = "http"
# Names of places, not secrets: what a new account gets where nothing else is said.
DEFAULT_API_KEY: Final = "env:TELEPHONY_API_KEY"
DEFAULT_WEBHOOK_SECRET: Final = "env:TELEPHONY_WEBHOOK_SECRET"  # noqa: S105 - where it is


@app.command(
    "set",
    epilog="Example: outdial account set main --adapter http --base-url https://voice.example.net "
    "--api-key env:TELEPHONY_API_KEY --webhook-secret env:TELEPHONY_WEBHOOK_SECRET "
    "--max-concurrent-calls 50 --calls-per-second 5 --from +390212345678",
)
def set_(
    name: Annotated[str, typer.Argument(help="The account's name, by which campaigns refer to it.")],
    adapter: Annotated[
        str | None, typer.Option(help="How the provider is spoken to.", show_default=DEFAULT_ADAPTER)
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="Where the provider takes calls.", show_default="$TELEPHONY_BASE_URL")
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(help="Where the API key is: env:NAME or file:PATH.", show_default=DEFAULT_API_KEY),
    ] = None,
    webhook_secret: Annotated[
        str | None,
        typer.Option(
            help="Where the webhooks' secret is: env:NAME or file:PATH.", show_default=DEFAULT_WEBHOOK_SECRET
        ),
    ] = None,
    max_concurrent_calls: Annotated[
        int | None, typer.Option(help="Lines: how many calls may be open at once. 0 stops dialing.")
    ] = None,
    calls_per_second: Annotated[
        str | None,
        typer.Option(
            help="How many calls may start in a second, such as 5 or 0.2.", show_default="unlimited"
        ),
    ] = None,
    from_number: Annotated[
        str | None,
        typer.Option("--from", help="The number to show, where a campaign names none.", metavar="NUMBER"),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            help="What only this adapter wants to know, such as account_sid=AC…; an empty value takes it away.",
            metavar="KEY=VALUE",
        ),
    ] = None,
) -> None:
    """Create an account, or change what is given and leave the rest of it as it is.

    Setting an account again also lifts its suspension and back-off, opens countries that the provider had refused, and
    takes resting caller numbers into use: run it with the name alone when the provider's side is mended.
    """
    from outdial.operations.accounts import set_account
    from outdial.storage import accounts
    from outdial.telephony.options import COMMON

    options = _options(option or [])
    kinds = _kinds() if adapter not in {None, DEFAULT_ADAPTER} or options else {}
    with open_context() as context:
        is_new = context.run(accounts.by_name, name) is None
        if is_new:
            adapter = adapter or DEFAULT_ADAPTER
            kind = kinds.get(adapter)
            if kind is None or kind.base_url is None:
                base_url = base_url or context.settings.telephony_base_url
            else:
                base_url = base_url or kind.base_url
                calls_per_second = calls_per_second or kind.calls_per_second
            api_key = api_key or DEFAULT_API_KEY
            if kind is None or kind.own_webhook_secret:
                webhook_secret = webhook_secret or DEFAULT_WEBHOOK_SECRET
        done = context.run(
            set_account,
            name,
            known_adapters=tuple(kinds) or (DEFAULT_ADAPTER,),
            adapter=adapter,
            base_url=base_url,
            api_key=api_key,
            webhook_secret=webhook_secret,
            max_concurrent_calls=max_concurrent_calls,
            calls_per_second=calls_per_second,
            outbound_number=from_number,
            options=options,
            known_options={name: {**COMMON, **kind.options} for name, kind in kinds.items()},
        )
    if done.is_new:
        say(f"Account {name} created.")
    else:
        say(f"Account {name} changed." if done.changes else f"Account {name} is unchanged.")
    for change in done.changes:
        say(f"  {change}")


def _kinds() -> Mapping[str, AdapterKind]:
    """All adapters. What knows them loads the whole program, for a second."""
    from outdial.bootstrap import ADAPTERS

    return {name: one.kind for name, one in ADAPTERS.items()}


def _options(written: list[str]) -> dict[str, str]:
    """Raises `UserError` for what has no name."""
    wrong = [one for one in written if "=" not in one or one.startswith("=")]
    if wrong:
        raise UserError(
            "\n".join(f"--option {one}: write it as KEY=VALUE, such as events=poll." for one in wrong)
        )
    return {key.strip(): value.strip() for key, _, value in (one.partition("=") for one in written)}


@app.command("list", epilog="Example: outdial account list --json")
def list_(as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False) -> None:
    """All accounts with their limits, and which are stopped or suspended and why."""
    from outdial.operations.accounts import list_accounts
    from outdial.operations.stops import stop_of_everything

    with open_context() as context:
        found = context.run(list_accounts)
        stopped = context.run(stop_of_everything)
    if as_json:
        print_json([_document(account) for account in found])
        return
    print_table(
        ["account", "adapter", "lines", "calls/s", "from", "base URL", "state"],
        [
            (
                account.name,
                account.adapter,
                account.max_concurrent_calls,
                _rate(account),
                account.outbound_number,
                account.base_url,
                _state(account),
            )
            for account in found
        ],
        empty="There are no accounts yet: create one with `outdial account set NAME …`.",
    )
    if stopped is not None:
        warn(f"note: {stopped}")


@app.command(epilog="Example: outdial account check main && outdial run")
def check(name: Annotated[str, typer.Argument(help="The account's name.", metavar="NAME")]) -> None:
    """Reach the provider without placing a call, and say in one sentence what is wrong, if anything.

    Exit code: 0 if calls could be placed, 1 if not.
    """
    from outdial.bootstrap import AccountProviders
    from outdial.domain.errors import SettingsError
    from outdial.operations.account_check import Diagnosis, check_account
    from outdial.operations.stops import find_account, still_stopped

    with open_context() as context:
        account = context.run(find_account, name)
        notes = context.run(still_stopped, name)
        try:
            provider = AccountProviders(context.settings).provider_for(account)
        except SettingsError as error:
            found = Diagnosis(is_well=False, says=f"Account {name}: {error}")
        else:
            found = check_account(account, provider, context.clock)
    say(found.says)
    if account.suspended_at is not None:
        notes.append(
            f"The account is suspended since the provider said: {account.suspended_reason}. "
            f"`outdial account set {name}` lifts that."
        )
    if account.breaker is not None:
        notes.append(
            f"Its breaker is {account.breaker.replace('_', ' ')}: {account.breaker_reason}. It is tried again by itself; "
            f"`outdial account set {name}` closes it at once."
        )
    if account.webhooks_missing_at is not None:
        notes.append(
            "Its webhooks do not arrive: is `outdial serve` reached by the provider at OUTDIAL_PUBLIC_URL?"
        )
    for note in notes:
        warn(f"note: {note}")
    if not found.is_well:
        raise typer.Exit(1)


def _document(account: Account) -> dict[str, Any]:
    return {
        "name": account.name,
        "adapter": account.adapter,
        "base_url": account.base_url,
        "api_key": account.api_key_ref,
        "webhook_secret": account.webhook_secret_ref,
        "max_concurrent_calls": account.max_concurrent_calls,
        "calls_per_second": account.rate.calls_per_second,
        "from": account.outbound_number,
        "options": dict(account.options),
        "stopped_at": account.stopped_at,
        "stopped_by": account.stopped_by,
        "stopped_reason": account.stopped_reason,
        "suspended_at": account.suspended_at,
        "suspended_reason": account.suspended_reason,
        "probe_at": account.probe_at,
        "breaker": account.breaker,
        "breaker_at": account.breaker_at,
        "breaker_reason": account.breaker_reason,
        "webhooks_missing_at": account.webhooks_missing_at,
        "not_before": account.throttle.not_before,
        "blocked_countries": dict(account.blocked_countries),
    }


def _rate(account: Account) -> str:
    rate = account.rate.calls_per_second
    return "unlimited" if rate is None else f"{rate:g}"


def _state(account: Account) -> str:
    if account.stopped_at is not None:
        return f"stopped by {account.stopped_by}: {account.stopped_reason}"
    if account.suspended_at is not None:
        return f"suspended: {account.suspended_reason}"
    if account.breaker is not None:
        trying = "one call is tried" if account.breaker is Breaker.HALF_OPEN else "nothing is dialed"
        return f"breaker {account.breaker}, {trying}: {account.breaker_reason}"
    if account.throttle.unreachable_count and account.throttle.not_before is not None:
        return f"backing off, cannot be reached: tried again at {shown(account.throttle.not_before)}"
    if account.webhooks_missing_at is not None:
        return f"dials, but its webhooks are missing since {shown(account.webhooks_missing_at)}"
    if account.blocked_countries:
        return f"may not call {', '.join(sorted(account.blocked_countries))}"
    return "ready"
