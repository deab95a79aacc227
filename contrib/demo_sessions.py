#!/usr/bin/env python3
"""The other half of demo.sh: three make-believe Claude Code sessions in a sandbox.

    demo_sessions.py setup BOX      make config roots, repositories and some earlier usage
    demo_sessions.py list BOX       one line a session: id, account, repository, directory
    demo_sessions.py play BOX N     be session N until a signal ends it (DEMO_PACE: seconds a step)
    demo_sessions.py check BOX      did each session's lines show its own facts, and only those?

What is written has the shapes of the real client, so whatever reads the one can read the other.
"""

import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time
import uuid
from datetime import datetime, timedelta, timezone

# Dollars per million tokens: input, output, cache write (5 minutes), cache read.
MODELS = {
    "claude-opus-4-8": ("Opus 4.8", 1_000_000, (5, 25, 6.25, 0.5)),
    "claude-sonnet-4-6": ("Sonnet 4.6", 200_000, (3, 15, 3.75, 0.3)),
    "claude-haiku-4-5": ("Haiku 4.5", 200_000, (1, 5, 1.25, 0.1)),
}

# Every fact here differs from session to session, or from account to account, so that one that
# strays into another's line can be told.
ACCOUNTS = {
    "work": {"earlier_dollars": 60, "limits": {"five_hour": 61.0, "seven_day": 38.0}},
    "home": {"earlier_dollars": 2, "limits": {"five_hour": 8.0, "seven_day": 17.0}},
}
SESSIONS = [
    {"account": "work", "repo": "shop", "branch": "checkout-flow", "model": "claude-opus-4-8",
     "context": 212_000, "cost": 3.1},
    {"account": "home", "repo": "engine", "branch": "tune-physics", "model": "claude-haiku-4-5",
     "context": 31_000, "cost": 0.2},
    {"account": "work", "repo": "manual", "worktree": "manual-review", "branch": "spelling",
     "model": "claude-sonnet-4-6", "context": 88_000, "cost": 1.4},
]
# Work has spent more than this in every window, home less, and no session alone reaches it.
DOLLARS_BETWEEN_ACCOUNTS = 40

VERSION = "2.1.197"
PROMPTS = [
    "make the retry wait longer each time",
    "why does this test fail on Mondays?",
    "rename the helper, it says nothing",
    "is there a test for the empty list?",
]


