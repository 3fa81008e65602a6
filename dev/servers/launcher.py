"""Becomes a server that dies with the process that started it, even if that one is killed.

Run as `python launcher.py PARENT_PID COMMAND...`. On Linux the kernel is asked to kill this process when its parent
ends, and the request survives `exec`. Elsewhere there is no such request: the server then ends when its plane is closed.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the request was made
            sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
