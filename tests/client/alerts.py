"""The life of the alerts on a session: what each tells while the real client waits, works and ends, over the
end of one watcher and the start of the next."""

import json
import os
import signal

ALERTS = """
[[alert]]
name = "waiting"
on = "waiting"
command = {command}

[[alert]]
name = "finished"
on = "finished"
min_turn_s = 0
command = {command}

[[alert]]
name = "ended"
on = "no_watcher"
after_s = 1
command = {command}
"""
# An alert tells of one session once in a minute.
CAP = 75
# Two lines of JSON may come at once.
COMMAND = ["sh", "-c", 'read -r line; echo "$line" >>told.jsonl']


def alerts(desk, checks):
    config = desk.home / ".config/ccstatusd/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(ALERTS.format(command=json.dumps(COMMAND)))
    desk.start_watcher()
    pane = desk.open(desk.repository("shop"), "--permission-mode", "default")
    name = pane.until("its name", lambda: pane.document().get("name"))
    told = lambda: [(it["alert"], it["title"], it["body"]) for it in notices(desk)]
    is_waiting = lambda: pane.document().get("status") == "waiting"
    allow = lambda: pane.until("the permission to be taken", lambda: pane.press("Enter") or not is_waiting())

    pane.ask("hello")
    finished = ("finished", f"{name} has finished", "after 0 s, in shop")
    checks.value("alerts, a turn", pane, told, [finished])

    pane.say("call{touch tool.txt}")
    pane.until("the client to wait", is_waiting)
    waits = ("waiting", f"{name} waits", "permission prompt, in shop")
    checks.value("alerts, it waits", pane, lambda: told()[1:], [waits])
    ended = desk.snapshot()["watcher"]["pid"]
    os.kill(ended, signal.SIGKILL)
    killed = [("ended", "ccstatusd has ended", "1 s ago, without being told to; `ccstatusd start` starts it again")]
    checks.value("alerts, the watcher is killed", pane, lambda: told()[2:], killed)
    desk.start_watcher()
    pane.until("the next watcher", lambda: (desk.snapshot()["watcher"] or {}).get("pid") not in (None, ended))
    is_armed = lambda: desk.snapshot()["alerts"]["waiting"]["subjects"].get(pane.session(), {}).get("armed", True)
    checks.value("alerts, the next watcher knows what was told", pane, is_armed, False)
    allow()
    checks.value("alerts, it goes on", pane, is_armed, True)
    is_again = lambda: [it[:2] for it in told()[3:]] == [finished[:2]]
    checks.value("alerts, the turn that it had waited in", pane, is_again, True, cap=CAP)
    first, *_, last = [it["at_ms"] for it in notices(desk)]
    checks.value("alerts, one a minute of one session", pane, lambda: last - first >= 60_000, True, cap=0)
    print(f"alerts, what was told, in seconds:{story(desk)}", flush=True)
    print("".join(f"\n     | {row}" for row in desk.ours("alerts").split("\n")), flush=True)


def notices(desk):
    try:
        return [json.loads(line) for line in (desk.home / "told.jsonl").read_text().splitlines()]
    except OSError:
        return []


def story(desk):
    """What was told, and when, for people."""
    found = notices(desk)
    ago = lambda it: (it["at_ms"] - found[0]["at_ms"]) / 1000
    return "".join(f"\n     | {ago(it):6.1f}  {it['alert']}: {it['title']} ({it['body']})" for it in found)


SCENARIOS = [alerts]