class Session:
    """One session: where it lives, and what it has said so far."""

    def __init__(self, box, number):
        self.box = pathlib.Path(box)
        self.number = number
        for key, value in SESSIONS[number].items():
            setattr(self, key, value)
        # The same on every call, so that setup, play and check agree.
        self.id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"ccstatusd-demo/{number}"))
        self.root = self.box / f"root-{self.account}"
        self.cwd = self.box / "home" / "w" / SESSIONS[number].get("worktree", self.repo)
        self.transcript = project_dir(self.root, self.cwd) / f"{self.id}.jsonl"
        self.stdin_file = self.box / "stdin" / f"{self.id}.json"
        self.event_file = self.box / "events" / self.id
        self.display_name, self.window, self.prices = MODELS[self.model]
        self.last_uuid = None
        self.usage = None

    # --- what the client writes -------------------------------------------------------------

    def append(self, kind, **fields):
        line = {
            "parentUuid": self.last_uuid,
            "isSidechain": False,
            "userType": "external",
            "cwd": str(self.cwd),
            "sessionId": self.id,
            "version": VERSION,
            "gitBranch": self.branch,
            "type": kind,
            "uuid": str(uuid.uuid4()),
            "timestamp": stamp(datetime.now(timezone.utc)),
            **fields,
        }
        self.last_uuid = line["uuid"]
        append_lines(self.transcript, [line])

    def prompt(self, text):
        self.append("user", message={"role": "user", "content": text})

    def reply(self, blocks, stop_reason):
        """One reply is one line per content block; the last one has the final output count."""
        new_tokens = random.randint(900, 2600)
        output = random.randint(200, 900)
        ids = {"id": f"msg_{uuid.uuid4().hex[:24]}", "type": "message", "role": "assistant",
               "model": self.model}
        request = f"req_{uuid.uuid4().hex[:24]}"
        for nth, block in enumerate(blocks, start=1):
            last = nth == len(blocks)
            self.usage = {
                "input_tokens": 12,
                "cache_creation_input_tokens": new_tokens,
                "cache_read_input_tokens": self.context,
                "output_tokens": output if last else 1,
                "server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 0},
                "service_tier": "standard",
                "cache_creation": {"ephemeral_1h_input_tokens": 0,
                                   "ephemeral_5m_input_tokens": new_tokens},
            }
            self.append(
                "assistant",
                message={**ids, "content": [block], "usage": self.usage,
                         "stop_reason": stop_reason if last else None},
                requestId=request,
            )
        self.context += new_tokens
        self.cost += dollars(self.prices, 12, output, new_tokens, self.context - new_tokens)
        self.write_stdin()

    def tool(self, name, tool_input, do):
        """A reply that calls a tool, the tool's work, and its result."""
        call = f"toolu_{uuid.uuid4().hex[:24]}"
        self.reply(
            [
                {"type": "thinking", "thinking": "Let me see.", "signature": "c2lnbmVk"},
                {"type": "text", "text": f"I use {name}."},
                {"type": "tool_use", "id": call, "name": name, "input": tool_input},
            ],
            "tool_use",
        )
        output = do()
        self.append(
            "user",
            message={"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": call, "content": output}]},
            toolUseResult={"stdout": output, "stderr": "", "interrupted": False},
        )

    def write_stdin(self):
        """The document that the client would hand to its status line now."""
        limits = ACCOUNTS[self.account]["limits"]
        usage = self.usage or {"input_tokens": 0, "output_tokens": 0,
                               "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
        now = time.time()
        replace(self.stdin_file, json.dumps({
            "session_id": self.id,
            "transcript_path": str(self.transcript),
            "cwd": str(self.cwd),
            "model": {"id": self.model, "display_name": self.display_name},
            "workspace": {"current_dir": str(self.cwd), "project_dir": str(self.cwd),
                          "added_dirs": []},
            "version": VERSION,
            "output_style": {"name": "default"},
            "cost": {"total_cost_usd": round(self.cost, 4), "total_duration_ms": 61_000,
                     "total_api_duration_ms": 9_000, "total_lines_added": 0,
                     "total_lines_removed": 0},
            "context_window": {
                "total_input_tokens": self.context,
                "total_output_tokens": usage["output_tokens"],
                "context_window_size": self.window,
                "current_usage": {key: usage[key] for key in (
                    "input_tokens", "output_tokens", "cache_creation_input_tokens",
                    "cache_read_input_tokens")},
                "used_percentage": round(100 * self.context / self.window),
                "remaining_percentage": 100 - round(100 * self.context / self.window),
            },
            "exceeds_200k_tokens": self.context > 200_000,
            "rate_limits": {
                "five_hour": {"used_percentage": limits["five_hour"],
                              "resets_at": int(now) + 2 * 3600 + 600},
                "seven_day": {"used_percentage": limits["seven_day"],
                              "resets_at": int(now) + 3 * 86400},
            },
        }))

    def write_process_file(self, status):
        now = int(time.time() * 1000)
        replace(self.process_file(), json.dumps({
            "pid": os.getpid(), "sessionId": self.id, "cwd": str(self.cwd), "startedAt": now,
            "version": VERSION, "kind": "interactive", "entrypoint": "cli", "status": status,
            "updatedAt": now, "statusUpdatedAt": now,
        }))

    def process_file(self):
        return self.root / "sessions" / f"{os.getpid()}.json"

    def say(self, event):
        """For the viewer: what just happened, so that the change in the line has a cause."""
        replace(self.event_file, event)

    # --- what a person and the client do with it --------------------------------------------

    def play(self, pace):
        random.seed(self.number)
        # A person's git commands must not outlive the demonstration either.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            turn = 0
            while True:
                for step in self.turn(turn):
                    self.say(step)
                    time.sleep(pace * random.uniform(0.6, 1.4))
                turn += 1
        finally:
            self.process_file().unlink(missing_ok=True)

    def turn(self, turn):
        """Yields what it did, step by step."""
        note = self.cwd / f"note-{turn}.txt"
        self.write_process_file("busy")
        self.prompt(PROMPTS[(turn + self.number) % len(PROMPTS)])
        yield "a prompt"
        self.tool("Write", {"file_path": str(note), "content": "hm"},
                  lambda: (note.write_text(f"turn {turn}\n"), "File created")[1])
        yield "Write: a new file"
        self.tool("Edit", {"file_path": str(self.cwd / "main.txt")}, lambda: self.edit(turn))
        yield "Edit: a changed file"

        what = ("commit", "stash", "commit", "push")[(turn + self.number) % 4]
        git(self.cwd, "add", "--all")
        yield "git add"
        if what == "stash":
            git(self.cwd, "stash", "push", "--quiet")
        else:
            git(self.cwd, "commit", "--quiet", "--message", f"Turn {turn}")
        yield f"git {what}" if what == "stash" else "git commit"
        if what == "push":
            git(self.cwd, "push", "--quiet")
            git(self.cwd, "stash", "clear")
            yield "git push, git stash clear"

        self.reply([{"type": "text", "text": f"Done with turn {turn}."}], "end_turn")
        self.append("system", subtype="turn_duration", durationMs=4000, isMeta=False)
        self.write_process_file("idle")
        yield "the reply"

    def edit(self, turn):
        with open(self.cwd / "main.txt", "a", encoding="utf-8") as file:
            file.write(f"turn {turn}\n")
        return "The file has been updated."


# --- setup ----------------------------------------------------------------------------------


def setup(box):
    box = pathlib.Path(box)
    for directory in ("home/w", "origin", "stdin", "events", "seen"):
        (box / directory).mkdir(parents=True)
    (box / "home" / ".gitconfig").write_text(
        "[user]\n\tname = Demo\n\temail = demo@example.invalid\n"
        "[init]\n\tdefaultBranch = main\n[commit]\n\tgpgSign = false\n"
    )
    for account, facts in ACCOUNTS.items():
        (box / f"root-{account}" / "sessions").mkdir(parents=True)
        earlier_session(box, account, facts["earlier_dollars"])
    for session in sessions(box):
        make_repository(session)
        session.transcript.parent.mkdir(parents=True)
        session.write_stdin()
        session.say("starting")


def make_repository(session):
    origin = session.box / "origin" / f"{session.repo}.git"
    main = session.box / "home" / "w" / session.repo
    git(session.box, "init", "--quiet", "--bare", str(origin))
    git(session.box, "init", "--quiet", str(main))
    (main / "main.txt").write_text("Once upon a time\n")
    git(main, "add", "--all")
    git(main, "commit", "--quiet", "--message", "Begin")
    git(main, "remote", "add", "origin", str(origin))
    if main == session.cwd:
        git(main, "checkout", "--quiet", "-b", session.branch)
    else:
        git(main, "worktree", "add", "--quiet", "-b", session.branch, str(session.cwd))
    git(session.cwd, "push", "--quiet", "--set-upstream", "origin", session.branch)


def earlier_session(box, account, amount):
    """A session that ended some minutes ago: it gives the account a block of its own."""
    model = "claude-opus-4-8"
    _, _, prices = MODELS[model]
    root = box / f"root-{account}"
    cwd = box / "home" / "w" / "earlier"
    session_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"ccstatusd-demo/earlier/{account}"))
    each = dollars(prices, 40, 9000, 60_000, 900_000)
    count = round(amount / each) or 1
    lines = []
    for nth in range(count):
        at = datetime.now(timezone.utc) - timedelta(minutes=20, seconds=-10 * nth)
        lines.append({
            "parentUuid": None, "isSidechain": False, "cwd": str(cwd), "sessionId": session_id,
            "version": VERSION, "type": "assistant", "uuid": str(uuid.uuid4()),
            "timestamp": stamp(at), "requestId": f"req_{account}{nth}",
            "message": {
                "id": f"msg_{account}{nth}", "type": "message", "role": "assistant",
                "model": model, "stop_reason": "end_turn",
                "content": [{"type": "text", "text": "So be it."}],
                "usage": {"input_tokens": 40, "cache_creation_input_tokens": 60_000,
                          "cache_read_input_tokens": 900_000, "output_tokens": 9000,
                          "cache_creation": {"ephemeral_1h_input_tokens": 0,
                                             "ephemeral_5m_input_tokens": 60_000}},
            },
        })
    transcript = project_dir(root, cwd) / f"{session_id}.jsonl"
    transcript.parent.mkdir(parents=True)
    append_lines(transcript, lines)


