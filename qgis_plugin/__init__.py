# SPDX-License-Identifier: GPL-2.0-or-later
"""The QGIS plugin: Processing algorithms that run the `geofootprint` command in a Python of its own.

QGIS's Python imports nothing but its own modules and the standard library here: the toolkit's numpy, PROJ
and GDAL would collide with QGIS's, so they stay in the child process.
"""


from __future__ import annotations

from typing import Any


def classFactory(iface: Any) -> Any:
    """Return the plugin; QGIS calls this when it loads the folder."""
    from .plugin import GeofootprintPlugin

    return GeofootprintPlugin(iface)
