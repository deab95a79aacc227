"""Scenarios with the plugin in `contrib/claude-code`, installed by the two commands of its README."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

MARKETPLACE = pathlib.Path(__file__).resolve().parents[2] / "contrib/claude-code"

# Of a user who has a status line.
OWN = {"statusLine": {"type": "command", "command": "echo a line of my own"}}
# Of one whom the client does not ask whether it may run our commands.
TRUSTED = {"permissions": {"allow": ["Bash(ccstatusd *)"]}}


def install(desk, *options, has_program=True):
    """Installs the plugin, and puts the program on PATH."""
    bin = desk.path / "bin"
    bin.mkdir()
    git = bin / "git"
    git.symlink_to(shutil.which("git"))
    if has_program:
        # It logs with what it is called.
        log = f'echo "$@" >> {desk.path}/calls'
        (bin / "ccstatusd").write_text(f'#!/bin/sh\n{log}\nexec {desk.program} "$@"\n')
        (bin / "ccstatusd").chmod(0o700)
    desk.env["PATH"] = f"{bin}:{os.environ['PATH']}"
    desk.run_client(desk.home, "plugin", "marketplace", "add", str(MARKETPLACE))
    desk.run_client(desk.home, "plugin", "install", "ccstatusd@ccstatusd", *options)


def calls(desk, name):
    try:
        return (desk.path / "calls").read_text().split("\n").count(name)
    except FileNotFoundError:
        return 0


def calls_at_rest(desk, name):
    """How many there were once there has been none for a second."""
    found, since = calls(desk, name), time.monotonic()
    while time.monotonic() - since < 1:
        desk.pause()
        if (now := calls(desk, name)) != found:
            found, since = now, time.monotonic()
    return found


def watcher(desk):
    return (desk.snapshot().get("watcher") or {}).get("pid")


def start(desk):
    argv = [desk.path / "bin/ccstatusd", "start"]
    subprocess.run(argv, env=desk.env, stdin=subprocess.DEVNULL, capture_output=True, check=True)


def colours(pane):
    """The escape sequences in the row of the line."""
    screen = pane.desk.tmux("capture-pane", "-e", "-p", "-t", pane.id).split("\n")
    plain = [re.sub(r"\x1b\[[\d;]*m", "", it) for it in screen]
    found = [row for row, text in zip(screen, plain) if pane.line() and pane.line() in text]
    return re.findall(r"\x1b\[(?:36|35|33)m", found[-1]) if found else []


def plugin_is_valid(desk, checks, line):
    """What Claude Code says of the files, and their own tests in a client that is faked."""
    pane = desk.open(desk.repository("shop"))
    for folder in MARKETPLACE, MARKETPLACE / "ccstatusd":
        for command in ["validate", "--strict"], ["test"]:
            if command == ["test"] and folder == MARKETPLACE:
                continue
            argv = [desk.client, "plugin", *command, str(folder)]
            done = subprocess.run(argv, env=desk.client_env(), cwd=desk.home, stdin=subprocess.DEVNULL, timeout=60,
                                  capture_output=True, text=True, check=False)
            what = f"claude plugin {' '.join(command)} {folder.name}"
            checks.add(what, done.returncode, done.returncode == 0, done.stdout + done.stderr, pane)


def plugin(desk, checks, line):
    """A newcomer: no state directory, no watcher, no settings."""
    shop = desk.repository("shop")
    install(desk)
    pane = desk.open(shop)
    at_first = lambda: [it.replace(" medium", "") for it in line(pane, "main")]
    seen = set()
    pane.until("the line", lambda: seen.add(pane.line()) or pane.line() in at_first())
    wrong = [it for it in seen if "watcher" in it or "ccstatusd" in it]
    checks.add("plugin, the first lines", wrong, not wrong, "nothing of a watcher that is being started", pane)
    checks.value("plugin, in colour", pane, lambda: colours(pane), ["\x1b[36m", "\x1b[35m"])
    pane.ask("hello")
    checks.line("plugin, a reply", pane, lambda: line(pane, "main", 100_000))

    n_before = calls_at_rest(desk, "show")
    desk.git(shop, "checkout", "-q", "-b", "topic")
    checks.line("plugin, a branch of another terminal", pane, lambda: line(pane, "topic", 100_000), cap=3)
    checks.value("plugin, without a process", pane, lambda: calls(desk, "show"), n_before, cap=0)

    whole = line(pane, "topic", 100_000)[0]
    fits = lambda: pane.line() in whole and not pane.line().endswith("…") and 20 < len(pane.line()) <= 56
    desk.tmux("resize-window", "-t", pane.id, "-x", "60", "-y", "40")
    checks.value("plugin, a narrow window", pane, fits, True, cap=3)
    desk.tmux("resize-window", "-t", pane.id, "-x", "160", "-y", "40")
    checks.line("plugin, a wide window again", pane, lambda: line(pane, "topic", 100_000), cap=3)

    os.kill(watcher(desk), signal.SIGKILL)
    checks.value("plugin, the watcher is killed", pane, lambda: "no watcher" in pane.line(), True, cap=15)
    start(desk)
    checks.line("plugin, the watcher is back", pane, lambda: line(pane, "topic", 100_000), cap=15)

    session = pane.session()
    pane.say("/clear")
    pane.until("another session", lambda: pane.document().get("sessionId") != session)
    checks.line("plugin, cleared", pane, lambda: line(pane, "topic"), cap=5)
    desk.git(shop, "checkout", "-q", "main")
    checks.line("plugin, the branch after that", pane, lambda: line(pane, "main"), cap=3)
    pane.say(f"/resume {session}")
    pane.until("the first session", lambda: pane.document().get("sessionId") == session)
    checks.line("plugin, resumed", pane, lambda: line(pane, "main", 100_000), cap=5)
    desk.git(shop, "checkout", "-q", "topic")
    checks.line("plugin, the branch after that, too", pane, lambda: line(pane, "topic", 100_000), cap=3)


def plugin_subscription(desk, checks, line):
    """What the plugin hands over reaches the snapshot, and other sessions."""
    reset = int(time.time()) + 2 * 3600
    desk.model.limits = {"5h": (0.61, reset), "7d": (0.12, reset + 4 * 86400)}
    shop = desk.repository("shop")
    install(desk)
    pane = desk.open(shop)
    pane.ask("hello")
    limits = lambda: {name: it["used_percentage"] for root in desk.snapshot().get("roots", {}).values()
                      for name, it in root["limits"].items() if it and name in ("five_hour", "seven_day")}
    checks.value("plugin, the limits", pane, limits, {"five_hour": 61, "seven_day": 12})
    context = lambda: (desk.session(pane.session()).get("context") or {}).get("window")
    checks.value("plugin, the size of the context", pane, context, 1_000_000)
    source = lambda: (desk.session(pane.session()).get("cost") or {}).get("source")
    checks.value("plugin, the cost", pane, source, "client")


def plugin_subagents(desk, checks, line):
    shop = desk.repository("shop")
    install(desk)
    pane = desk.open(shop)
    pane.ask("agents{2}", 2)
    for n in range(2):
        row = pane.until("our rows", lambda: " · " in (it := pane.row(f"job {n}")) and it)
        is_right = row.count(f"job {n}") == row.count("general-purpose") == 1 and "Opus 5.5" in row
        checks.add(f"plugin, the row of subagent {n}", row, is_right, f"job {n} · general-purpose · … · Opus 5.5", pane)
    desk.model.may_agents_answer.set()


def plugin_beside(desk, checks, line):
    """A status line of the user's stays in mode `auto`."""
    shop = desk.repository("shop")
    install(desk)
    seen = set()
    pane = desk.open(shop)
    pane.until("the user's line", lambda: seen.add(pane.line()) or "a line of my own" in seen)
    pane.ask("hello")
    n_shown = lambda: calls(desk, "show")
    pane.until("the facts to be handed over", lambda: seen.add(pane.line()) or n_shown())
    cost = lambda: seen.add(pane.line()) or (desk.session(pane.session()).get("cost") or {}).get("source")
    checks.value("plugin beside a line, facts", pane, cost, "client")
    checks.value("plugin beside a line, all lines", pane, lambda: sorted(seen - {""}), ["a line of my own"], cap=0)
    checks.value("plugin beside a line, no file", pane, lambda: list((desk.state / "fitted").iterdir()), [])


