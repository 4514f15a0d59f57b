"""One class for each command of geofootprint that QGIS offers."""
