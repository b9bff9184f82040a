"""What differs between kernels, as far as nib leans on it: docs/operation.md says the same."""

import json

import pytest

from lab.hosts import Internet
from vm.world import World

pytestmark = [pytest.mark.lab, pytest.mark.vm]

# The addresses that a program's TCP connections have, to every address of the internet.
SOURCES = """
import json, socket, sys
seen = []
for host in sys.argv[1:]:
    for port in (8080, 443, 80):
        with socket.create_connection((host, port), 5) as connection:
            seen.append(connection.getsockname()[0])
print(json.dumps(seen))
"""


def test_the_routers_own_tcp_is_spread_by_destination(lab: World) -> None:
    """Up to 6.15 the source address is chosen before the port, so the port cannot spread it."""
    assert len(lab.shares(lab.router, 60)) == 1
    lab.router.put("/tmp/sources.py", SOURCES)
    said = json.loads(lab.router.run("python3 /tmp/sources.py " + " ".join(Internet.addresses)))
    assert len(lab.by_isp(dict.fromkeys(said, 1))) > 1
    # UDP has its port before it asks for a way
    assert len(lab.shares(lab.router, 100, "udp")) == 3
