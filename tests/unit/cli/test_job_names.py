import pytest
import typer

from ocelot_cli.job_names import KIND_NAMES, kind_name, parse_kind, phase_name
from ocelot_common.jobs.model import JobKind
from ocelot_common.jobs.rebuild import RebuildPhase


def test_every_kind_is_shown_by_its_name_and_read_back():
    shown = [kind_name(kind.value) for kind in JobKind]
    assert shown == list(KIND_NAMES)
    assert [parse_kind(name) for name in shown] == list(JobKind)
    assert {"index-lifecycle", "dead-letter-collector"} < set(shown)


def test_stored_values_are_read_too_and_keep_their_spelling():
    assert [parse_kind(kind.value) for kind in JobKind] == list(JobKind)
    assert (JobKind.PERIODS.value, JobKind.DRAIN.value) == ("periods", "drain")
    assert (RebuildPhase.SETTLING.value, RebuildPhase.MENDING.value) == ("settling", "mending")


def test_a_phase_is_shown_by_its_name():
    assert phase_name("settling") == "waiting for propagation"
    assert phase_name("mending") == "repairing"
    assert phase_name("copying") == "copying"


def test_kinds_and_phases_of_a_newer_release_are_shown_as_they_are():
    assert kind_name("compact") == "compact"
    assert phase_name("verifying") == "verifying"


def test_another_kind_is_refused():
    with pytest.raises(typer.BadParameter, match="index-lifecycle"):
        parse_kind("lifecycle")
