"""Build sdist and wheel, compare the wheel with the tree, run it in an empty venv."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("spec", "fsm", "io")


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a command; on failure show what it said and stop."""
    print("  $", *command, flush=True)
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    if done.returncode != 0:
        sys.exit(f"{done.stdout}\nexit code {done.returncode}")
    return done.stdout


def tracked_sources() -> set[str]:
    """Every module and marker of the tree, by its name in the wheel."""
    found: set[str] = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            if path.suffix == ".py" or path.name == "py.typed":
                found.add(f"tezos_p2p/{path.relative_to(ROOT).as_posix()}")
    return found


def main() -> None:
    """Do it all in a temporary folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # An sdist first, and the wheel from the sdist: so both are complete.
        run(sys.executable, "-m", "build", "--outdir", folder / "dist", ROOT)
        (wheel,) = (folder / "dist").glob("*.whl")
        names = set(zipfile.ZipFile(wheel).namelist())
        shipped = {
            name for name in names if not name.split("/")[0].endswith(".dist-info")
        }
        if shipped != tracked_sources():
            sys.exit(f"wheel and tree differ: {sorted(shipped ^ tracked_sources())}")
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / "bin" / "python"
        pip = (python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install")
        run(*pip, "--constraint", ROOT / "tests" / "constraints.txt", wheel)
        # From elsewhere, so that nothing of the tree is imported by accident.
        out = run(python, "-m", "tezos_p2p.fsm.diagram", "handshake", cwd=folder)
        expected = (ROOT / "diagrams" / "handshake.mmd").read_text("utf-8")
        if out != expected:
            sys.exit("the installed package draws another diagram")
        run(python, "-m", "tezos_p2p.spec.layouts", cwd=folder)
        run(python, "-m", "tezos_p2p.io.demo", cwd=folder)
    print("packages: sdist and wheel build, install and run")


if __name__ == "__main__":
    main()
