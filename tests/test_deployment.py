"""`deploy/` against Kubernetes' own schemas, offline, and against the service that it starts. No cluster is asked."""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest
import yaml
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.container.generate import BENTO_UID_GID

from tests.serving import ROOT, Service
from thinned.service.http.metrics_port import parse_address
from thinned.service.http.worker_server import LINGER_S
from thinned.service.metrics.service_metrics import Metrics
from thinned.service.settings import PREFIX, Settings

KUBERNETES, KSERVE = ROOT / "deploy/kubernetes", ROOT / "deploy/kserve"
BASE, EXAMPLE = KUBERNETES / "base", KUBERNETES / "example"
OLDEST = "1.30"
"""The first version that knows `sleep` in a hook, as docs/kubernetes.md says."""
OWN_OF_KSERVE = ("minReplicas", "maxReplicas")
"""What a predictor has beside the fields of a pod."""


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def found(folder: Path, kind: str) -> dict[str, Any]:
    (one,) = [one for path in folder.glob("*.yaml") for one in documents(path) if one["kind"] == kind]
    return one


MANIFESTS = [
    pytest.param(one, id=f"{path.relative_to(ROOT / 'deploy')}-{one['kind']}")
    for path in [*sorted(BASE.glob("[!k]*.yaml")), *sorted(KSERVE.glob("*.yaml"))]
    for one in documents(path)
]
DEPLOYMENT, INFERENCE = found(BASE, "Deployment"), found(KSERVE, "InferenceService")
PODS = {
    "kubernetes": DEPLOYMENT["spec"]["template"],
    "kserve": {
        "metadata": {"annotations": INFERENCE["metadata"]["annotations"]},
        "spec": {name: x for name, x in INFERENCE["spec"]["predictor"].items() if name not in OWN_OF_KSERVE},
    },
}
SPECS = {name: pod["spec"] for name, pod in PODS.items()}
CONTAINERS = {name: spec["containers"][0] for name, spec in SPECS.items()}
ALL = pytest.mark.parametrize("where", PODS)


