"""Installs packages into the running Python, by uv if it can be had: what takes pip a minute, it does in seconds.

python scripts/install_packages.py [ARGUMENTS of `pip install`]

uv does not read pip's configuration (indexes, folders of wheels, certificates), so it is told what pip says of it. If
uv cannot be installed, or fails, pip is asked: its message is the one that people know.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
UV = [sys.executable, "-m", "uv"]
#: A line of `pip config list`, such as "global.index-url='https://…'" and ":env:.find-links='/wheels'".
SETTING = re.compile(r"^(:env:|[\w-]+)\.([\w-]+)=('.*'|\".*\")$")
#: Who says it; the last goes before the others.
SAID_BY = ("global", "user", "site", "install", ":env:")
#: pip's setting -> uv's variable, and what lies between several values.
VARIABLES = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "constraint": ("UV_CONSTRAINT", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
}


def environment_of(listed: str) -> dict[str, str]:
    """uv's variables for what `pip config list` printed."""
    lines = [setting for line in listed.splitlines() if (setting := SETTING.match(line.strip()))]
    known = [one for one in lines if one[1] in SAID_BY and one[2] in VARIABLES]
    found: dict[str, str] = {}
    for setting in sorted(known, key=lambda one: SAID_BY.index(one[1])):
        variable, between = VARIABLES[setting[2]]
        found[variable] = between.join(str(ast.literal_eval(setting[3])).split())
    return found


def main() -> int:
    arguments = sys.argv[1:]
    if subprocess.run([*PIP, "install", "--quiet", "--no-compile", "uv"], check=False).returncode == 0:
        listed = subprocess.run([*PIP, "config", "list"], check=True, capture_output=True, text=True).stdout
        # As pip, which takes the newest of all indexes.
        told = {"UV_INDEX_STRATEGY": "unsafe-best-match", **environment_of(listed)}
        command = [*UV, "pip", "install", "--python", sys.executable, *arguments]
        if subprocess.run(command, check=False, env={**os.environ, **told}).returncode == 0:
            return 0
        print("uv did not install them; pip is asked", file=sys.stderr, flush=True)
    return subprocess.run([*PIP, "install", "--no-compile", *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
