//go:build programs

// Package programs names what devstack builds, so that go.mod and go.sum have it all. After a change
// of a version, run `GOFLAGS=-mod=mod go mod tidy` here.
package programs

import (
	_ "go.etcd.io/etcd/server/v3"
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/kubernetes/cmd/kubectl"
)
