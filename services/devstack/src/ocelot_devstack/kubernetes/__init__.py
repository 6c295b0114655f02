"""A real Kubernetes control plane without a node: API server, etcd, controller manager."""

from ocelot_devstack.kubernetes.control_plane import ControlPlane

__all__ = ["ControlPlane"]