def as_kubernetes_knows_it(manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest; of an InferenceService, whose schema KServe brings, the pod that it describes."""
    if manifest["kind"] != "InferenceService":
        return manifest
    pod = {name: x for name, x in manifest["spec"]["predictor"].items() if name not in OWN_OF_KSERVE}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": manifest["metadata"], "spec": pod}


# The schemas


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("manifest", MANIFESTS)
def test_a_manifest_is_what_kubernetes_takes(manifest: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(as_kubernetes_knows_it(manifest), version, strict=True)


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_a_misspelt_field_is_refused(manifest: dict[str, Any]) -> None:
    for place in ("spec", "metadata"):
        wrong = copy.deepcopy(as_kubernetes_knows_it(manifest))
        wrong[place]["replicaz"] = 2
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(wrong, OLDEST, strict=True)


def test_an_inference_service_has_no_further_fields() -> None:
    """Its own schema is not at hand."""
    assert set(INFERENCE) == {"apiVersion", "kind", "metadata", "spec"}
    assert INFERENCE["apiVersion"] == "serving.kserve.io/v1beta1"
    assert set(INFERENCE["spec"]) == {"predictor"}
    assert all(isinstance(INFERENCE["spec"]["predictor"][name], int) for name in OWN_OF_KSERVE)


# Kustomize


def test_a_kustomization_names_all_that_is_there() -> None:
    (base,), (example,) = documents(BASE / "kustomization.yaml"), documents(EXAMPLE / "kustomization.yaml")
    assert sorted(base["resources"]) == sorted(
        path.name for path in BASE.iterdir() if path.name != "kustomization.yaml"
    )
    assert [(EXAMPLE / path).resolve() for path in example["resources"]] == [BASE]
    assert [image["name"] for image in example["images"]] == [CONTAINERS["kubernetes"]["image"]]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl, whose `kustomize` asks no cluster")
def test_the_example_is_built_as_it_is_applied() -> None:
    build = ["kubectl", "kustomize", str(EXAMPLE)]
    text = subprocess.run(build, capture_output=True, text=True, check=True, timeout=60).stdout
    built = {one["kind"]: one for one in yaml.safe_load_all(text)}
    for one in built.values():
        kubernetes_validate.validate(one, OLDEST, strict=True)
        assert one["metadata"]["name"] == "thinned-mine"
    template = built["Deployment"]["spec"]["template"]
    assert template["spec"]["containers"][0]["image"].endswith("/thinned-mine:1")
    selector = template["metadata"]["labels"]
    assert set(selector) == {"app.kubernetes.io/name", "app.kubernetes.io/instance"}
    assert built["Service"]["spec"]["selector"] == selector
    assert built["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == selector
    assert built["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == "thinned-mine"


def test_what_points_to_pods_finds_them() -> None:
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    assert labels
    assert DEPLOYMENT["spec"]["selector"]["matchLabels"] == labels
    assert found(BASE, "Service")["spec"]["selector"] == labels
    assert found(BASE, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert SPECS["kubernetes"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"] == labels
    (port,) = found(BASE, "Service")["spec"]["ports"]
    assert port["targetPort"] in [one["name"] for one in CONTAINERS["kubernetes"]["ports"]]


@ALL
def test_an_autoscaler_scales_what_is_there(where: str) -> None:
    scaler = found({"kubernetes": BASE, "kserve": KSERVE}[where], "HorizontalPodAutoscaler")["spec"]
    # KServe names the Deployment of a predictor so.
    name = DEPLOYMENT["metadata"]["name"] if where == "kubernetes" else f"{INFERENCE['metadata']['name']}-predictor"
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    assert 2 <= scaler["minReplicas"] <= scaler["maxReplicas"]
    (metric,) = scaler["metrics"]
    families = {family.name: family for family in Metrics("m:1").families}
    assert families[metric["pods"]["metric"]["name"]].kind == "gauge"
    assert "replicas" not in DEPLOYMENT["spec"]


def test_the_adapter_makes_the_metric_that_is_asked_for() -> None:
    (rule,) = documents(KUBERNETES / "prometheus_adapter.yaml")[0]["rules"]
    (metric,) = found(BASE, "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert rule["name"]["as"] == metric["pods"]["metric"]["name"]
    assert re.match(r"\w+", rule["seriesQuery"])[0] in {family.name for family in Metrics("m:1").families}
    assert set(re.findall(r'(\w+)!=""', rule["seriesQuery"])) == set(rule["resources"]["overrides"])


# The container


@ALL
def test_a_pod_may_do_no_more_than_it_needs(where: str) -> None:
    spec, container = SPECS[where], CONTAINERS[where]
    pod = spec["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert pod["runAsUser"] == pod["runAsGroup"] == BENTO_UID_GID
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    (volume,), (mount,) = spec["volumes"], container["volumeMounts"]
    assert set(volume) == {"name", "emptyDir"}
    assert (mount["name"], mount["mountPath"]) == (volume["name"], "/tmp")


@pytest.fixture
def set_up(where: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings that the service reads from a container's environment; else it would not start."""
    requests = CONTAINERS[where]["resources"]["requests"]
    for one in CONTAINERS[where]["env"]:
        referred = one.get("valueFrom", {}).get("resourceFieldRef", {}).get("resource", "").partition(".")
        assert not referred[0] or referred[0] == "requests"
        monkeypatch.setenv(one["name"], one["value"] if "value" in one else requests[referred[2]])
    assert any(name.startswith(PREFIX) for name in os.environ)
    return Settings.read()


@ALL
def test_variables_are_settings(where: str, set_up: Settings) -> None:
    (mount,) = CONTAINERS[where]["volumeMounts"]
    names = [one["name"] for one in CONTAINERS[where]["env"] if not one["name"].startswith(PREFIX)]
    assert names == {"kubernetes": ["BENTOML_HOME"], "kserve": ["PROTOCOL", "BENTOML_HOME"]}[where]
    assert Path(os.environ["BENTOML_HOME"]).is_relative_to(mount["mountPath"])
    assert SPECS[where]["enableServiceLinks"] is False


@ALL
def test_it_computes_with_what_it_may_use(where: str, set_up: Settings) -> None:
    resources = CONTAINERS[where]["resources"]
    assert set_up.compute_threads == int(resources["requests"]["cpu"]) < int(resources["limits"]["cpu"])
    assert resources["requests"]["memory"] == resources["limits"]["memory"]
    limit = int(resources["limits"]["memory"].removesuffix("Gi"))
    assert set_up.memory_mib == 0
    assert 0.9 + limit / 2 <= limit


@ALL
def test_the_times_of_an_end_agree(where: str, set_up: Settings) -> None:
    spec, container = SPECS[where], CONTAINERS[where]
    before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    longest = set_up.max_timeout_ms / 1000 + set_up.body_timeout_s
    assert spec["terminationGracePeriodSeconds"] >= before + set_up.drain_s + LINGER_S + longest
    ready, live = container["readinessProbe"], container["livenessProbe"]
    # Who looks at readiness alone knows of the end before connections are refused.
    assert ready["periodSeconds"] * ready["failureThreshold"] + ready["timeoutSeconds"] < set_up.drain_s
    # A worker is started again by the service before Kubernetes starts the whole pod again.
    assert live["periodSeconds"] * live["failureThreshold"] > set_up.wedged_s + 30
    assert live["terminationGracePeriodSeconds"] < spec["terminationGracePeriodSeconds"]
    start = container["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] >= 180


@ALL
def test_ports_are_those_of_the_service(where: str, set_up: Settings) -> None:
    ports = {one["name"]: one["containerPort"] for one in CONTAINERS[where]["ports"]}
    http, metrics = ports.values()
    assert http == BentoMLContainer.http.port.get()
    assert parse_address(set_up.metrics_address or "") == ("0.0.0.0", metrics)
    annotations = PODS[where]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(metrics)
    assert annotations["prometheus.io/path"] == "/metrics"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        port = CONTAINERS[where][probe]["httpGet"]["port"]
        assert ports.get(port, port) == http


@ALL
def test_probes_ask_for_what_the_service_answers(where: str, service: Service) -> None:
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert httpx.get(service.url + CONTAINERS[where][probe]["httpGet"]["path"]).status_code == 200
    assert httpx.get(service.url + "/liveness").status_code == 404


def test_kserve_gets_the_same_container() -> None:
    ours, theirs = copy.deepcopy(CONTAINERS["kubernetes"]), copy.deepcopy(CONTAINERS["kserve"])
    assert theirs["name"] == "kserve-container"
    protocol = theirs["env"].pop(0)
    assert protocol == {"name": "PROTOCOL", "value": "v2"}
    for name in ("env", "resources", "securityContext", "volumeMounts", "lifecycle"):
        assert theirs[name] == ours[name], name
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert {**theirs[name], "httpGet": 0} == {**ours[name], "httpGet": 0}
    same = set(SPECS["kserve"]) - {"containers"}
    assert {name: SPECS["kubernetes"][name] for name in same} == {name: SPECS["kserve"][name] for name in same}
    assert set(SPECS["kubernetes"]) - same == {"containers", "topologySpreadConstraints"}
