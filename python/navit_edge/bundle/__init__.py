"""An engine bundle: its manifest, its files as they were hashed, what changes them (docs/bundle.md)."""
