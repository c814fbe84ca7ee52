"""Importers of other libraries' checkpoints: one small module a family, and the table in table.py.

docs/families.md lists them; docs/adding-a-family.md shows how one is added.
"""
