"""Well-known services: what `service: NAME` stands for."""

# A protocol without ports has none.
SERVICES: dict[str, tuple[tuple[str, tuple[tuple[int, int], ...]], ...]] = {
    "bgp": (("tcp", ((179, 179),)),),
    "dns": (("tcp", ((53, 53),)), ("udp", ((53, 53),))),
    "http": (("tcp", ((80, 80),)),),
    "https": (("tcp", ((443, 443),)),),
    "ipsec": (("udp", ((500, 500), (4500, 4500))), ("esp", ())),
    "iperf3": (("tcp", ((5201, 5201),)), ("udp", ((5201, 5201),))),
    "mosh": (("udp", ((60000, 61000),)),),
    "ntp": (("udp", ((123, 123),)),),
    "openvpn": (("udp", ((1194, 1194),)),),
    "smtp": (("tcp", ((25, 25),)),),
    "snmp": (("udp", ((161, 161),)),),
    "ssh": (("tcp", ((22, 22),)),),
    "wireguard": (("udp", ((51820, 51820),)),),
}
"""Protocol and ports by name; the numbers are IANA's where it has them.  The schema lists them."""
