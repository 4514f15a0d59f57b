"""Sentences for what pip could not do, told by what it wrote."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from .runner import EngineError
from .texts import marked

NO_SPACE = r"Errno 28|No space left on device|not enough space|WinError 112"

DISK_IS_FULL = marked(
    "The disk of {folder} is full: geofootprint needs {needed} there; free some space or choose another folder, "
    "then try again."
)

UNREACHABLE = marked(
    "{index} cannot be reached: check the network, the proxy and the address of the index and try again, "
    "or install from a bundle file."
)

NOT_THERE = marked(
    "{index} has no geofootprint {version} for Python {series}: correct the address of the index, choose another "
    "Python, or install from a bundle file."
)

WITHOUT_ADDRESS = {
    UNREACHABLE: marked(
        "PyPI, or the index that pip is set to, cannot be reached: check the network and the proxy and try again, "
        "or install from a bundle file."
    ),
    NOT_THERE: marked(
        "PyPI, or the index that pip is set to, has no geofootprint {version} for Python {series}: install from a bundle "
        "file or from another package index, or choose another Python."
    ),
}
"""What is said in place of a sentence that speaks of an address, where none was given."""

CAUSES: tuple[tuple[str, str], ...] = (
    (NO_SPACE, DISK_IS_FULL),
    (
        r"ProxyError|Cannot connect to proxy|407 Proxy|Proxy Authentication|Tunnel connection failed",
        marked(
            "The proxy does not answer, or refuses: correct it under Proxy and try again, or install from a "
            "bundle file."
        ),
    ),
    (
        r"SSLCertVerificationError|CERTIFICATE_VERIFY_FAILED|SSLError",
        marked(
            "The certificate of {index} is not trusted, as it happens behind a company's firewall: ask for pip's setting "
            "'cert', or install from a bundle file."
        ),
    ),
    (
        r"\b(401|403) Client Error|User for .*:",
        marked(
            "{index} asks for a name and a password: write them into its address (https://name:password@...) and try "
            "again."
        ),
    ),
    (
        r"NewConnectionError|ConnectTimeout|ReadTimeout|Read timed out|Connection aborted|Connection refused|"
        r"NameResolutionError|Name or service not known|Temporary failure in name resolution|RemoteDisconnected|"
        r"ConnectionResetError|IncompleteRead|IncompleteDownload",
        UNREACHABLE,
    ),
    (
        r"is not a trusted or secure host",
        marked(
            "{index} is not encrypted, so that pip does not trust it: give its https address, or name it in pip's setting "
            "'trusted-host', and try again."
        ),
    ),
    (
        r"do not match the hashes|THESE PACKAGES DO NOT MATCH|has an invalid wheel|BadZipFile|is invalid\.",
        marked(
            "A package arrived damaged from {index}; try again."
        ),
    ),
    (
        r"No matching distribution found for geofootprint|Could not find a version that satisfies the requirement geofootprint",
        NOT_THERE,
    ),
    (
        r"No matching distribution found|Could not find a version|is not a supported wheel",
        marked(
            "Not all that geofootprint needs is there for Python {series} on this computer ({words}); choose another "
            "Python, or install from a bundle file."
        ),
    ),
    (
        r"Errno 13|Permission denied|Access is denied|WinError 5\b|Read-only file system",
        marked(
            "{folder} cannot be written: choose another folder, or end what uses it, and try again."
        ),
    ),
)
"""Regular expressions on pip's output and the sentence for each; the first that is found counts."""

UNKNOWN = "pip could not install geofootprint ({words}); the lines above tell more. Try again, or choose another Python."


def explain_pip(
    lines: Sequence[str], *, folder: Path, index: str, version: str, series: str, needed: str
) -> EngineError:
    """Return the error for an installation that failed.

    Parameters
    ----------
    lines : sequence of str
        What pip wrote.
    folder : Path
        Of the environment.
    index : str
        Name of where the packages come from, for the sentence; nothing where no address was given.
    version, series : str
        Of geofootprint and of Python.
    needed : str
        Space on the disk, with its unit.
    """
    output = "\n".join(lines)
    values = {"folder": folder, "index": index or "PyPI", "version": version, "series": series, "needed": needed}
    words = _last_error(lines)
    for pattern, sentence in CAUSES:
        if re.search(pattern, output):
            fitting = sentence if index else WITHOUT_ADDRESS.get(sentence, sentence)
            return EngineError(fitting, words=words, **values)
    return EngineError(UNKNOWN, words=words)


def _last_error(lines: Sequence[str]) -> str:
    """Return pip's own last complaint, without its first word."""
    errors = [line for line in lines if line.startswith("ERROR:")] or [line for line in lines if line.strip()]
    return errors[-1].replace("ERROR:", "", 1).strip().rstrip(".") if errors else "-"
