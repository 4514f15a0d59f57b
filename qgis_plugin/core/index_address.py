"""Addresses of package indexes, which may hold a name and a password."""

from __future__ import annotations

import base64
import re
import urllib.parse


def without_password(address: str) -> str:
    """Return an address without name and password, for messages.

    What stands before the last @ is left out, wherever that is: a password may hold @ and / that are not escaped.
    """
    before, at, after = address.rpartition("@")
    scheme = re.match(r"\w+://", before)
    return f"{scheme.group() if scheme else ''}{after}" if at else address


def split_credentials(address: str) -> tuple[str, str]:
    """Return an address without name and password, and the value of the header `Authorization`, which may be empty.

    Raises
    ------
    ValueError
        If it is no address of a package index; the text does not repeat it.
    """
    try:
        parts = urllib.parse.urlsplit(address)
        parts.port  # noqa: B018 - reading it is what finds that it is no number
    except ValueError:
        raise ValueError("no address of a package index") from None
    if parts.scheme not in ("http", "https", "file"):
        raise ValueError("no address of a package index")
    userinfo, _, host = parts.netloc.rpartition("@")
    bare = urllib.parse.urlunsplit(parts._replace(netloc=host))
    if not userinfo:
        return bare, ""
    name, _, password = userinfo.partition(":")
    pair = f"{urllib.parse.unquote(name)}:{urllib.parse.unquote(password)}"
    return bare, f"Basic {base64.b64encode(pair.encode('utf-8')).decode('ascii')}"


def same_server(address: str, other: str) -> bool:
    """Say whether two addresses lead to the same server, so that the password of one may be sent to the other."""
    return urllib.parse.urlsplit(address)[:2] == urllib.parse.urlsplit(other)[:2]
