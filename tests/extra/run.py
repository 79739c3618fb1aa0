"""The test suite again: on the other Pythons of this machine, and at lowest versions.

Each run has a virtual environment of its own under ``.venvs``.  The lowest versions are
the bounds that pyproject.toml gives; that run comes last, on the Python that runs this
file, so that the output ends in the test runner's summary.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENVS = ROOT / ".venvs"
OTHERS = ("3.11", "3.12", "3.13")
#: Between the oldest, which is at lowest versions too, and the newest.
BETWEEN = ("3.12",)
#: What takes long, and would find nothing that depends on versions.
LENGTHY = (
    *("*/benchmarks/*", "*/docs/*", "*/test_house*", "*/test_io_admin_fuzz*"),
    *("*/test_io_nodes_long*", "*/test_io_sandbox*", "*/test_fsm_pool_model*"),
    *("*/test_sim_hour*", "*/test_sim_convergence*", "*/test_sim_crowds*"),
    *("*/test_sim_shares*", "*/test_sim_silent*", "*/test_sim_steadfast*"),
    *("*/test_io_record.py", "*/test_io_admin_lists*"),
    *(
        "*/test_io_admin_bad_input*",
        "*/test_io_admin_daemon*",
        "*/test_io_admin_crowd*",
        "*/test_io_cli_admin_ours*",
        "*/test_io_cli_admin_seen*",
    ),
    *("*/test_io_record_daemon*", "*/test_io_nodes_faults*"),
)


def run(*command: str | Path) -> None:
    """Run a command with its output shown; stop if it fails."""
    print("  $", *command, flush=True)
    code = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        timeout=900,
        # What Hypothesis finds was found before: these examples are for the versions.
        env={**os.environ, "HYPOTHESIS_EXAMPLES": "10"},
    ).returncode
    if code != 0:
        sys.exit(code)


def find(version: str) -> str | None:
    """Find an interpreter on the path or under pyenv; one that runs and has venv."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = sorted(root.glob(f"versions/{version}.*/bin/python"))
    for candidate in [*map(str, found), shutil.which(f"python{version}")]:
        if candidate is None:
            continue
        probe = (
            "import sys, venv, ensurepip; "
            f"sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
        )
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        if subprocess.run([candidate, "-c", probe], **quiet).returncode == 0:
            return candidate
    return None


def lowest() -> list[str]:
    """Return ``name==bound`` for every bound of the core and of the test extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + extras["node"] + extras["test"]
    wanted.remove("tezos-p2p[node]")
    pins: list[str] = []
    for requirement in wanted:
        match = re.fullmatch(r"([a-z0-9-]+)>=([0-9.]+)", requirement)
        assert match is not None, f"no lower bound: {requirement}"
        pins.append(f"{match[1]}=={match[2]}")
    return pins


def suite(
    name: str, python: str, constraints: Path, *without: str, more: str = ""
) -> None:
    """Make a virtual environment and run the tests in it, but for some files."""
    print(f"--- {name}: {python}", flush=True)
    folder = VENVS / name
    stamp = folder / "installed"
    wanted = constraints.read_text("utf-8") + (ROOT / "pyproject.toml").read_text("utf-8")
    inside = folder / "bin" / "python"
    if not stamp.exists() or stamp.read_text("utf-8") != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        run(python, "-m", "venv", folder)
        pip = (inside, "-m", "pip", "--disable-pip-version-check", "--quiet", "install")
        run(*pip, "--constraint", constraints, "--editable", ".[test" + more + "]")
        stamp.write_text(wanted, "utf-8")
    # The explorations are the same steps of the same tables on every Python.
    options = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]
    options += ["--max-worker-restart", "0"]
    options += ["--ignore", "tests/explore"]
    options += [f"--ignore-glob={pattern}" for pattern in (*without, *LENGTHY)]
    run(inside, "-m", "pytest", "-p", "no:cacheprovider", *options)


def main() -> None:
    """Run every suite there is; say which there is not."""
    VENVS.mkdir(exist_ok=True)
    missing: list[str] = []
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for version in OTHERS:
        if version == here:
            continue
        if version in BETWEEN and not os.environ.get("TEZOS_P2P_LONG"):
            print(f"--- python{version}: TEZOS_P2P_LONG=1 runs it, NOT RUN", flush=True)
            continue
        python = find(version)
        if python is None:
            missing.append(version)
        else:
            # What starts processes, and networks, are tried below, with the oldest of
            # what they are made of.
            pins = ROOT / "tests" / "constraints.txt"
            left_out = ("*/test_io_cli*", "*/test_io_demo*", "*/test_io_daemon.py")
            left_out += ("*/test_sim_*",)
            suite(f"python{version}", python, pins, *left_out, more=",embedding")
    for version in missing:
        print(f"--- python{version}: not on this machine, NOT RUN", flush=True)
    pins = VENVS / "lowest.txt"
    pins.write_text("\n".join(lowest()) + "\n", "utf-8")
    suite("lowest", sys.executable, pins)


if __name__ == "__main__":
    main()
