"""Runs commands of `oauthapps` as processes that need not import anything: forks of this one.

`command_forks.py SOCKET` answers on a socket until its standard input ends, and then removes the
folder of the socket.
Each connection asks for one command, as a line of JSON, and gets its status and what it printed.
"""

import contextlib
import gc
import json
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any, NoReturn

import typer.main

from services.__main__ import cli, main


def serve(path: str) -> None:
    """Fork for each connection."""
    # A look at each of them imports it.
    list(typer.main.get_group(cli).commands.items())
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        while listener.fileno() in select.select([listener.fileno(), 0], [], [])[0]:
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    listener.close()
                    _answer(connection)
    shutil.rmtree(Path(path).parent)


def _answer(connection: socket.socket) -> NoReturn:
    try:
        with connection.makefile("rw", encoding="utf-8") as stream:
            stream.write(json.dumps(_outcome(json.loads(stream.readline()))))
    finally:
        os._exit(0)


def _outcome(asked: dict[str, Any]) -> dict[str, Any]:
    """Run a command in another fork, which has these streams and nothing else of ours."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        streams[0].write(asked["given"].encode())
        streams[0].seek(0)
        pid = os.fork()
        if pid == 0:
            for number, stream in enumerate(streams):
                os.dup2(stream.fileno(), number)
            os.chdir(asked.get("folder") or ".")
            _run(asked["arguments"], asked["environment"])
        _, status = os.waitpid(pid, 0)
        for stream in streams:
            stream.seek(0)
        out, err = (stream.read().decode() for stream in streams[1:])
        return {"returncode": os.waitstatus_to_exitcode(status), "stdout": out, "stderr": err}


def _run(arguments: list[str], environment: dict[str, str]) -> NoReturn:
    status = 0
    try:
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["oauthapps", *arguments]
        main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - printed as the interpreter would
        traceback.print_exc()
        status = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve(sys.argv[1])
