"""The metrics of connections."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class EdgeMetrics:
    """What is counted of all connections of the public port."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.open = Gauge("ocelot_api_connections", "Open connections", registry=registry)
        self.limit = Gauge(
            "ocelot_api_connections_limit",
            "Limit of open connections; more connections wait in the kernel",
            registry=registry,
        )
        self.evicted = Counter(
            "ocelot_api_connections_evicted",
            "Connections closed at the limit to accept others",
            registry=registry,
        )