# --- check ----------------------------------------------------------------------------------


def check(box):
    """Reads what was seen of each session, one line a look: BOX/seen/ID is what `show` printed,
    BOX/seen/ID.cat what a plain `cat` of the published line would have."""
    problems = []
    everyone = sessions(box)
    for session in everyone:
        seen, seen_by_cat = looks(session, ""), looks(session, ".cat")
        # What was shown before the watcher had read everything may lack facts, not mix them up.
        problems += [it for line in seen + seen_by_cat for it in strangers(session, everyone, line)]
        if len(set(seen_by_cat)) < 2:
            problems.append(f"{session.repo}: the published line never changed")
        if not seen or not any(own_facts(session) <= set(facts_in(line)) for line in seen[-3:]):
            problems.append(f"{session.repo}: own facts {sorted(own_facts(session))} are not in: "
                            f"{seen[-1] if seen else '(nothing)'}")
        if len(set(seen)) < 3:
            problems.append(f"{session.repo}: the line hardly changed in {len(seen)} looks: "
                            f"{sorted(set(seen))}")
    for it in dict.fromkeys(problems):
        print(f"FAIL: {it}")
    if not problems:
        print(f"ok: {len(everyone)} sessions, each with its own facts and nobody else's")
    return 1 if problems else 0


def looks(session, suffix):
    path = session.box / "seen" / (session.id + suffix)
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def own_facts(session):
    return {session.branch, session.display_name.split()[0], account_by_dollars(session.account)}


