"""`python -m geofootprint`: the command, for those who know only the library's name."""

from geofootprint_cli.main import main

main()
