"""The lab: a router between its providers and its LANs, and an internet behind them.

                    .-- isp1 --.
lan1 --.            |          |
       +-- router --+-- isp2 --+-- inet
lan2 --'            |          |
                    '-- ...  --'
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

from lab.hosts import TCP_PORT, UDP_PORT, Internet, Lan
from lab.image import image, nib_layer, package_layer
from lab.isp import Isp, Provider
from lab.node import Holder
from lab.router import Router
from lab.switch import Switch
from lab.traffic import start_server


class Lab:
    """A world of its own, from `with` to the end of the block, or of the process.

    `isps` says what the providers are like, from the first; `files` are put before the boot that
    a test asks for with `lab.router.boot()`, and `packages` are Debian's that the router has
    besides.  Those of `shared` ("isp1", "lan1") are behind a switch, on one port of the router.
    """

    def __init__(
        self,
        suite: str = "trixie",
        isps: Sequence[Isp] = (Isp(), Isp("static")),
        lans: int = 1,
        *,
        nib: bool = False,
        files: Mapping[str, str] | None = None,
        packages: Sequence[str] = (),
        shared: Collection[str] = (),
    ) -> None:
        self.suite = suite
        self.packages = tuple(packages)
        self.holder = self._make_holder()
        try:
            self.router = self._make_router(nib)
            self.inet = Internet(self.holder, "inet")
            self.isps = tuple(
                Provider(self.holder, number, isp, self.router)
                for number, isp in enumerate(isps, start=1)
            )
            self.switch = Switch(self.holder)
            self.shared = frozenset(shared)
            self.lans = tuple(Lan(self.holder, number) for number in range(1, lans + 1))
            self._build()
            for path, text in (files or {}).items():
                self.router.put(path, text)
        except BaseException:
            self.close()
            raise

    def _make_holder(self) -> Holder:
        """What everything is in."""
        return Holder()

    def _make_router(self, nib: bool) -> Router:
        """Where the router comes from: here, a container over the suite's root."""
        layers = [nib_layer(self.suite)] if nib else []
        layers += [package_layer(self.suite, self.packages)] if self.packages else []
        layers += [image(self.suite)]
        return Router(self.holder, layers, containers="docker.io" in self.packages)

    def _build(self) -> None:
        self.inet.build()
        if self.shared:
            self.switch.build()
        for provider in self.isps:
            provider.connect(self.inet)
            provider.switch = self.switch if provider.name in self.shared else None
        for lan in self.lans:
            lan.build()
            lan.switch = self.switch if lan.name in self.shared else None
        self.router.plug, self.router.unplug = self._plug, self._unplug
        start_server(self.inet, tcp=[TCP_PORT, 443], udp=[UDP_PORT], dns=[53], http=[80])

    def _plug(self) -> None:
        if self.shared:
            self.switch.attach(self.router)
        for lan in self.lans:
            lan.attach(self.router)
        for provider in self.isps:
            if provider.attached:
                provider.attach()

    def _unplug(self) -> None:
        for lan in self.lans:
            lan.power_off()
        for provider in self.isps:
            provider.power_off()
        if self.shared:
            self.switch.power_off()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it.  Nothing has to be undone: the kernel removes what only the lab could see."""
        self.holder.close()

    # -- reading results

    def isp_of(self, address: str) -> Provider | None:
        """The provider that a connection came through which was seen from this address."""
        return next((provider for provider in self.isps if provider.owns(address)), None)

    def by_isp(self, seen: Mapping[str, int]) -> Counter[str]:
        """Counts by provider ("isp1") instead of by address; the rest keeps its name."""
        counts: Counter[str] = Counter()
        for address, count in seen.items():
            provider = self.isp_of(address)
            counts[provider.name if provider else address] += count
        return counts

    def spoofed(self, isps: Iterable[Provider] = ()) -> dict[str, tuple[str, ...]]:
        """Who sent packets with a source that is not the provider's, by provider; empty is good."""
        return {isp.name: spoofed.who for isp in (isps or self.isps) if (spoofed := isp.spoofed)}
