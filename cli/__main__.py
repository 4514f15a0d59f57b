"""`python -m geofootprint_cli`: the command without its entry point, as the QGIS plugin starts it."""

from .main import main

main()
