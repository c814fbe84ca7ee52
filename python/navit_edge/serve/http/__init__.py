"""HTTP: what is answered at which path. Imports the packages of the extra ``serve``."""
