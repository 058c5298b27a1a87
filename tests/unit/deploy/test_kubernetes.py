"""The Kubernetes manifests, held against the API's schemas and against what the services are."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from shared.config import Settings, load
from shared.health import CHECK_SECONDS
from shared.server import DRAINED_SECONDS, GRACEFUL_SECONDS
from shared.service_credential import load as load_credential
from shared.service_credential import load_or_create
from shared.web import health_routes
from tests.unit.deploy.conftest import DOCUMENT, OVERLAY, kustomized, steps

SERVICES = {"registry": 8001, "token": 8002, "notifier": 8003}
COMPONENT = "app.kubernetes.io/component"
OLDEST = "1.29"
Object = dict[str, Any]


def named(rendered: list[Object], kind: str, name: str) -> Object:
    """Return one object; a generated name may have a hash behind it."""
    pattern = re.compile(rf"{re.escape(name)}(-[a-z0-9]{{10}})?")
    found = [
        one
        for one in rendered
        if one["kind"] == kind and pattern.fullmatch(one["metadata"]["name"])
    ]
    assert len(found) == 1, (kind, name)
    return found[0]


def pods(rendered: list[Object]) -> dict[str, Object]:
    """Return the pods' specs by the component that they are of."""
    return {
        one["metadata"]["labels"][COMPONENT]: one["spec"]["template"]["spec"]
        for one in rendered
        if one["kind"] in {"Deployment", "Job"}
    }


def containers(pod: Object) -> Iterator[Object]:
    yield from pod.get("initContainers", ())
    yield from pod["containers"]


def settings_of(rendered: list[Object], folder: Path) -> Settings:
    """Return what a pod's file and environment say."""
    file = folder / "config.yml"
    file.write_text(named(rendered, "ConfigMap", "config")["data"]["config.yml"])
    return load(file, folder)


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
def test_every_object_is_one_that_kubernetes_knows(rendered: list[Object], version: str) -> None:
    """Strictly: a field in the wrong place is dropped without a word by a lenient server."""
    for one in rendered:
        kubernetes_validate.validate(one, version, strict=True)


def test_a_field_in_the_wrong_place_is_seen(rendered: list[Object]) -> None:
    """A check that never fires holds nothing."""
    deployment = named(rendered, "Deployment", "token")
    wrong = {**deployment, "spec": {**deployment["spec"], "readinessProbe": {}}}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, OLDEST, strict=True)


def test_the_base_stands_by_itself(installation: Path) -> None:
    """Other overlays are made from it."""
    kinds = {one["kind"] for one in kustomized(installation / "deploy/kubernetes/base")}

    assert kinds >= {"Deployment", "Job", "Service", "ConfigMap", "NetworkPolicy"}


