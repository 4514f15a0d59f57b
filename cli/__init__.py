"""The command `geofootprint`: one module a command, each a thin layer over one call into the library."""
