"""A user's desk for one test: a home, repositories, the watcher, a terminal with clients in it, and the
model that they ask. When it is closed, every process that it started has ended."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time

from model import MODEL, Model

KEY = "no-real-key"
COLUMNS, ROWS = 160, 40
CAP = 20
TMUX = "set -g exit-empty off\nset -g remain-on-exit on\nset -g status off\nset -g escape-time 0\n"

# Set when this run has been told to end: whatever waits then gives up.
ending = threading.Event()


class Failed(Exception):
    """What a test needs in order to go on did not come about."""


class Desk:
    def __init__(self, program, client, settings):
        self.program, self.client = program, client
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="desk")).resolve()
        self.home = self.path / "home"
        self.state = self.home / ".local/state/ccstatusd"
        self.tmux_socket = str(self.path / "tmux")
        self.children, self.trusted = [], {}
        self.env = {"HOME": str(self.home), "PATH": os.environ["PATH"], "TZ": "UTC", "LANG": "C.UTF-8",
                    "TERM": "xterm-256color", "TMPDIR": str(self.path), "GIT_CONFIG_NOSYSTEM": "1",
                    "GIT_AUTHOR_NAME": "n", "GIT_AUTHOR_EMAIL": "n@example.org",
                    "GIT_COMMITTER_NAME": "n", "GIT_COMMITTER_EMAIL": "n@example.org"}
        self.model = Model()
        (self.home / ".claude").mkdir(parents=True)
        settings = {"permissions": {"defaultMode": "acceptEdits"}, "model": MODEL, **settings}
        (self.home / ".claude/settings.json").write_text(json.dumps(settings))

    def start_terminal(self):
        (self.path / "tmux.conf").write_text(TMUX)
        self.start([shutil.which("tmux"), "-S", self.tmux_socket, "-f", str(self.path / "tmux.conf"), "-D"])
        self.until("tmux to listen", lambda: os.path.exists(self.tmux_socket))

    def start(self, argv):
        log = (self.path / "log").open("ab")
        child = subprocess.Popen(argv, env=self.env, cwd=self.path, stdin=subprocess.DEVNULL,
                                 stdout=log, stderr=log)
        log.close()
        self.children.append(child)

    def start_watcher(self):
        self.start([self.program])
        self.until("the first snapshot", self.snapshot)

    def ours(self, *args, code=0):
        """What a command of ours prints. It must end with this exit code, unless that is None."""
        done = subprocess.run([self.program, *args], env=self.env, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=CAP, check=False)
        if code is not None and done.returncode != code:
            raise Failed(f"ccstatusd {' '.join(args)} ended with {done.returncode}: {done.stderr}", "")
        return done.stdout

    def version(self):
        return self.ours("--version").split()[1]

    def install_program(self, is_newer=False):
        """Copies the program to a path of its own, from where it is run from now on, or puts a newer
        version in its place. Returns the version.

        The newer one is the same build, in which each text with the version has another number."""
        old = self.version()
        new = old[:-1] + str((int(old[-1]) + 1) % 10) if is_newer else old
        path = self.path / "app/ccstatusd"
        path.parent.mkdir(exist_ok=True)
        # As package managers do: beside it, then in its place.
        beside = path.with_name("new")
        beside.write_bytes(pathlib.Path(self.program).read_bytes().replace(old.encode(), new.encode()))
        beside.chmod(0o700)
        beside.rename(path)
        self.program = str(path)
        if (found := self.version()) != new:
            raise Failed(f"the program says that it is {found}, and not {new}", "")
        return new

    def repository(self, name, branch="main"):
        """A repository with one commit, which the client trusts. To be made before any client is started:
        clients write to the same file."""
        path = self.home / name
        path.mkdir()
        self.git(path, "init", "-q", "-b", branch)
        self.git(path, "commit", "-q", "--allow-empty", "-m", "one")
        self.trusted[str(path)] = {"hasTrustDialogAccepted": True, "allowedTools": []}
        state = {"hasCompletedOnboarding": True, "hasSeenAutoDefaultNudge": True, "theme": "dark",
                 "projects": self.trusted,
                 "customApiKeyResponses": {"approved": [KEY], "rejected": []}}
        (self.home / ".claude.json").write_text(json.dumps(state))
        return path

    def git(self, repository, *args):
        subprocess.run(["git", *args], cwd=repository, env=self.env, check=True, capture_output=True)

    def tmux(self, *args):
        done = subprocess.run(["tmux", "-S", self.tmux_socket, *args], env=self.env, capture_output=True,
                              text=True, timeout=CAP, check=False)
        return done.stdout

    def snapshot(self):
        return read(self.state / "snapshot.json")

    def session(self, id):
        return self.snapshot().get("sessions", {}).get(id, {})

    def up_to_date(self, id):
        """A session once the watcher has taken in all that happened before."""
        subprocess.run([self.program, "--oneshot"], env=self.env, stdin=subprocess.DEVNULL,
                       capture_output=True, timeout=CAP, check=False)
        return self.session(id)

    def until(self, what, is_met, pane=None):
        """Waits until a condition is met, and returns what it returned."""
        end = time.monotonic() + CAP
        while not (found := is_met()):
            if time.monotonic() > end:
                raise Failed(f"waited {CAP} s for {what}", pane.screen() if pane else "")
            self.pause()
        return found

    def pause(self):
        if ending.wait(0.04):
            raise Failed("this run was told to end", "")

    def client_env(self):
        login = "CLAUDE_CODE_OAUTH_TOKEN" if self.model.limits else "ANTHROPIC_API_KEY"
        return {**self.env, "ANTHROPIC_BASE_URL": self.model.url, login: KEY,
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1",
                "DISABLE_TELEMETRY": "1", "DISABLE_ERROR_REPORTING": "1",
                "CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL": "1",
                # The request for a title costs money, and is in no transcript.
                "CLAUDE_CODE_DISABLE_TERMINAL_TITLE": "1"}

    def run_client(self, cwd, *args):
        """One command of the client, without a terminal."""
        subprocess.run([self.client, *args], cwd=cwd, env=self.client_env(), stdin=subprocess.DEVNULL,
                       capture_output=True, timeout=CAP, check=True)

    def background(self):
        """The client's entries of its background sessions."""
        found = (read(it) for it in (self.home / ".claude/sessions").glob("*.json"))
        return [it for it in found if it.get("kind") == "bg"]

    def open(self, cwd, *args):
        return Pane(self, cwd, args)

    def close(self):
        for pid in self.left():
            try:
                os.kill(pid, signal.SIGTERM)
            except OSError:
                pass
        end = time.monotonic() + 3
        while (left := self.left()) and time.monotonic() < end:
            for child in self.children:
                child.poll()
            time.sleep(0.02)
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        for child in self.children:
            child.wait()
        self.model.close()
        shutil.rmtree(self.path, ignore_errors=True)

    def left(self):
        """The processes with our HOME: the clients' own children, too, wherever they moved."""
        wanted, found = f"HOME={self.home}".encode(), []
        for environ in pathlib.Path("/proc").glob("[0-9]*/environ"):
            try:
                if wanted in environ.read_bytes().split(b"\0"):
                    found.append(int(environ.parent.name))
            except OSError:
                continue
        return found


