"""What the operator counts."""

from prometheus_client import CollectorRegistry, Counter


class OperatorMetrics:
    """Prometheus metrics of the operator."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.passes = Counter(
            "ocelot_operator_passes",
            "Passes over Tenants by the reason in their condition Ready, or Unwritten if the API"
            " server could not be used",
            ["reason"],
            registry=registry,
        )
