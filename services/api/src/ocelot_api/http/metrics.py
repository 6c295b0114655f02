"""The metrics of connections."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class EdgeMetrics:
    """What is counted of all connections of the public port."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.open = Gauge("ocelot_api_connections", "Connections open now", registry=registry)
        self.limit = Gauge(
            "ocelot_api_connections_limit",
            "Connections that may be open; beyond them, none is accepted",
            registry=registry,
        )
        self.evicted = Counter(
            "ocelot_api_connections_evicted",
            "Connections closed to make room for others at the limit",
            registry=registry,
        )
