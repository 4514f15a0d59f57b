"""What can go wrong that the user can mend.

::

    GeofootprintError
    ├── InputError              (ValueError)         a file's content cannot be used
    │   ├── RasterError                              ... an orthophoto or another raster
    │   ├── VectorError                              ... footprints, an area of interest
    │   ├── ModelError                               ... a model file or a checkpoint
    │   └── DatasetError                             ... a folder of tiles
    ├── MissingFileError        (FileNotFoundError)  nothing is at that path
    ├── OptionError             (ValueError)         an option's value is impossible
    ├── OutputError             (OSError)            the result cannot be written there
    ├── ScoreError                                   a score is below the mark that was set
    ├── MissingDependencyError  (ImportError)        a package of an extra is not installed
    └── Cancelled                                    the user asked to stop

Every message is one sentence: which file or option, what is wrong with it, what to do.
"""

from __future__ import annotations

__all__ = [
    "Cancelled",
    "DatasetError",
    "GeofootprintError",
    "InputError",
    "MissingDependencyError",
    "MissingFileError",
    "ModelError",
    "OptionError",
    "OutputError",
    "RasterError",
    "ScoreError",
    "VectorError",
]


class GeofootprintError(Exception):
    """Root of all errors that the user can mend."""


class InputError(GeofootprintError, ValueError):
    """A file was found, but its content cannot be used."""


class RasterError(InputError):
    """A raster is damaged, lacks its georeference, or has the wrong bands or type."""


class VectorError(InputError):
    """A vector file is damaged, empty, lacks its CRS, or holds no polygons."""


class ModelError(InputError):
    """A file is not a model, or not one that fits the input."""


class DatasetError(InputError):
    """A folder is not a dataset of tiles, or its tiles contradict each other."""


class MissingFileError(GeofootprintError, FileNotFoundError):
    """Nothing is at the path that was given."""


class OptionError(GeofootprintError, ValueError):
    """An option has a value that cannot work."""


class OutputError(GeofootprintError, OSError):
    """The result cannot be written where it was asked for."""


class ScoreError(GeofootprintError):
    """A score is below the mark that the caller set; the work itself was done."""


class MissingDependencyError(GeofootprintError, ImportError):
    """An optional package is needed; the message names the extra that brings it."""


class Cancelled(GeofootprintError):
    """The user asked to stop; nothing was left half-written."""
