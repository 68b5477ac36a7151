"""Threads that start at once under coverage, beside an audit hook in Python."""

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]

PROGRAM = """
import sys, threading

errors = []

def hook(event, _args):
    if event.startswith("socket."):
        raise RuntimeError(event)

def start_many():
    for _ in range(60):
        thread = threading.Thread(target=len, args=("",))
        thread.start()
        thread.join()

sys.addaudithook(hook)
threading.excepthook = lambda args: errors.append(args.exc_value)
sys.unraisablehook = lambda args: errors.append(args.exc_value)
sys.setswitchinterval(1e-6)
starters = [threading.Thread(target=start_many) for _ in range(8)]
for each in starters:
    each.start()
for each in starters:
    each.join()
print(len(errors))
"""


def errors_under_coverage(directory: Path, config: str) -> int:
    # Without the plugin some 10 of 480 threads fail here, on CPython 3.11.
    (directory / "program.py").write_text(PROGRAM)
    (directory / "coveragerc").write_text(config)
    command = [sys.executable, "-m", "coverage", "run", "--rcfile=coveragerc", "program.py"]
    environment = {"PYTHONPATH": str(PROJECT), "PATH": "/usr/bin:/bin"}
    run = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=True
    )
    return int(run.stdout)


def test_with_the_plugin_every_thread_installs_its_tracer(tmp_path: Path) -> None:
    assert errors_under_coverage(tmp_path, "[run]\nplugins = tests.coverage_threads\n") == 0