def test_the_settings_are_settings(
    rendered: list[Object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read as a pod reads them: file and environment, by the services' own code."""
    for name, value in named(rendered, "ConfigMap", "site")["data"].items():
        monkeypatch.setenv(name, value)

    settings = settings_of(rendered, tmp_path)

    assert settings.issuer == "https://oauth.example.com"
    assert settings.public_url == "https://apps.example.com"
    for service, port in SERVICES.items():
        assert getattr(settings, service).port == port
        assert getattr(settings, service).host == "0.0.0.0"  # noqa: S104 - in a pod of its own
    assert settings.registry_url == "http://registry:8001"
    assert settings.token_url == "http://token:8002"
    assert settings.server.proxies == ("10.0.0.0/8",)


def test_no_container_has_a_variable_of_its_own(rendered: list[Object]) -> None:
    """What is set stands in the two places where it is looked for, and is read above."""
    for pod in pods(rendered).values():
        assert pod["enableServiceLinks"] is False
        for container in containers(pod):
            assert "env" not in container
            for source in container.get("envFrom", ()):
                assert source["configMapRef"]["name"].startswith("site-")


def test_every_file_that_the_configuration_names_is_mounted(
    rendered: list[Object], tmp_path: Path
) -> None:
    """A secret under another name would be missed at the start."""
    settings = settings_of(rendered, tmp_path)
    bus, credential = settings.bus.url_file, settings.internal.credential_file
    databases = settings.registry.database.url_file, settings.notifier.database.url_file
    needed = {
        "registry": {bus, credential, databases[0]},
        "token": {bus, credential},
        "notifier": {bus, credential, databases[1], settings.notifier.smtp.password_file},
        "migrate": {credential, *databases},
    }
    found = {name: _secret_files(pod) for name, pod in pods(rendered).items()}

    assert found == needed


def _secret_files(pod: Object) -> set[Path]:
    (volume,) = [one for one in pod["volumes"] if one["name"] == "secrets"]
    (mount,) = [one for one in pod["containers"][0]["volumeMounts"] if one["name"] == "secrets"]
    return {
        Path(mount["mountPath"]) / item["path"]
        for source in volume["projected"]["sources"]
        for item in source["secret"]["items"]
    }


def test_every_key_of_a_secret_is_there(rendered: list[Object]) -> None:
    """A pod whose Secret lacks a key does not start."""
    secrets = {
        one["metadata"]["name"]: set(one["data"]) for one in rendered if one["kind"] == "Secret"
    }
    for pod in pods(rendered).values():
        (volume,) = [one for one in pod["volumes"] if one["name"] == "secrets"]
        for source in volume["projected"]["sources"]:
            keys = {item["key"] for item in source["secret"]["items"]}
            assert keys <= secrets[source["secret"]["name"]]


def test_the_service_credential_of_the_document_is_long_enough(installation: Path) -> None:
    """And `migrate` takes it as it is."""
    path = installation / OVERLAY / "secrets" / "service-credential"

    assert load_or_create(path) == load_credential(path)


def test_every_port_and_probe_is_one_of_the_services(rendered: list[Object]) -> None:
    """A probe that asks nobody restarts a service that is well."""
    paths = {route.path for route in health_routes("any", {})}
    for service, port in SERVICES.items():
        container = pods(rendered)[service]["containers"][0]
        assert container["args"] == [service, "serve"]
        assert container["ports"] == [{"name": "http", "containerPort": port}]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["port"] == "http"
            assert container[probe]["httpGet"]["path"] in paths
            assert container[probe]["timeoutSeconds"] > CHECK_SECONDS
        assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        spec = named(rendered, "Service", service)["spec"]
        assert spec["ports"] == [{"name": "http", "port": port, "targetPort": "http"}]


def test_every_selector_finds_its_pods_and_no_others(rendered: list[Object]) -> None:
    """A Service or budget that selects nothing is accepted and does nothing."""
    for service in SERVICES:
        labels = named(rendered, "Deployment", service)["spec"]["template"]["metadata"]["labels"]
        expected = {COMPONENT: service, "app.kubernetes.io/name": "oauthapps"}
        assert labels == expected
        assert named(rendered, "Service", service)["spec"]["selector"] == expected
        budget = named(rendered, "PodDisruptionBudget", service)["spec"]
        assert budget == {"maxUnavailable": 1, "selector": {"matchLabels": expected}}
        for spread in pods(rendered)[service]["topologySpreadConstraints"]:
            assert spread["labelSelector"]["matchLabels"][COMPONENT] == service


def test_pods_are_hardened(rendered: list[Object]) -> None:
    """As the Pod Security level `restricted` wants it, and with nothing to write to but volumes."""
    namespace = named(rendered, "Namespace", "oauthapps")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod in pods(rendered).values():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert set(container["resources"]["requests"]) == {"cpu", "memory"}
            assert set(container["resources"]["limits"]) == {"cpu", "memory"}
        for volume in pod["volumes"]:
            assert set(volume) & {"emptyDir", "configMap", "secret", "projected"}
            if "emptyDir" in volume:
                assert "sizeLimit" in volume["emptyDir"]


def test_a_service_that_ends_has_time_to(rendered: list[Object], tmp_path: Path) -> None:
    """What is cut off by the kubelet is a request that failed."""
    drain = settings_of(rendered, tmp_path).server.drain.total_seconds()

    assert drain > 0
    for service in SERVICES:
        seconds = pods(rendered)[service]["terminationGracePeriodSeconds"]
        assert seconds >= drain + DRAINED_SECONDS + GRACEFUL_SECONDS + 5


def test_nobody_who_answers_requests_is_missing_in_a_rollout(rendered: list[Object]) -> None:
    """The notifier answers none, and its versions must not work side by side."""
    strategies = {
        service: named(rendered, "Deployment", service)["spec"]["strategy"] for service in SERVICES
    }
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}

    assert strategies == {"registry": rolling, "token": rolling, "notifier": {"type": "Recreate"}}


def test_the_autoscaler_alone_says_how_many_token_services_there_are(
    rendered: list[Object],
) -> None:
    """A number in the Deployment would take its place with each apply."""
    deployment = named(rendered, "Deployment", "token")
    scaler = named(rendered, "HorizontalPodAutoscaler", "token")["spec"]

    assert "replicas" not in deployment["spec"]
    assert scaler["scaleTargetRef"]["name"] == "token"
    (metric,) = scaler["metrics"]
    (container,) = pods(rendered)["token"]["containers"]
    assert metric["containerResource"]["container"] == container["name"]


def test_the_copy_of_the_clients_has_the_room_that_it_may_take(rendered: list[Object]) -> None:
    """A pod that writes more than its volume's limit is evicted."""
    room = {one["name"]: one for one in pods(rendered)["token"]["volumes"]}["var"]["emptyDir"]
    configured = yaml.safe_load(
        (Path(__file__).parents[3] / "config.yml").read_text(encoding="utf-8")
    )

    assert room == {"sizeLimit": "5Gi"}
    assert configured["token"]["projection_map_size"] < 5 * 2**30


def test_the_network_lets_through_what_is_needed_and_no_more(rendered: list[Object]) -> None:
    """Who may reach whom, as the policies say it in all."""
    policies = [one["spec"] for one in rendered if one["kind"] == "NetworkPolicy"]

    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in policies
    assert _ways(policies, "Egress") == {
        ("everybody", "kube-system", 53),
        *((one, "registry", 8001) for one in SERVICES),
        ("registry", "token", 8002),
        ("notifier", "token", 8002),
        ("registry", "notifier", 8003),
        *((one, "10.20.0.0/24", 5432) for one in ("registry", "notifier", "migrate")),
        *((one, "10.20.1.0/24", 5671) for one in SERVICES),
        ("notifier", "10.20.2.25/32", 587),
    }
    assert _ways(policies, "Ingress") == {
        *(("registry", one, 8001) for one in SERVICES),
        ("token", "registry", 8002),
        ("token", "notifier", 8002),
        ("notifier", "registry", 8003),
        ("registry", "ingress-nginx", "http"),
        ("token", "ingress-nginx", "http"),
        *((one, "monitoring", "http") for one in SERVICES),
    }


def _ways(policies: list[Object], direction: str) -> set[tuple[str, str, int | str]]:
    key, ends = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    return {
        (subject, other, port["port"])
        for spec in policies
        for rule in spec.get(key, ())
        for end in rule[ends]
        for port in rule["ports"]
        for subject in _selected(spec["podSelector"])
        for other in _selected(end)
    }


def _selected(end: Object) -> list[str]:
    """Return the components, namespace or addresses that one end of a policy means."""
    if "ipBlock" in end:
        return [end["ipBlock"]["cidr"]]
    if "namespaceSelector" in end:
        return [end["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]]
    selector = end.get("podSelector", end)
    if COMPONENT in selector.get("matchLabels", {}):
        return [selector["matchLabels"][COMPONENT]]
    for expression in selector.get("matchExpressions", ()):
        assert (expression["key"], expression["operator"]) == (COMPONENT, "In")
        return list(expression["values"])
    return ["everybody"]


def test_the_steps_of_an_upgrade_apply_everything(rendered: list[Object]) -> None:
    """They go by a label; what has none of these would stay behind."""
    (commands,) = [one for one in steps(DOCUMENT) if "delete job migrate" in one]
    applied = re.findall(rf"{re.escape(COMPONENT)}(?: in \(([a-z, ]+)\)|=([a-z]+))", commands)
    components = [one for several, single in applied for one in (several or single).split(", ")]

    assert components == ["settings", "migrate", "token", "notifier", "registry"]
    for one in rendered:
        assert one["metadata"]["labels"][COMPONENT] in components


def test_all_run_the_image_of_the_overlay(rendered: list[Object]) -> None:
    """One that kept the base's name would be pulled from nowhere."""
    images = {one["image"] for pod in pods(rendered).values() for one in containers(pod)}

    assert images == {"registry.example.com/oauthapps:0.1.0"}
