"""From orthophotos to building footprints.

Each step is a module with a function on arrays or GeoDataFrames and one on paths: `labels`, `tiling`, `predict`,
`vectorize`, `segment`, `evaluate`; what trains the model is in `learning`. Importing the package imports none of them.
"""

from geofootprint._version import __version__
from geofootprint.errors import GeofootprintError

__all__ = ["GeofootprintError", "__version__"]
