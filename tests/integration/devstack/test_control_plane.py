"""A Kubernetes control plane without a node."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ocelot_devstack.kubernetes import ControlPlane
from ocelot_devstack.pytest_plugin import dev_settings

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(3_600)]


async def test_it_keeps_its_objects_and_its_keys_when_it_starts_again(
    tmp_path: Path, control_plane: Any
):
    del control_plane  # its programs are there
    cache_dir = dev_settings(tmp_path).cache_dir
    async with (
        ControlPlane(tmp_path, cache_dir=cache_dir, report=lambda _: None) as first,
        first.http() as http,
    ):
        made = await http.post("/api/v1/namespaces", json={"metadata": {"name": "kept"}})
        assert made.status_code == 201, made.text

    async with (
        ControlPlane(tmp_path, cache_dir=cache_dir, report=lambda _: None) as again,
        again.http() as http,
    ):
        found = await http.get("/api/v1/namespaces/kept")
        assert found.json()["metadata"]["uid"] == made.json()["metadata"]["uid"]


async def test_a_service_account_has_no_rights_but_those_that_are_given(control_plane: Any):
    async with control_plane.http() as http:
        answer = await http.post(
            "/api/v1/namespaces/default/serviceaccounts", json={"metadata": {"name": "nobody"}}
        )
        assert answer.status_code == 201, answer.text
    kubeconfig = await control_plane.write_kubeconfig_of("default", "nobody")

    kubectl = await asyncio.create_subprocess_exec(
        str(control_plane.kubectl),
        *(f"--kubeconfig={kubeconfig}", "get", "secrets"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, error = await kubectl.communicate()
    assert b"system:serviceaccount:default:nobody" in error
    assert b"Forbidden" in error
