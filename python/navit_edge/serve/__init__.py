"""Bundles behind a network (docs/serving.md): what every protocol shares, and a folder for each of them.

Nothing of the extra ``serve`` is imported with this package; ``http`` and ``grpc`` import it, and ``server`` names the
remedy if it is missing.
"""
