"""What is deployed beside the units: cluster, Kubernetes, installer, mail, the client's example.

The cluster's file is checked by Ray's own schema, command lines by `ray` and `tuner` themselves.
"""

from __future__ import annotations

import re
import shlex
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
from ruamel.yaml import YAML

from search_spaces.model import UserError
from tests.deploy.test_units import DEPLOY, environment, parsed
from tuner.cli import cli
from tuner.cli.serve import PORT
from tuner.remote.servers import known_servers
from tuner.spec import FLAGS

ROOT = DEPLOY.parent
CLUSTER = DEPLOY / "cluster" / "ray-cluster.yaml"
RAYJOB = DEPLOY / "kubernetes" / "rayjob.yaml"
RAYJOB_FIELDS = {
    "activeDeadlineSeconds", "backoffLimit", "clusterSelector", "deletionStrategy", "entrypoint",
    "entrypointNumCpus", "entrypointNumGpus", "entrypointResources", "jobId", "managedBy",
    "metadata", "preRunningDeadlineSeconds", "rayClusterSpec", "runtimeEnvYAML",
    "shutdownAfterJobFinishes", "submissionMode", "submitterConfig", "submitterPodTemplate",
    "suspend", "ttlSecondsAfterFinished",
}  # fmt: skip
"""Of `spec` in KubeRay 1.7's ray.io/v1 RayJob; the API server drops others in silence."""


def pinned(package: str) -> str:
    """Return a package's version in constraints.txt."""
    (line,) = re.findall(rf"(?m)^{package}==(.*)$", (ROOT / "constraints.txt").read_text())
    return str(line)


def tuner_arguments(arguments: list[str]) -> dict[str, object]:
    """Return what the command line `tuner` makes of arguments; raise if it does not take them."""
    verb, *rest = arguments
    command = cli.get_command(click.Context(cli), verb)  # type: ignore[attr-defined]
    if isinstance(command, click.Group) and rest:
        verb, *rest = rest
        command = command.commands[verb]
    return parsed(command, rest)


def cluster() -> dict[str, Any]:
    """Return the cluster's file."""
    found: dict[str, Any] = YAML(typ="safe", pure=True).load(CLUSTER.read_text())
    return found


def test_ray_up_takes_the_cluster_file() -> None:
    """By what `ray up` does before it connects: schema, defaults, schema again."""
    util = pytest.importorskip("ray.autoscaler._private.util")
    util.validate_config(cluster())
    prepared = util.prepare_config(cluster())
    util.validate_config(prepared)
    assert prepared["provider"]["type"] == "local"
    assert prepared["max_workers"] == len(prepared["provider"]["worker_ips"])


def test_ray_up_refuses_what_its_schema_does_not_know() -> None:
    util = pytest.importorskip("ray.autoscaler._private.util")
    jsonschema = pytest.importorskip("jsonschema")
    with pytest.raises(jsonschema.ValidationError):
        util.validate_config({**cluster(), "worker_ip": []})


@pytest.mark.parametrize("of", ["head_start_ray_commands", "worker_start_ray_commands"])
def test_machines_of_a_cluster_start_ray_with_the_token_and_ports_that_a_firewall_can_name(
    of: str,
) -> None:
    scripts = pytest.importorskip("ray.scripts.scripts")
    stop, start = cluster()[of]
    assert stop == "/opt/tuner/venv/bin/ray stop"
    line = shlex.split(start.rpartition("; ")[2])
    given = dict(word.split("=", 1) for word in line[: line.index("/opt/tuner/venv/bin/ray")])
    for variable in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        assert given[variable] == environment("tuner-ray.service")[variable]
    options = parsed(scripts.start, line[line.index("start") + 1 :])
    assert bool(options["head"]) is (of == "head_start_ray_commands")
    named = [
        "node_manager_port", "object_manager_port", "runtime_env_agent_port",
        "dashboard_agent_grpc_port", "metrics_export_port", "min_worker_port", "max_worker_port",
    ]  # fmt: skip
    assert all(options[name] for name in named)
    if options["head"]:
        assert options["dashboard_host"] == "127.0.0.1"


def rayjob() -> dict[str, Any]:
    """Return the RayJob of the Kubernetes manifest."""
    documents = YAML(typ="safe", pure=True).load_all(RAYJOB.read_text())
    (found,) = [one for one in documents if one["kind"] == "RayJob"]
    return dict(found)


def test_kuberay_knows_every_field_of_the_job_and_the_cluster_asks_for_a_token() -> None:
    """The whole manifest was validated against KubeRay's schema, which is too large to keep."""
    assert rayjob()["apiVersion"] == "ray.io/v1"
    spec = rayjob()["spec"]
    assert set(spec) <= RAYJOB_FIELDS
    assert spec["rayClusterSpec"]["authOptions"] == {"mode": "token"}


def test_the_image_the_manifest_and_the_constraints_have_the_same_ray() -> None:
    dockerfile = (DEPLOY / "kubernetes" / "Dockerfile").read_text()
    assert f"FROM rayproject/ray:{pinned('ray')}-py311" in dockerfile
    assert rayjob()["spec"]["rayClusterSpec"]["rayVersion"] == pinned("ray")


