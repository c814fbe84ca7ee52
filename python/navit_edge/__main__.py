"""``python -m navit_edge``: the command `navit-edge`, also where its script is not on PATH."""

from navit_edge.cli.main import main

main()
