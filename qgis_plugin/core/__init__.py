"""Finding and running the engine; nothing here imports QGIS."""
