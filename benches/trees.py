"""Creates config roots with transcripts that resemble real ones, for benches/run and tests/parity/run. A
tree is determined by its seed and by the time at which it ends."""

import json
import os
import random
import time

MODELS = ["claude-opus-4-8", "claude-sonnet-4-6", "claude-haiku-4-5-20251001", "claude-opus-4-5-20251101"]
WORDS = "if let the file is read then its lines are kept until someone asks why they were".split()
HOUR = 3600.0
DAY = 24 * HOUR


def stamp(at):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + ".%03dZ" % (at % 1 * 1000)


class Tree:
    """A config root. Times are Unix seconds."""

    def __init__(self, root, seed=1, now=None):
        self.root, self.random, self.now = root, random.Random(seed), now or time.time()
        self.n_bytes = self.n_ids = 0
        self.seed = seed
        # Texts are cut from one pool: to choose each word would take most of the time.
        words = (self.random.choice(WORDS) for _ in range(200_000))
        self.pool = " ".join(it + ("\n" if self.random.random() < 0.05 else "") for it in words)

    def text(self, length):
        parts = []
        while length > 0:
            start = self.random.randrange(len(self.pool) - 1)
            parts.append(self.pool[start : start + length])
            length -= len(parts[-1])
        return "".join(parts)

    def name(self, prefix):
        self.n_ids += 1
        return f"{prefix}{self.seed:04d}{self.n_ids:012d}"

    def uuid(self):
        digits = f"{self.random.getrandbits(128):032x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def path(self, *names):
        path = os.path.join(self.root, "projects", *names)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def write(self, lines, *names):
        """Appends lines to a transcript. A line is a document, or a string that is written as it is."""
        with open(self.path(*names), "a", encoding="utf-8") as file:
            for line in lines:
                text = line if isinstance(line, str) else json.dumps(line, separators=(",", ":"))
                self.n_bytes += file.write(text + "\n")

    def line(self, kind, session, at, agent=None, **fields):
        head = {"isSidechain": bool(agent), "cwd": "/w/p", "sessionId": session, "version": "2.1.197"}
        return {**head, "type": kind, "uuid": self.uuid(), "timestamp": stamp(at), **fields}

    def usage(self, **fields):
        write = self.random.randrange(4000)
        hour = self.random.choice([0, 0, write])
        return {
            "input_tokens": self.random.randrange(1, 2000),
            "cache_creation_input_tokens": write,
            "cache_read_input_tokens": self.random.randrange(8000, 150_000),
            "cache_creation": {
                "ephemeral_5m_input_tokens": write - hour,
                "ephemeral_1h_input_tokens": hour,
            },
            "output_tokens": self.random.randrange(20, 4000),
            "service_tier": "standard",
            **fields,
        }

    def reply(self, session, at, agent=None, model=MODELS[0], usage=None, top=None, **message):
        """The lines of a reply, one for each block. Only the last line states the final output tokens."""
        usage = usage or self.usage()
        blocks = [{"type": "text", "text": self.text(self.random.randrange(30, 1500))}]
        for _ in range(self.random.randrange(3)):
            command = {"command": self.text(self.random.randrange(20, 900))}
            blocks.append({"type": "tool_use", "id": self.name("toolu_"), "name": "Bash", "input": command})
        names = {"id": self.name("msg_"), "model": model, "role": "assistant", **message}
        top = top or {"requestId": self.name("req_")}
        lines = []
        for n, block in enumerate(blocks):
            is_last = n == len(blocks) - 1
            said = usage if is_last else {**usage, "output_tokens": 1 + n}
            stop = ("end_turn" if len(blocks) == 1 else "tool_use") if is_last else None
            content = {**names, "content": [block], "stop_reason": stop, "usage": said}
            lines.append(self.line("assistant", session, at + n * 0.4, agent, message=content, **top))
        return lines

    def result(self, session, at, agent=None):
        """The line with a tool's result, which contains it twice. Such lines are most of a transcript."""
        size = int(min(self.random.lognormvariate(7.7, 1.6), 400_000))
        body = self.text(size)
        content = [{"type": "tool_result", "tool_use_id": "toolu_1", "content": body}]
        answer = {"stdout": body[:20_000], "stderr": ""}
        if self.random.random() < 0.02:
            answer["usage"] = {"input_tokens": 99, "output_tokens": 99}
        message = {"role": "user", "content": content}
        return self.line("user", session, at, agent, message=message, toolUseResult=answer)

    def session(self, size, start, end, agent=None, session=None):
        """The id and the lines of a session of about `size` bytes, with times from `start` to `end`."""
        session = session or self.uuid()
        model, lines, length = self.random.choice(MODELS), [], 0
        while length < size:
            prompt = {"role": "user", "content": self.text(self.random.randrange(20, 900))}
            turn = [self.line("user", session, 0, agent, message=prompt)]
            for _ in range(self.random.randrange(1, 8)):
                reply = self.reply(session, 0, agent, model)
                turn += reply + [self.result(session, 0, agent) for _ in reply[1:]]
            if self.random.random() < 0.03:
                turn.append('{"type":"assistant","message":{"id":"msg_to')
            lines += turn
            length += sum(len(it) if isinstance(it, str) else len(json.dumps(it)) for it in turn)
        for n, line in enumerate(lines):
            if not isinstance(line, str):
                line["timestamp"] = stamp(start + (end - start) * n / len(lines))
        return session, lines

    def fill(self, n_bytes, days=30, quiet_hours=6, has_old_agents=True):
        """Adds sessions of all ages, forks and subagents until the tree has `n_bytes`, and one session that
        is active now, so that a block is open. In the last `quiet_hours` there is no other activity, so
        the block begins with that session. `has_old_agents` puts some subagents beside the sessions, as
        older clients do."""
        now, quiet = self.now, self.now - quiet_hours * HOUR
        session, lines = self.session(60_000, now - 2700, now - 1)
        self.write(lines, "-w-now", session + ".jsonl")
        while self.n_bytes < n_bytes:
            project = "-w-p%02d" % self.random.randrange(40)
            size = min(self.random.lognormvariate(11.56, 1.55), 90e6, n_bytes - self.n_bytes + 4000)
            start = quiet - self.random.random() ** 1.5 * days * DAY
            end = min(start + 2 * HOUR, quiet)
            before = lines
            session, lines = self.session(size, min(start, end - 60), end)
            if self.random.random() < 0.06:
                copies = [{**it, "sessionId": session} for it in before[:30] if not isinstance(it, str)]
                self.write(copies, project, session + ".jsonl")
            self.write(lines, project, session + ".jsonl")
            for n in range(self.random.randrange(1, 4) if self.random.random() < 0.3 else 0):
                agent = f"{self.random.getrandbits(32):08x}"
                _, side = self.session(size / 6, end - 60, end, agent, session)
                is_old = has_old_agents and n == 0
                place = [project] if is_old else [project, session, "subagents"]
                self.write(side, *place, f"agent-{agent}.jsonl")
        return self
