"""A program in a real pseudo-terminal, with the screen that a person would see."""

import os
import re
import signal
import sys
import termios
import time

import pexpect
import pyte

ROWS, COLUMNS = 40, 120


class Terminal:
    """A command on a terminal of its own; a context manager that leaves no process.

    Args:
        argv: The command.
        cwd: Its working directory.
        size: Rows and columns.
        environment: Further variables.
    """

    def __init__(self, argv, cwd, *, size=(ROWS, COLUMNS), environment=None):
        variables = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **(environment or {})}
        for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
            variables.pop(name, None)
        self.screen = pyte.Screen(size[1], size[0])
        self._stream = pyte.ByteStream(self.screen)
        command, *arguments = map(str, argv)
        self.child = pexpect.spawn(command, arguments, cwd=str(cwd), env=variables, dimensions=size, timeout=None)
        self.child.delaybeforesend = None
        self.raw = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self.child.terminated:
            os.kill(self.pid, signal.SIGKILL)
            self.end()
        if not self.child.closed:
            self.child.close()

    @property
    def pid(self):
        return self.child.pid

    @property
    def text(self):
        """The screen as text, lines without trailing blanks."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def pump(self, seconds=0.05):
        """Let the program write for a while; False when it has ended."""
        try:
            data = self.child.read_nonblocking(65536, seconds)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.raw += data
        # pyte knows no "CSI > … m" and "CSI … $ p" of newer terminals, and would print their ends.
        self._stream.feed(re.sub(rb"\x1b\[[<>=?][0-9;]*[a-zA-Z]", _private, re.sub(rb"\x1b\[\?[0-9;]*\$p", b"", data)))
        return True

    def wait_for(self, pattern, seconds=60):
        """Wait until the screen shows a regular expression; return the match."""
        return self.wait(lambda: re.search(pattern, self.text, re.DOTALL), pattern, seconds)

    def wait_until_gone(self, pattern, seconds=60):
        """Wait until the screen does not show it any more."""
        self.wait(lambda: not re.search(pattern, self.text, re.DOTALL), f"no {pattern}", seconds)

    def wait(self, condition, what, seconds):
        deadline = time.monotonic() + seconds
        while True:
            found = condition()
            if found:
                return found
            if time.monotonic() > deadline or not self.pump():
                found = condition()
                assert found, f"the screen never showed {what}:\n{self.text}"
                return found

    def press(self, keys):
        """Type."""
        self.child.send(keys)

    def resize(self, rows, columns):
        """Change the terminal's size."""
        self.screen.resize(rows, columns)
        self.child.setwinsize(rows, columns)

    def tell(self, number=signal.SIGTERM):
        """Send a signal."""
        os.kill(self.pid, number)

    def hang_up(self):
        """Close the terminal, as closing its window does."""
        inner = self.child.ptyproc
        inner.fileobj.close()
        inner.fd, inner.closed, self.child.child_fd, self.child.closed = -1, True, -1, True

    @property
    def is_sane(self):
        """Whether the terminal echoes and edits lines, as a shell wants to find it."""
        local = termios.tcgetattr(self.child.child_fd)[3]
        return bool(local & termios.ECHO and local & termios.ICANON)

    @property
    def is_restored(self):
        """Whether the program went back to the shell's screen, with the cursor shown and the mouse let go."""
        pairs = [(b"\x1b[?1049h", b"\x1b[?1049l"), (b"\x1b[?25l", b"\x1b[?25h"), (b"\x1b[?1003h", b"\x1b[?1003l")]
        return all(self.raw.rfind(taken) < self.raw.rfind(given) for taken, given in pairs)

    def end(self, seconds=30):
        """Wait for the program's end and return its exit code; negative for a signal."""
        deadline = time.monotonic() + seconds
        while self.child.child_fd != -1 and self.pump():
            assert time.monotonic() < deadline, f"it did not end:\n{self.text}"
        inner = self.child.ptyproc
        while inner.isalive():
            assert time.monotonic() < deadline, "it did not end"
            time.sleep(0.02)
        self.child.terminated = True
        return inner.exitstatus if inner.signalstatus is None else -inner.signalstatus


def _private(match):
    return match[0] if match[0][2:3] == b"?" else b""


def engine(*argv):
    """Return the command line of the engine."""
    return [sys.executable, "-m", "engine", *map(str, argv)]
