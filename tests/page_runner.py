"""Runs the commands and examples of the pages in forks of one process, which has imported everything once; a script.

    python page_runner.py SOCKET WALKERS

Whoever connects to the socket sends its standard streams and a line of JSON, {"argv": [...], "cwd": FOLDER,
"environment": {...}}, and is answered with the exit status when the command has ended. `write_programs` makes such
clients by the names of the programs that they stand for. The built-in walkers are those in the folder WALKERS.

The parent computes nothing, so its children can be forked.
"""

import argparse
import gc
import importlib
import json
import os
import runpy
import shutil
import signal
import socket
import sys
import traceback
import types
from pathlib import Path

# What commands load when they are at work, some of it for seconds.
LOADED = (
    "faiss", "lightning.pytorch.loggers", "matplotlib.pyplot", "onnxruntime", "onnxscript", "safetensors.torch",
    "torch.export", "torch.onnx", "torch.utils.tensorboard", "stand_in",
    "strf_cuda.callbacks", "strf_cuda.data.loader", "strf_cuda.evaluation", "strf_cuda.extraction.extracting",
    "strf_cuda.models", "strf_cuda.pictures", "strf_cuda.train",
)  # fmt: skip

CLIENT = """#!{python} -IS
import json, os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect({address!r})
request = dict(argv=[os.path.basename(sys.argv[0]), *sys.argv[1:]], cwd=os.getcwd(), environment=dict(os.environ))
socket.send_fds(connection, [b"fds"], [0, 1, 2])
connection.sendall(json.dumps(request).encode() + b"\\n")
sys.exit(int(connection.makefile().readline() or 70))
"""


def write_programs(folder: Path, names: list[str], address: str) -> None:
    for name in names:
        (folder / name).write_text(CLIENT.format(python=sys.executable, address=address))
        (folder / name).chmod(0o755)


def serve(address: str, walkers: str) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    print("ready", flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children that have ended are forgotten at once
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            answer(connection, walkers)
        connection.close()


def answer(connection: socket.socket, walkers: str) -> None:
    _, streams, _, _ = socket.recv_fds(connection, 3, 3)
    request = json.loads(connection.makefile().readline())
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    code = 70
    try:
        code = run(request["argv"], walkers)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        connection.sendall(f"{code}\n".encode())
        os._exit(0)


def run(argv: list[str], walkers: str) -> int:
    import commands_left_out
    import page_world

    if argv[0] == "stand-in":
        import stand_in

        _, _, module, *words = argv
        plan = {"calls": os.devnull}
        return stand_in.train(plan, words) if module == "strf_cuda.train" else stand_in.evaluate(plan, words)
    left_out = commands_left_out.find(argv)
    if left_out is not None:
        left_out.check(argv)
        return 0
    if argv[:2] == ["python", "-m"] and argv[2].split(".")[0] == "strf_cuda":  # pip is a module, too
        from strf_cuda.data import registry

        registry.built_in_walkers = lambda: Path(walkers)
        name, words = argv[2], argv[3:]
        if name in ("strf_cuda.ablate", "strf_cuda.repeat"):
            sys.executable = shutil.which("stand-in")
        sys.argv = [name, *words, *page_world.smaller(name, words)]
        sys.modules.pop(name, None)
        runpy.run_module(name, run_name="__main__", alter_sys=True)
        return 0
    if argv[0] == "python" and argv[1].endswith(".py"):
        sys.argv = argv[1:]
        sys.path.insert(0, os.path.dirname(os.path.abspath(argv[1])))
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        main.__file__ = argv[1]
        exec(compile(Path(argv[1]).read_text(), argv[1], "exec"), vars(main))
        return 0
    print(f"{' '.join(argv)!r} is neither run nor in commands_left_out.py", file=sys.stderr)
    return 69


def only_parse() -> None:
    """From here on a program that has read its options by argparse ends."""
    parse = argparse.ArgumentParser.parse_args

    def parse_and_end(*arguments, **options):
        parse(*arguments, **options)
        raise SystemExit(0)

    argparse.ArgumentParser.parse_args = parse_and_end


if __name__ == "__main__":
    for module in LOADED:
        importlib.import_module(module)
    sys.modules["torch"].set_num_threads(1)
    gc.collect()
    gc.freeze()  # what is there already is not looked at again, and so not copied, in each child
    serve(*sys.argv[1:])
