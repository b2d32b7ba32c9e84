"""That as many connections can be open as the config says."""

import re
import resource
import subprocess
import sys
from pathlib import Path

from tests.server import serving


def test_a_low_limit_of_open_files_is_raised_for_the_connections_that_are_configured(
    tmp_path: Path,
) -> None:
    config = '[store]\nurl = "memory://"\n[server]\nconnections_max = 1000\nstreams_max = 100\n'
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
    try:
        with serving(tmp_path, config) as served:
            limits = Path(f"/proc/{served.process.pid}/limits").read_text()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    found = re.search(r"Max open files +(\d+)", limits)
    assert found is not None
    assert int(found[1]) == 1356


def test_a_system_that_does_not_allow_it_is_told_of() -> None:
    script = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (300, 400))
from proxy.serving.listening import allow_connections
print(allow_connections(1000))
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout

    assert "allows a process 400 open files" in said
    assert "need 1256" in said
    assert "(400, 400)" in said
