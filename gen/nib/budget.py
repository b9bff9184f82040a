"""What probes cost, and how rare they must be to cost no more than a metered line's budget."""

from nib.config import Uplink
from nib.plan import PROBE_PAYLOAD_BYTES

MONTH_MS = 30 * 86400 * 1000

# An ICMP echo request in IPv4 (RFC 791) and in IPv6 (RFC 8200), without what the link adds.
PACKET_BYTES = {4: 20 + 8 + PROBE_PAYLOAD_BYTES, 6: 40 + 8 + PROBE_PAYLOAD_BYTES}


def least_interval_ms(uplink: Uplink) -> int:
    """The shortest interval that keeps to the uplink's budget; 0 if it has none."""
    return -(-round_bytes(uplink) * MONTH_MS // uplink.budget_bytes) if uplink.budget_bytes else 0


def round_bytes(uplink: Uplink) -> int:
    """One question to every target, and the answers."""
    versions = [target.version for target in uplink.probe.targets]
    return 2 * sum(PACKET_BYTES[version] for version in versions if version == 4 or uplink.ipv6)
