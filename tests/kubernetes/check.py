"""Checks manifests of Kubernetes: python3 check.py SCHEMAS FILE…

SCHEMAS is the folder of the schemas of one version of Kubernetes. The kinds of the Prometheus Operator have no schema there;
of those, what refers to other manifests is checked. The files are what one `kubectl apply` would get.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

import jsonschema
import yaml

problems = []


def problem(manifest, text):
    problems.append(f"{manifest['kind']} {manifest['metadata']['name']}: {text}")


def schema_of(folder, manifest):
    group, _, version = manifest["apiVersion"].rpartition("/")
    name = "-".join(filter(None, [manifest["kind"].lower(), group.split(".")[0], version]))
    return folder / f"{name}.json"


def check_schema(folder, manifest):
    path = schema_of(folder, manifest)
    schema = json.loads(path.read_text())
    # The schemas refer to their common part by this address.
    common = {"https://kubernetes.io/api/_definitions.json": json.loads((folder / "_definitions.json").read_text())}
    resolver = jsonschema.RefResolver(path.as_uri(), schema, store=common)
    for error in jsonschema.Draft7Validator(schema, resolver=resolver).iter_errors(manifest):
        problem(manifest, f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}")


def selects(selector, labels):
    return selector.items() <= labels.items()


def check_restricted(manifest, pod):
    """The policy `restricted` of Kubernetes, and what is more."""
    security = pod["securityContext"]
    if not security.get("runAsNonRoot") or security["seccompProfile"]["type"] != "RuntimeDefault":
        problem(manifest, "the pod may run as root or without seccomp")
    if any(sysctl["name"] != "net.ipv4.ping_group_range" for sysctl in security.get("sysctls", [])):
        problem(manifest, "a sysctl that restricted namespaces refuse")
    if pod["automountServiceAccountToken"] is not False:
        problem(manifest, "the pod has a token for the API server")
    for container in pod["containers"]:
        security = container["securityContext"]
        expected = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        if security != expected:
            problem(manifest, f"{security}, expected {expected}")


def check_pods(manifests, manifest):
    template = manifest["spec"]["template"]
    pod = template["spec"]
    labels = template["metadata"]["labels"]
    check_restricted(manifest, pod)
    ports = {port["name"] for container in pod["containers"] for port in container["ports"]}
    arguments = " ".join(pod["containers"][0]["args"])
    shards = re.search(r"--shard ordinal/(\d+)", arguments)
    if int(shards[1] if shards else 1) != manifest["spec"]["replicas"]:
        problem(manifest, f"{manifest['spec']['replicas']} pods, but {shards and shards[0]}")
    if not selects(manifest["spec"]["selector"]["matchLabels"], labels):
        problem(manifest, "does not select its own pods")

    by_kind = {other["kind"]: other for other in manifests}
    service = by_kind["Service"]
    if service["metadata"]["name"] != manifest["spec"]["serviceName"]:
        problem(manifest, "serviceName is not the name of the Service")
    selectors = {
        "Service": lambda spec: spec["selector"],
        "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
        "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
        "PodMonitor": lambda spec: spec["selector"]["matchLabels"],
    }
    for kind, selector in selectors.items():
        if kind in by_kind and not selects(selector(by_kind[kind]["spec"]), labels):
            problem(by_kind[kind], "does not select the pods")
    for port in service["spec"]["ports"]:
        if port["targetPort"] not in ports:
            problem(service, f"the pods have no port {port['targetPort']}")
    if monitor := by_kind.get("ServiceMonitor"):
        if not selects(monitor["spec"]["selector"]["matchLabels"], service["metadata"]["labels"]):
            problem(monitor, "does not select the Service")
        if monitor["spec"]["endpoints"][0]["port"] != service["spec"]["ports"][0]["name"]:
            problem(monitor, "scrapes a port that the Service does not have")
    for volume in pod["volumes"]:
        name = volume.get("configMap", {}).get("name")
        if name and "ConfigMap" in by_kind and by_kind["ConfigMap"]["metadata"]["name"] != name:
            problem(manifest, f"mounts the ConfigMap {name}, which is not there")


def run(manifest, text, *command):
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        file.write(text)
        file.flush()
        result = subprocess.run([*command, file.name], capture_output=True, text=True)
        if result.returncode:
            problem(manifest, result.stdout + result.stderr)


def main():
    folder = pathlib.Path(sys.argv[1]).resolve()
    manifests = []
    for path in sys.argv[2:]:
        manifests += [manifest for manifest in yaml.safe_load_all(pathlib.Path(path).read_text()) if manifest]
    for manifest in manifests:
        kind = manifest["kind"]
        if not manifest["apiVersion"].startswith("monitoring.coreos.com/"):
            check_schema(folder, manifest)
        if kind == "StatefulSet":
            check_pods(manifests, manifest)
        elif kind == "PrometheusRule":
            run(manifest, yaml.safe_dump(manifest["spec"]), "promtool", "check", "rules")
        elif kind == "ConfigMap":
            run(manifest, manifest["data"]["config.yml"], "target/debug/monitoringdaemon", "validate", "--strict")
    if not manifests:
        problems.append("there are no manifests")
    print(f"{len(manifests)} manifests, {len(problems)} problems")
    for text in problems:
        print(f"- {text}")
    return 1 if problems else 0


sys.exit(main())
