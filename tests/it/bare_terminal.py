"""Runs a program in a terminal of its own, without a shell, and prints what comes of it.

    bare_terminal.py WHAT DRAWN PROGRAM ARGS…

Waits until the program has drawn the text DRAWN. Then, by WHAT: `stop` types Ctrl-Z, waits until the
program has taken the screen again, and types Ctrl-C; `block` lets nothing be written to the terminal any
more, as Ctrl-S does, and sends SIGTERM.
"""

import fcntl
import os
import pty
import signal
import struct
import sys
import termios

ENTER_SCREEN = b"\x1b[?1049h"

what, drawn, *command = sys.argv[1:]
signal.alarm(20)
terminal, slave = pty.openpty()
fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
before = termios.tcgetattr(slave)
pid = os.fork()
if pid == 0:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for descriptor in range(3):
        os.dup2(slave, descriptor)
    os.execv(command[0], command)
seen = b""


def read_until(is_met):
    global seen
    while not is_met():
        seen += os.read(terminal, 65536)


try:
    read_until(lambda: drawn.encode() in seen)
    if what == "stop":
        os.write(terminal, b"\x1a")
        read_until(lambda: seen.count(ENTER_SCREEN) == 2)
        os.write(terminal, b"\x03")
    else:
        termios.tcflow(slave, termios.TCOOFF)
        os.kill(pid, signal.SIGTERM)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
    signal.alarm(10)
    status = os.waitpid(pid, 0)[1]
    ended = "killed" if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL else "ended"
    print(ended, "as before" if termios.tcgetattr(slave) == before else "changed")
except BaseException:
    os.kill(pid, signal.SIGKILL)
    raise
