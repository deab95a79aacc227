"""Finds the two programs that are compared: ours, and ccusage at a fixed version."""

import os
import pathlib
import shutil
import subprocess
import sys

VERSION = "20.0.24"
REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))


def skip(reason):
    """Reports that this script is skipped, also in the file where .ci/run collects skips, and exits with 0."""
    line = f"SKIP: {sys.argv[0]}: {reason}"
    print(line)
    if "CCSTATUSD_SKIPS" in os.environ:
        with open(os.environ["CCSTATUSD_SKIPS"], "a", encoding="utf-8") as file:
            file.write(line + "\n")
    sys.exit(0)


def ccusage():
    """The path of the native program, not of the script that starts it. Installs it if it is missing."""
    home = TARGET / f"ccusage-{VERSION}"
    found = lambda: sorted(home.glob("node_modules/@ccusage/*/bin/ccusage"))
    if not found():
        if not shutil.which("npm"):
            skip("there is no npm to install ccusage with")
        install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", home]
        if subprocess.run([*install, f"ccusage@{VERSION}"]).returncode != 0 or not found():
            skip(f"npm cannot install ccusage@{VERSION}")
    found()[0].chmod(0o755)
    return str(found()[0])


def ccstatusd():
    """The path of the release build, which is brought up to date first."""
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=REPOSITORY, check=True)
    return str(TARGET / "release" / "ccstatusd")
