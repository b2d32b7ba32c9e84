"""The addresses of several servers, and what is shown of them."""

import pytest

from proxy.config.addresses import (
    ClusterAddress,
    SentinelAddress,
    has_password,
    several,
    without_credentials,
    wrong_address,
)

SENTINELS = "redis+sentinel://mid:p%40s#s@a:1,b/mymaster/3?sentinel_password=q%2F&ssl_ca_certs=/c"
CLUSTER = "rediss+cluster://:pw@[::1]:7000,b,10.0.0.1:7001"


def test_each_sentinel_has_an_address_of_its_own_and_the_master_its_own_credentials() -> None:
    assert wrong_address(SENTINELS) is None
    assert several(SENTINELS) == SentinelAddress(
        sentinels=(
            "redis://:q%2F@a:1?ssl_ca_certs=%2Fc",
            "redis://:q%2F@b:26379?ssl_ca_certs=%2Fc",
        ),
        server="redis://mid:p%40s%23s@a:1/3?ssl_ca_certs=%2Fc",
        name="mymaster",
    )


def test_each_node_of_a_cluster_has_an_address_of_its_own() -> None:
    assert wrong_address(CLUSTER) is None
    assert several(CLUSTER) == ClusterAddress(
        nodes=("rediss://:pw@[::1]:7000", "rediss://:pw@b:6379", "rediss://:pw@10.0.0.1:7001")
    )


@pytest.mark.parametrize("address", ["redis://u:pw@h:1/0", "unix:///s?db=3", "memory://"])
def test_one_server_is_not_several(address: str) -> None:
    assert several(address) is None


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (SENTINELS, "redis+sentinel://a:1,b/mymaster/3"),
        (CLUSTER, "rediss+cluster://[::1]:7000,b,10.0.0.1:7001"),
        ("redis://u:pw@h:1/0?ssl_ca_certs=/c", "redis://h:1/0"),
        ("unix://u:pw@/run/a@b.sock?db=3", "unix:///run/a@b.sock"),
    ],
)
def test_what_is_shown_has_all_hosts_and_no_credentials(address: str, shown: str) -> None:
    assert has_password(address)
    assert without_credentials(address) == shown
    assert not has_password(shown)
