"""Compares what `ccstatusd usage --format ccusage` prints with what ccusage prints: the whole documents, key
by key."""

import math
import os
import tempfile

import trees

CLAUDE = [
    (["daily"], ["daily"]),
    (["daily", "--order", "desc"], ["daily", "--order", "desc"]),
    (["daily", "--instances"], ["daily", "--instances"]),
    (["daily", "--last", "5"], ["daily", "--last", "5"]),
    (["weekly"], ["weekly"]),
    (["weekly", "--last", "3"], ["weekly", "--last", "3"]),
    (["monthly"], ["monthly"]),
    (["monthly", "--last", "1"], ["monthly", "--last", "1"]),
    (["sessions"], ["session"]),
]
UNIFIED = [
    (["daily"], ["daily"]),
    (["weekly"], ["weekly"]),
    (["monthly"], ["monthly"]),
    (["sessions"], ["session"]),
]
BLOCKS = [
    (["blocks"], ["blocks"]),
    (["blocks", "--active"], ["blocks", "--active"]),
    (["blocks", "--order", "desc"], ["blocks", "--order", "desc"]),
]


def commands(programs, since, until):
    """Pairs of a command of ours and one of theirs that must print the same."""
    bounds = ["--since", since, "--until", until]
    for name, head, reports in (
        ("ccusage", ["claude"], CLAUDE),
        ("ccusage-unified", [], UNIFIED),
        ("ccusage", [], BLOCKS),
    ):
        for ours, theirs in reports:
            # Of `ccusage session` see check_bounds_of_sessions.
            is_fixed = "--last" in ours or (name, ours) == ("ccusage-unified", ["sessions"])
            for more in ([],) if is_fixed else ([], bounds):
                yield (
                    [programs.ours, "usage", *ours, *more, "--format", name],
                    [programs.theirs, *head, *theirs, *more, "--json", "--offline"],
                )


def differences(ours, theirs, at=""):
    """One sentence for each value that differs. Numbers may differ by a billionth, since they are summed in
    another order. So are the names of models that were used first at the same moment."""
    is_number = lambda it: isinstance(it, (int, float)) and not isinstance(it, bool)
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found = [] if list(ours) == list(theirs) else [f"{at}: keys {list(ours)} and not {list(theirs)}"]
        for key in ours.keys() & theirs.keys():
            found += differences(ours[key], theirs[key], f"{at}.{key}")
        return found
    if isinstance(ours, list) and isinstance(theirs, list):
        if at.endswith((".modelsUsed", ".models")):
            ours, theirs = sorted(ours), sorted(theirs)
        found = [] if len(ours) == len(theirs) else [f"{at}: {len(ours)} items and not {len(theirs)}"]
        for nth, (one, other) in enumerate(zip(ours, theirs)):
            found += differences(one, other, f"{at}[{nth}]")
        return found
    if is_number(ours) and is_number(theirs):
        is_equal = math.isclose(ours, theirs, rel_tol=0, abs_tol=1e-9 * max(1, abs(theirs)))
    else:
        is_equal = ours == theirs
    return [] if is_equal else [f"{at}: {ours} and not {theirs}"]


def compare(programs, root, zone, since, until):
    found = []
    for ours, theirs in commands(programs, since, until):
        expected = programs.run(theirs, root, zone)
        # A projection changes from minute to minute: once more shows the next.
        for _ in range(2):
            differs = differences(programs.run(ours, root, zone), expected)
            if not differs:
                break
            expected = programs.run(theirs, root, zone)
        found += [f"{' '.join(theirs[1:])}{it}" for it in differs[:5]]
    return found


def check_equal(programs, seed, zone):
    """All reports on a tree of many sessions."""
    with tempfile.TemporaryDirectory() as root:
        tree = trees.Tree(root, seed)
        tree.fill(3e6, quiet_hours=6 if seed % 2 == 0 else 0, has_old_agents=False)
        day = lambda ago: trees.stamp(tree.now - ago * trees.DAY)[:10].replace("-", "")
        return compare(programs, root, zone, day(20), day(4))


def check_empty(programs):
    """A tree without a reply."""
    with tempfile.TemporaryDirectory() as root:
        os.mkdir(os.path.join(root, "projects"))
        return compare(programs, root, "UTC", "20260101", "20260102")


# ---- The deliberate differences, each on a tree of its own.


def sessions(programs, root):
    """The tokens of each session, by ours and by theirs."""
    ours = [programs.ours, "usage", "sessions", "--format", "ccusage"]
    theirs = [programs.theirs, "claude", "session", "--json", "--offline"]
    tokens = lambda it: {row["sessionId"]: row["totalTokens"] for row in it["sessions"]}
    return tuple(tokens(programs.run(it, root, "UTC")) for it in (ours, theirs))


def check_old_agents(programs):
    """A subagent's transcript beside the session's. They take it for a session; we know whose it is."""
    with tempfile.TemporaryDirectory() as root:
        tree = trees.Tree(root)
        plain = {"input_tokens": 1000, "output_tokens": 100}
        tree.write(tree.reply("s", tree.now, usage=plain)[-1:], "-w-p", "s.jsonl")
        tree.write(tree.reply("s", tree.now, agent="a", usage=plain)[-1:], "-w-p", "agent-a.jsonl")
        found = sessions(programs, root)
        expected = ({"s": 2200}, {"s": 1100, "agent-a": 1100})
        return [] if found == expected else [f"{found} and not {expected}"]


def check_workflows(programs):
    """A subagent's transcript in the folder of a workflow. They take the folder for a session."""
    with tempfile.TemporaryDirectory() as root:
        tree = trees.Tree(root)
        plain = {"input_tokens": 1000, "output_tokens": 100}
        tree.write(tree.reply("s", tree.now, usage=plain)[-1:], "-w-p", "s.jsonl")
        lines = tree.reply("s", tree.now, agent="a", usage=plain)[-1:]
        tree.write(lines, "-w-p", "s", "subagents", "workflows", "w", "agent-a.jsonl")
        found = sessions(programs, root)
        expected = ({"s": 2200}, {"s": 1100, "w": 1100})
        return [] if found == expected else [f"{found} and not {expected}"]


def check_bounds_of_sessions(programs):
    """A session that was last used on the day of --until. `ccusage session` leaves it out, unlike `ccusage
    claude session`, because it compares the time with the day as texts. We count that day in both."""
    with tempfile.TemporaryDirectory() as root:
        tree = trees.Tree(root)
        plain = {"input_tokens": 1000, "output_tokens": 100}
        tree.write(tree.reply("s", tree.now, usage=plain)[-1:], "-w-p", "s.jsonl")
        day = trees.stamp(tree.now)[:10].replace("-", "")
        bounds = ["--since", day, "--until", day]
        ours = [programs.ours, "usage", "sessions", *bounds, "--format", "ccusage-unified"]
        theirs = [programs.theirs, "session", *bounds, "--json", "--offline"]
        counts = [len(programs.run(it, root, "UTC")["session"]) for it in (ours, theirs)]
        return [] if counts == [1, 0] else [f"sessions: {counts}"]