def strangers(session, everyone, line):
    foreign = set().union(*(own_facts(it) for it in everyone)) - own_facts(session)
    # Little was spent by this session itself: small amounts say nothing about the account.
    foreign.discard(account_by_dollars("home"))
    for fact in sorted(foreign & set(facts_in(line))):
        yield f"{session.repo}: shows {fact!r}, which belongs to another session: {line}"


def facts_in(line):
    """Words, and what the dollar amounts say about the account."""
    yield from re.findall(r"[\w-]+", line)
    amounts = [float(it.replace(",", "")) for it in re.findall(r"\$\s?([\d,]+\.?\d*)", line)]
    if amounts:
        yield "dollars: " + ("many" if max(amounts) > DOLLARS_BETWEEN_ACCOUNTS else "few")


def account_by_dollars(account):
    return "dollars: " + ("many" if account == "work" else "few")


# --- helpers --------------------------------------------------------------------------------


def sessions(box):
    return [Session(box, number) for number in range(len(SESSIONS))]


def project_dir(root, cwd):
    return root / "projects" / re.sub(r"[/.]", "-", str(cwd))


def dollars(prices, fresh, output, cache_write, cache_read):
    per_input, per_output, per_write, per_read = prices
    return (fresh * per_input + output * per_output + cache_write * per_write
            + cache_read * per_read) / 1e6


def stamp(at):
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}Z"


def append_lines(path, lines):
    with open(path, "a", encoding="utf-8") as file:
        file.write("".join(json.dumps(it) + "\n" for it in lines))


def replace(path, text):
    """demo.sh reads these files while they change, and must never see half of one."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.rename(path)


def git(cwd, *args):
    subprocess.run(["git", *args], cwd=cwd, check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL)


def main(command, box, number="0"):
    if command == "setup":
        setup(box)
    elif command == "list":
        for it in sessions(box):
            place = f"{it.repo} (worktree {it.cwd.name})" if it.cwd.name != it.repo else it.repo
            print(it.id, it.account, place, it.cwd, sep="\t")
    elif command == "play":
        Session(box, int(number)).play(float(os.environ.get("DEMO_PACE", "1.0")))
    elif command == "check":
        return check(box)
    else:
        sys.exit(__doc__)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) in (3, 4) else __doc__)
