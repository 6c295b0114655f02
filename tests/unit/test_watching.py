"""docs/operations/watching.md names only what the processes export and log."""

import re
from pathlib import Path

from prometheus_client import CollectorRegistry

from ocelot_api.http.metrics import EdgeMetrics
from ocelot_api.metrics import ApiMetrics
from ocelot_common.build_info import build_info, export_build_info
from ocelot_consumer.metrics import ConsumerMetrics
from ocelot_indexer.metrics import IndexerMetrics
from ocelot_jobs.metrics import JobsMetrics
from ocelot_operator.metrics import OperatorMetrics

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operations/watching.md").read_text()
SOURCE = "\n".join(
    path.read_text()
    for folder in ("services/*/src", "operator/src")
    for path in ROOT.glob(f"{folder}/**/*.py")
)


def exported() -> set[str]:
    """Names that the services' metric classes export, and those that common code makes."""
    registry = CollectorRegistry()
    ApiMetrics(registry)
    EdgeMetrics(registry)
    ConsumerMetrics(registry)
    IndexerMetrics(registry)
    JobsMetrics(registry)
    OperatorMetrics(registry)
    export_build_info(build_info("api"), registry)
    names = {
        family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        for family in registry.collect()
    }
    return names | set(re.findall(r'"(ocelot_(?:worker|queue)_\w+)"', SOURCE))


def test_every_metric_on_the_page_is_exported():
    named = set(re.findall(r"`(ocelot_\w+)", PAGE))
    assert len(named) > 20
    assert named <= exported()


def test_every_metric_that_is_exported_is_on_the_page():
    named = set(re.findall(r"`(ocelot_\w+)", PAGE))
    assert exported() - named <= {"ocelot_api_envelope_events"}


def test_every_log_line_on_the_page_is_written():
    lines = PAGE.split("\n")
    cells = [
        line.split("|")[-2] for line in lines if line.startswith("| ") and line.count("|") == 4
    ]
    named = {name for cell in cells for name in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", cell)}
    assert len(named) > 10
    assert {name for name in named if f'"{name}"' not in SOURCE} == set()
