"""Fetches pip itself, for a Python that comes without it: Debian's has neither pip nor ensurepip by default."""

from __future__ import annotations

import hashlib
import http.client
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from .index_address import same_server, split_credentials, without_password
from .runner import EngineCancelled, EngineError, Listener

PYPI = "https://pypi.org/simple"
"""Index that is asked where none is given."""

TIMEOUT = 15
"""Seconds without a byte after which the index counts as not to be reached."""

BLOCK = 1 << 16

RELEASE = re.compile(r"pip-(\d+(?:\.\d+)*)-py3-none-any\.whl")
"""File name of a released pip, without those that are in trial."""


class _Links(HTMLParser):
    """Collects the links of an index's page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "a" and found.get("href") and "data-yanked" not in found:
            self.links.append(found["href"] or "")


def fetch_pip(index: str, proxy: str, folder: Path, listener: Listener) -> Path:
    """Download the newest pip of an index and compare it with the sum that the index tells.

    Parameters
    ----------
    index : str
        Address of a package index (PEP 503), or nothing for PyPI.
    proxy : str
        Address of a proxy, or nothing for the one that the system names.
    folder : Path
        Where the wheel is put.
    listener : Listener
        Hears of it, and may cancel.

    Returns
    -------
    Path
        Of the wheel.

    Raises
    ------
    EngineError
        If the index cannot be reached, has no pip, or what came is damaged.
    """
    page = f"{(index or PYPI).rstrip('/')}/pip/"
    opener = urllib.request.build_opener(*_proxy_handlers(proxy))
    try:
        bare, authorization = split_credentials(page)
        links = b"".join(_download(opener, bare, authorization, listener)).decode("utf-8", "replace")
        name, address, expected = _newest(links, bare)
        listener.line(f"Downloading {name}")
        address, own = split_credentials(address)
        known = own or (authorization if same_server(address, bare) else "")
        content = b"".join(_download(opener, address, known, listener))
    # urllib's errors are OSErrors, those of an answer that breaks off are not; ValueError: no address at all.
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise EngineError(
            "pip cannot be fetched from {page} ({why}): check the network, the proxy and the address of the index and "
            "try again, or install from a bundle file.",
            page=without_password(page),
            why=getattr(error, "reason", None) or error,
        ) from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise EngineError("What {page} gave as pip is damaged; try again.", page=without_password(page))
    target = folder / name
    target.write_bytes(content)
    return target


def _proxy_handlers(proxy: str) -> list[Any]:
    return [urllib.request.ProxyHandler({"http": proxy, "https": proxy})] if proxy else []


def _download(
    opener: urllib.request.OpenerDirector, address: str, authorization: str, listener: Listener
) -> Iterator[bytes]:
    request = urllib.request.Request(address)
    if authorization:
        # Not sent on to where the index leads: that may be another server.
        request.add_unredirected_header("Authorization", authorization)
    with opener.open(request, timeout=TIMEOUT) as answer:
        for block in iter(lambda: answer.read(BLOCK), b""):
            if listener.is_cancelled():
                raise EngineCancelled("Cancelled.")
            yield block


def _newest(page: str, address: str) -> tuple[str, str, str]:
    """Return name, address and sha256 of the newest release that a page links to."""
    parser = _Links()
    parser.feed(page)
    releases = []
    for link in parser.links:
        full, _, fragment = urllib.parse.urljoin(address, link).partition("#")
        match = RELEASE.fullmatch(urllib.parse.unquote(full.rpartition("/")[2]))
        if match and fragment.startswith("sha256="):
            version = tuple(map(int, match.group(1).split(".")))
            releases.append((version, match.group(), full, fragment[len("sha256=") :]))
    if not releases:
        raise ValueError("it lists no pip")
    _, name, full, expected = max(releases)
    return name, full, expected