def test_pods_mount_the_folders_that_the_search_names() -> None:
    cluster_spec = rayjob()["spec"]["rayClusterSpec"]
    groups = [cluster_spec["headGroupSpec"], *cluster_spec["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert set(mounts) <= {volume["name"] for volume in pod["volumes"]}
        assert mounts["shared"] == "/shared"
    claims = {
        one["metadata"]["name"]
        for one in YAML(typ="safe", pure=True).load_all(RAYJOB.read_text())
        if one["kind"] == "PersistentVolumeClaim"
    }
    used = {
        volume["persistentVolumeClaim"]["claimName"]
        for group in groups
        for volume in group["template"]["spec"]["volumes"]
    }
    assert used == claims


@pytest.mark.skipif("resources.storage" not in FLAGS, reason="needs tuner run --storage")
def test_the_search_on_kubernetes_is_one_that_tuner_understands_and_goes_on_after_a_fault() -> None:
    shell, flag, script = shlex.split(rayjob()["spec"]["entrypoint"])
    assert (shell, flag) == ("bash", "-c")
    assert subprocess.run(["bash", "-n", "-c", script], check=False).returncode == 0
    resumed, fresh = re.findall(r"exec tuner ([^;]+);", script)
    again = tuner_arguments(shlex.split(resumed))
    first = tuner_arguments(shlex.split(fresh))
    assert again["address"] == first["address"] == "auto"
    assert again["run"] == first["name"]


def test_the_client_reads_the_example_of_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = (DEPLOY / "servers.toml.example").read_text()
    for text in (example, re.sub(r"(?m)^#(?=\S)", "", example.replace("# ", "## "))):
        (tmp_path / "servers.toml").write_text(text)
        monkeypatch.setenv("TUNER_SERVERS", str(tmp_path / "servers.toml"))
        servers = known_servers()
        assert servers["lab"].url == f"http://127.0.0.1:{PORT}"
        assert servers["lab"].default
    assert servers["institute"].ca_file == "institute-ca.pem"
    (tmp_path / "servers.toml").write_text(example.replace("token_file", "tokenfile"))
    with pytest.raises(UserError):
        known_servers()


def install(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installer."""
    return subprocess.run(
        ["sh", str(DEPLOY / "install.sh"), *arguments],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_installing_twice_keeps_token_and_settings_and_removing_keeps_them_too(
    tmp_path: Path,
) -> None:
    assert install("--root", str(tmp_path)).returncode == 0
    etc = tmp_path / "etc/tuner"
    token, ray, serve = etc / "ray-token", etc / "ray.env", etc / "serve.env"
    first = token.read_text()
    assert re.fullmatch(r"[0-9a-f]{64}", first)
    assert mode(token) == 0o640
    assert (mode(ray), mode(serve)) == (0o600, 0o600)
    ray.write_text("TUNER_RAY_OPTIONS=--num-gpus=2\n")
    serve.write_text("TUNER_WEBHOOK=https://example.org/secret\n")
    serve.chmod(0o644)  # an editor's doing
    assert install("--root", str(tmp_path)).returncode == 0
    assert token.read_text() == first
    assert ray.read_text() == "TUNER_RAY_OPTIONS=--num-gpus=2\n"
    assert serve.read_text() == "TUNER_WEBHOOK=https://example.org/secret\n"
    assert mode(serve) == 0o600
    installed = {path.name for path in (tmp_path / "etc/systemd/system").iterdir()}
    units = [*(DEPLOY / "systemd").glob("*.service"), *(DEPLOY / "systemd").glob("*.socket")]
    assert installed == {path.name for path in units}
    assert install("--root", str(tmp_path), "--remove").returncode == 0
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {token, ray, serve}


def mode(path: Path) -> int:
    """Return who may do what with a file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_settings_of_an_earlier_version_are_parted_and_secrets_go_to_the_service(
    tmp_path: Path,
) -> None:
    etc = tmp_path / "etc/tuner"
    etc.mkdir(parents=True)
    (etc / "tuner.env").write_text(
        "# ours\n\nTUNER_RAY_OPTIONS=--num-gpus=2\nTUNER_WEBHOOK=https://x/#SECRET\n"
        "#TUNER_NOTIFY_COMMAND=x\nHTTPS_PROXY=http://proxy:3128\nTUNER_DATABASE=sqlite:///x\n"
    )
    assert "tuner.env" in install("--root", str(tmp_path)).stdout
    given = {
        name: [line for line in (etc / name).read_text().splitlines() if line and line[0] != "#"]
        for name in ("ray.env", "serve.env")
    }
    assert given == {
        "ray.env": ["TUNER_RAY_OPTIONS=--num-gpus=2", "HTTPS_PROXY=http://proxy:3128"],
        "serve.env": ["TUNER_WEBHOOK=https://x/#SECRET", "TUNER_DATABASE=sqlite:///x"],
    }
    assert not (etc / "tuner.env").exists()


def test_the_installer_tells_how_to_use_it() -> None:
    told = install("--help")
    assert told.returncode == 2
    assert "--remove" in told.stderr


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck")
@pytest.mark.parametrize("script", ["install.sh", "notify-mail.sh"])
def test_shellcheck_finds_nothing(script: str) -> None:
    assert subprocess.run(["shellcheck", str(DEPLOY / script)], check=False).returncode == 0


def test_the_mail_command_sends_the_text_of_the_news(tmp_path: Path) -> None:
    """With a curl that writes down what it is given."""
    (tmp_path / "curl").write_text('#!/bin/sh\n{ echo "$@"; cat; } >"$0.got"\n')
    (tmp_path / "curl").chmod(0o755)
    done = subprocess.run(
        [str(DEPLOY / "notify-mail.sh")],
        input='{"text": "tuner: job night of anna finished."}',
        text=True, timeout=60, check=False,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0
    got = (tmp_path / "curl.got").read_text()
    assert "--mail-from tuner@example.org --mail-rcpt lab@example.org" in got
    assert "tuner: job night of anna finished." in got
