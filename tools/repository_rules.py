"""Small rules of the repository that no linter knows; `make check` runs them.

- every dependency in pyproject.toml has a reason beside it, and every library a pinned version in constraints.txt;
- no text names a person's folder or a machine's: paths are relative to the repository.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENT = re.compile(r"""^\s*"(?P<name>[A-Za-z0-9._-]+)[^"]*",?(?P<reason>\s*#\s*\S.*)?\s*$""")
MACHINE_PATH = re.compile(r"(?<![\w.~/-])/(?:root|home|work|Users|farm)/\w|[A-Z]:\\Users\\\w")


def dependency_faults(pyproject: str, constraints: str) -> list[str]:
    """Dependencies without a reason, or without a pin."""
    project = tomllib.loads(pyproject)
    wanted = [*project["project"]["dependencies"]]
    for group in project.get("dependency-groups", {}).values():
        wanted += group
    for extra in project["project"].get("optional-dependencies", {}).values():
        wanted += extra
    reasons = {found["name"].lower(): bool(found["reason"]) for line in pyproject.splitlines() if (found := REQUIREMENT.match(line))}
    pinned = {line.split("==")[0].strip().lower() for line in constraints.splitlines() if "==" in line}
    faults: list[str] = []
    for requirement in wanted:
        name = re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0].lower()
        if not any(reasons.get(key) for key in reasons if key == name):
            faults.append(f"pyproject.toml: {name} has no reason beside it")
        if name not in pinned:
            faults.append(f"constraints.txt: {name} is not pinned")
    return faults


def path_faults(name: str, content: str) -> list[str]:
    """Lines that name a folder of one machine."""
    return [
        f"{name}:{number}: names a machine's folder: {line.strip()[:100]}"
        for number, line in enumerate(content.splitlines(), start=1)
        if MACHINE_PATH.search(line)
    ]


def tracked_files() -> list[Path]:
    """The files git knows, or none outside a repository (a source archive has been checked before it was made)."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    return [ROOT / name for name in listing.stdout.split("\0") if name]


def main() -> int:
    faults = dependency_faults((ROOT / "pyproject.toml").read_text("utf-8"), (ROOT / "constraints.txt").read_text("utf-8"))
    for path in tracked_files():
        try:
            faults += path_faults(str(path.relative_to(ROOT)), path.read_text("utf-8"))
        except (UnicodeDecodeError, FileNotFoundError):  # pictures and other bytes; a file just removed
            continue
    print(*faults, sep="\n", file=sys.stderr)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
