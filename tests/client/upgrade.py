"""Scenarios in which the program is replaced by another version while the client runs."""

import json

import plugin

# A watcher looks for another program every minute.
CAP = 75


def finding(desk):
    """What `doctor` says of the versions."""
    found = json.loads(desk.ours("doctor", "--json", code=None))
    return [it["what"] for it in found if it["check"] == "version"]


def replace(name, desk, checks, pane, line):
    old = desk.version()
    pane.ask("hello")
    checks.line(f"{name}, before", pane, lambda: line(pane, "main", 100_000))
    session, before = pane.session(), desk.snapshot()["watcher"]
    checks.value(f"{name}, the version before", pane, lambda: before["version"], old, cap=0)

    new = desk.install_program(is_newer=True)
    said = [f"the watcher is version {old}, and this is {new}"]
    checks.value(f"{name}, what doctor says at first", pane, lambda: finding(desk), said, cap=0)
    pane.ask("again")
    seen = set()
    watcher = lambda: seen.add(pane.line()) or desk.snapshot()["watcher"] or {}
    checks.value(f"{name}, the version", pane, lambda: watcher().get("version"), new, cap=CAP)
    checks.value(f"{name}, the process", pane, lambda: watcher().get("pid"), before["pid"], cap=0)
    # A line that is drawn in the moment of the change ends with `no watcher`.
    start = "~/shop · main · Opus 5.5 medium · ctx "
    checks.value(f"{name}, other lines meanwhile", pane, lambda: [it for it in seen if not it.startswith(start)], [])

    checks.line(f"{name}, the reply of meanwhile", pane, lambda: line(pane, "main", 150_000))
    pane.ask("and again")
    checks.line(f"{name}, a reply afterwards", pane, lambda: line(pane, "main", 200_000))
    checks.value(f"{name}, the turns", pane, lambda: desk.session(session).get("turns"), 3)
    desk.git(pane.cwd, "switch", "-q", "-c", "topic")
    checks.line(f"{name}, a branch changed elsewhere", pane, lambda: line(pane, "topic", 200_000))
    checks.value(f"{name}, what doctor says at last", pane, lambda: finding(desk), [f"{new} everywhere"])


def upgrade(desk, checks, line):
    desk.install_program()
    desk.ours("init", "--yes", "--login", "hook")
    replace("upgrade", desk, checks, desk.open(desk.repository("shop")), line)


def plugin_upgrade(desk, checks, line):
    desk.install_program()
    shop = desk.repository("shop")
    plugin.install(desk)
    replace("upgrade with the plugin", desk, checks, desk.open(shop), line)


SCENARIOS = [upgrade, plugin_upgrade]
