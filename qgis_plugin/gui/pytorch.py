"""What training needs and no set-up installs: it is lost when an engine is made anew or removed."""

from __future__ import annotations

from pathlib import Path

from ..core.setup_marker import is_ours

PLACES = ("lib/python3*/site-packages/torch", "Lib/site-packages/torch")
"""Where PyTorch is in an environment: on Linux and macOS, and on Windows."""


def would_lose_pytorch(folder: Path) -> bool:
    """Say whether an environment that the set-up made has got PyTorch since.

    Parameters
    ----------
    folder : Path
        Of the environment; it need not exist, and what somebody else made there is left alone anyway.
    """
    return is_ours(folder) and any(path.is_dir() for place in PLACES for path in folder.glob(place))