def plugin_instead(desk, checks, line):
    """In mode `on` it takes the place of the user's line."""
    shop = desk.repository("shop")
    install(desk, "--config", "mode=on")
    pane = desk.open(shop)
    at_first = lambda: [it.replace(" medium", "") for it in line(pane, "main")]
    checks.line("plugin instead of a line", pane, at_first)


def plugin_alone(desk, checks, line):
    """Without the program."""
    shop = desk.repository("shop")
    install(desk, has_program=False)
    pane = desk.open(shop)
    expected = lambda: ["ccstatusd is not installed, or not on PATH: /ccstatusd:setup"]
    checks.line("plugin without the program", pane, expected)
    pane.ask("hello")
    checks.value("plugin without the program, a reply", pane, lambda: len(pane.replies()), 1)


def plugin_skills(desk, checks, line):
    """Each skill's text reaches the model, and the command that it names runs. The model here understands
    nothing: which command it is, stands behind the skill's name."""
    shop = desk.repository("shop")
    install(desk)
    pane = desk.open(shop)
    for skill, begins, command, printed in [
        ("setup", "Set up the program", "ccstatusd init --yes --login none", "settings.json is changed"),
        ("doctor", "Find out why the status line", "ccstatusd doctor", "problems,"),
        ("uninstall", "Remove ccstatusd.", "ccstatusd uninstall --yes", "the watcher has ended"),
    ]:
        n_before = len(pane.replies())
        pane.ask(f"/ccstatusd:{skill} call{{{command}}}", 2)
        asked, told = pane.replies()[n_before:][:2]
        checks.add(f"plugin, the text of {skill}", begins in asked.prompt, begins in asked.prompt, True, pane)
        said = [it for it in (told.result or "").split("\n") if printed in it]
        checks.add(f"plugin, what {skill} runs", said or told.result, said, printed, pane)


for scenario in (plugin_beside, plugin_instead):
    scenario.settings = OWN
plugin_skills.settings = TRUSTED
SCENARIOS = [plugin, plugin_is_valid, plugin_subscription, plugin_subagents, plugin_beside, plugin_instead, plugin_alone, plugin_skills]
