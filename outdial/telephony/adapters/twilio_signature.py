"""`X-Twilio-Signature`: HMAC-SHA1 over the public URL and the form (twilio.com/docs/usage/security).

There is no time stamp in it, so a repeated request is not a forged one: events are deduplicated by their ids.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from typing import Final

DEFAULT_PORTS: Final[Mapping[str, str]] = {"https": "443", "http": "80"}
URL: Final = re.compile(r"(https?)://([^/?#]*?)(?::(\d+))?((?:[/?].*)?)\Z", re.DOTALL)


def sign(token: str, url: str, form: Iterable[tuple[str, str]]) -> str:
    """Names in byte order, each followed by its value; of a repeated name the distinct values, sorted."""
    signed = url + "".join(name + value for name, value in sorted(set(form)))
    digest = hmac.new(token.encode(), signed.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


def is_signed(token: str, url: str, form: Iterable[tuple[str, str]], signature: str) -> bool:
    """Whether `signature` is right for the URL, with its default port written or not: proxies differ there."""
    pairs = list(form)
    # All are compared: how long it takes tells nothing of which one was right.
    matches = [
        hmac.compare_digest(sign(token, one, pairs).encode(), signature.encode()) for one in _spellings(url)
    ]
    return any(matches)


def _spellings(url: str) -> list[str]:
    found = URL.match(url.partition("#")[0])
    if found is None:
        return [url]
    scheme, host, port, rest = found.groups()
    if port not in {None, DEFAULT_PORTS[scheme]}:
        return [found.group()]
    return [f"{scheme}://{host}{rest}", f"{scheme}://{host}:{DEFAULT_PORTS[scheme]}{rest}"]
