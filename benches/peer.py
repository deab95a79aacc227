"""The tool that our numbers are compared with, at the version they were compared with."""

import os
import pathlib
import shutil
import subprocess
import sys

VERSION = "20.0.24"
REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))


def skip(reason):
    """Says so where .ci/run collects what was left out, and ends well."""
    line = f"SKIP: {sys.argv[0]}: {reason}"
    print(line)
    if "CCSTATUSD_SKIPS" in os.environ:
        with open(os.environ["CCSTATUSD_SKIPS"], "a", encoding="utf-8") as file:
            file.write(line + "\n")
    sys.exit(0)


def ccusage():
    """The native program, without the script that starts it."""
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
    """The release build, made anew where it is older than the source."""
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=REPOSITORY, check=True)
    return str(TARGET / "release" / "ccstatusd")
