"""The processes of a server under a supervisor, as the system lists them. Linux only."""

from pathlib import Path

from tests.server import Served


def children(pid: int) -> list[int]:
    """The processes that `pid` has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            rest = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(rest[1]) == pid and rest[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def family(pid: int) -> list[int]:
    found = children(pid)
    return found + [each for child in found for each in family(child)]


def workers_of(served: Served) -> dict[str, int]:
    """The process of each worker, by its name."""
    named = {name_of(pid): pid for pid in family(served.process.pid)}
    return {name: pid for name, pid in named.items() if name.startswith("midstream-")}


def is_alive(pid: int) -> bool:
    return name_of(pid) != ""
