"""Where the programs of the Kubernetes control plane come from."""

from pathlib import Path

import pytest

from ocelot_devstack.kubernetes.programs import KubernetesMissingError, find_programs

NAMES = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")


def put(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch(mode=0o755)


async def test_a_folder_that_has_all_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "assets", *NAMES)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    found = await find_programs(tmp_path / "cache", report=pytest.fail)
    assert found == {name: tmp_path / "assets" / name for name in NAMES}


async def test_what_the_folder_lacks_is_built_and_without_go_the_error_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As envtest's folder, which has no controller manager."""
    put(tmp_path / "assets", "etcd", "kube-apiserver", "kubectl")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KubernetesMissingError, match=r"Go .* KUBEBUILDER_ASSETS"):
        await find_programs(tmp_path / "cache", report=pytest.fail)


async def test_a_program_of_the_folder_comes_before_one_that_was_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "assets", "etcd")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))

    async def install(_cache: Path, _name: str, _build: object) -> Path:
        return tmp_path / "built"

    monkeypatch.setattr("ocelot_devstack.kubernetes.programs.install_once", install)
    found = await find_programs(tmp_path / "cache", report=lambda _: None)
    assert found["etcd"] == tmp_path / "assets" / "etcd"
    assert found["kubectl"] == tmp_path / "built" / "kubectl"
