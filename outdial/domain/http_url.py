"""What a URL must be that calls are sent to, or that webhooks come back to."""

from __future__ import annotations

from urllib.parse import urlsplit


def check_http_url(text: str) -> str:
    """`text` itself. Raises ValueError with the rest of a sentence, which does not repeat it."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError("is no URL: write one such as https://voice.example.net") from error
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError(
            "must begin with http:// or https:// and name a host, such as https://voice.example.net"
        )
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "must not hold a user name or password: secrets belong in the environment or in files"
        )
    if not text.isprintable() or " " in text:
        raise ValueError("holds spaces or unprintable characters: write the URL alone")
    return text
