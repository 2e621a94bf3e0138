"""Install what the tests need from Debian where that may be done, and say loudly what is missing where it may not.

Needed: promtool (package `prometheus`), which checks what /metrics says.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NEEDED = {"promtool": "prometheus"}


def main() -> None:
    missing = [package for program, package in NEEDED.items() if not shutil.which(program)]
    if not missing:
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
        subprocess.run(["apt-get", "update", "-qq"], check=False, **quiet)
        # --no-install-recommends: the program, not a service that starts with the machine
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], check=False, **quiet)
    for program, package in NEEDED.items():
        if not shutil.which(program):
            print(f"*** {program} is missing: its tests will be skipped. Install the package `{package}`. ***", file=sys.stderr)


if __name__ == "__main__":
    main()
