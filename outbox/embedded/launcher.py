"""Becomes the program given on its command line, after asking the kernel to kill it when its parent is gone.

Run as a script, `python -I -S launcher.py PARENT_PID PROGRAM ARGUMENT…`, so it may import nothing of this
package.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """End this process, and what it becomes, with SIGKILL when its parent ends in any way, SIGKILL included.

    Without this a killed `outbox up`, or a killed test run, leaves servers behind that hold ports and data.
    It is asked for here and not in a preexec_fn, which may deadlock in a process that has threads. Linux
    only; elsewhere a child outlives a parent that is killed.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before we asked: nobody would send the signal
        sys.exit(1)


def main() -> None:
    parent, program = int(sys.argv[1]), sys.argv[2:]
    die_with(parent)
    # Python ignores these two, and exec would hand that down to a server that expects the default.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execv(program[0], program)  # noqa: S606
    except OSError as error:
        sys.exit(f"{program[0]} cannot be run: {error.strerror}")


if __name__ == "__main__":
    main()