class Pane:
    """A terminal in which a client runs."""

    def __init__(self, desk, cwd, args):
        self.desk, self.cwd = desk, cwd
        env = desk.client_env()
        argv = ["env", "-i", *(f"{name}={it}" for name, it in env.items()), desk.client, *args]
        form = "#{pane_id} #{pane_pid}"
        found = desk.tmux("new-session", "-d", "-P", "-F", form, "-x", str(COLUMNS), "-y", str(ROWS),
                          "-c", str(cwd), "--", *argv).split()
        if len(found) != 2:
            raise Failed("tmux does not start the client", "")
        self.id, self.pid = found[0], int(found[1])
        self.entry = desk.home / f".claude/sessions/{self.pid}.json"

    def screen(self):
        return self.desk.tmux("capture-pane", "-p", "-t", self.id).rstrip()

    def line(self):
        """Our row, which is under the box for prompts; '' while there is none."""
        rows = self.screen().split("\n")
        rules = [n for n, it in enumerate(rows) if it and not it.strip("─")]
        if len(rules) < 2 or rules[-1] + 1 >= len(rows):
            return ""
        # The client may write a note of its own at the right end of the row.
        row = rows[rules[-1] + 1].strip().split("    ")[0]
        return "" if row.startswith(("⏵", "⏸")) else row

    def row(self, text):
        """The last row with this text, without the glyph before it: one of the client's list of subagents."""
        found = [it.strip() for it in self.screen().split("\n") if text in it]
        return found[-1].removeprefix("◯ ") if found else ""

    def press(self, *keys):
        self.desk.tmux("send-keys", "-t", self.id, *keys)

    def say(self, text):
        """Types a prompt and sends it, once the client has taken in what was typed."""
        self.until("a line", self.line)
        wanted = self.screen().count(text)
        self.desk.tmux("send-keys", "-t", self.id, "-l", text)
        # A command is there twice: the client lists the commands that begin so.
        wanted += 2 if text.startswith("/") and " " not in text else 1
        self.until("what was typed to be on the screen", lambda: self.screen().count(text) >= wanted)
        self.press("Enter")

    def ask(self, text, n_replies=1):
        """Sends a prompt, and waits until the model was asked so often."""
        n_before = len(self.replies())
        self.say(text)
        self.until("the replies", lambda: len(self.replies()) >= n_before + n_replies)

    def replies(self):
        session = self.document().get("sessionId")
        return [it for it in self.desk.model.replies if it.session == session and not it.agent]

    def exit(self):
        self.say("/exit")
        self.until("the client to end", lambda: not self.is_running())

    def until(self, what, is_met):
        return self.desk.until(what, is_met, self)

    def document(self):
        """The client's own entry of its process."""
        return read(self.entry)

    def session(self):
        return self.until("the client's entry", lambda: self.document().get("sessionId"))

    def is_running(self):
        return self.desk.tmux("display", "-p", "-t", self.id, "#{pane_dead}").strip() == "0"


def read(path):
    """The JSON object in a file; {} if there is none."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
