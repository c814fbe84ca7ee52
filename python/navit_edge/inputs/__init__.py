"""What names lead to: folders and their entries, patterns, lists of paths (docs/run.md, "What is run").

Every entry of a folder is run, skipped by a rule and counted, or an error of its own; none vanishes.
``entries`` is one folder, ``walk`` those below it, ``patterns`` what a pattern matches, ``lists`` paths on standard
input.
"""
