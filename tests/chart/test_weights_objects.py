"""What the chart renders for each delivery of the weights."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chartproof.release import Release
from chartproof.workload import EngineContainer, engines_of
from tests.chart.conftest import Render, Values

G6E: Values = {"nodes": {"instanceTypes": ["g6e.2xlarge"]}}
S3: Values = {
    "weights": {"source": {"type": "s3", "s3": {"uri": "s3://bucket/model/", "region": "eu-west-1"}}},
    "aws": {"identity": "podIdentity"},
}
STREAM: Values = {"weights": {"delivery": "stream"}}
VOLUME: Values = {"weights": {"delivery": "volume"}}
IMAGE: Values = {"weights": {"delivery": "image"}}
DIRECTORY = "/weights/Qwen--Qwen2.5-7B-Instruct/a09a35458c702b33eeacc393d103063234e8bc28"


def engine(release: Release) -> EngineContainer:
    (found,) = engines_of(release)
    return found


def init_container(release: Release) -> dict[str, Any]:
    (found,) = engine(release).pod.containers(init=True)
    return dict(found)


def job(release: Release) -> dict[str, Any]:
    (found,) = release.of_kind("Job")
    return dict(found.body)


def environment(container: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each.get("value") for each in container["env"]}


def test_download_lands_where_the_engine_reads(render: Render) -> None:
    release = render(G6E, S3)
    container = init_container(release)
    words = container["args"]
    assert words[:5] == ["fetch", "--source", "s3://bucket/model", "--directory", DIRECTORY]
    assert engine(release).model == DIRECTORY
    (volume,) = [each for each in engine(release).pod.spec["volumes"] if each["name"] == "weights"]
    assert volume["emptyDir"] == {"sizeLimit": "16Gi"}
    assert engine(release).container["resources"]["requests"]["ephemeral-storage"] == "22Gi"
    (mount,) = [each for each in engine(release).container["volumeMounts"] if each["name"] == "weights"]
    assert mount["readOnly"] is True


def test_downloader_is_named_bounded_and_read_only(render: Render) -> None:
    downloader = {
        "image": {"repository": "registry.example/python", "tag": "3.12.1"},
        "runAsUser": 3000,
        "cpu": "4",
        "memory": "2Gi",
        "concurrency": 32,
    }
    container = init_container(render(G6E, S3, {"weights": {"downloader": downloader}}))
    assert container["image"] == "registry.example/python:3.12.1"
    assert container["securityContext"]["runAsUser"] == 3000
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["resources"] == {"requests": {"cpu": "4", "memory": "2Gi"}, "limits": {"memory": "2Gi"}}
    assert container["args"][container["args"].index("--concurrency") + 1] == "32"
    assert init_container(render(G6E, S3))["image"] == engine(render(G6E, S3)).container["image"]


def test_hub_is_asked_by_pinned_revision_with_the_token_from_a_secret(render: Render) -> None:
    source = {"source": {"huggingface": {"endpoint": "https://mirror.example", "timeoutSeconds": 30}}}
    token = {"engine": {"huggingFaceToken": {"existingSecret": "hub", "key": "pass"}}}
    container = init_container(render(G6E, token, {"weights": source}))
    words = container["args"]
    assert words[words.index("--source") + 1] == "hf://Qwen/Qwen2.5-7B-Instruct"
    assert words[words.index("--revision") + 1] == "a09a35458c702b33eeacc393d103063234e8bc28"
    assert words[words.index("--timeout-seconds") + 1] == "30"
    (found,) = [each for each in container["env"] if each["name"] == "HF_TOKEN"]
    assert found["valueFrom"] == {"secretKeyRef": {"name": "hub", "key": "pass"}}
    assert environment(container)["HF_ENDPOINT"] == "https://mirror.example"


def test_stream_tells_the_loader_exactly_what_it_takes(render: Render) -> None:
    release = render(G6E, S3, STREAM, {"weights": {"stream": {"concurrency": 16, "memoryLimitGibibytes": 6}}})
    container = engine(release)
    assert container.model == "s3://bucket/model"
    assert container.option("--load-format") == "runai_streamer"
    extra = json.loads(container.option("--model-loader-extra-config") or "")
    assert extra == {"distributed": False, "concurrency": 16, "memory_limit": 6 * 2**30}
    assert environment(dict(container.container))["AWS_REGION"] == "eu-west-1"
    assert not [each for each in container.pod.spec["volumes"] if each["name"] == "weights"]
    assert init_container(release)["args"][:3] == ["check", "--source", "s3://bucket/model"]


def test_streaming_ranks_share_the_reading(render: Render) -> None:
    four = {
        "engine": {"tensorParallelSize": 4, "resources": {"cpu": "32"}},
        "nodes": {"instanceTypes": ["g6e.12xlarge"]},
    }
    extra = json.loads(engine(render(S3, STREAM, four)).option("--model-loader-extra-config") or "")
    assert extra["distributed"] is True
    off = {"weights": {"stream": {"distributed": False}}}
    assert (
        json.loads(engine(render(S3, STREAM, four, off)).option("--model-loader-extra-config") or "")["distributed"]
        is False
    )


def test_streaming_buffer_is_part_of_the_memory(render: Render) -> None:
    def memory(*layers: Values) -> int:
        return int(engine(render(G6E, S3, *layers)).container["resources"]["limits"]["memory"][:-2])

    assert memory(STREAM) - memory() == 4 * 1024


@pytest.mark.parametrize("delivery", ["stream", "initDownload"])
def test_store_behind_an_endpoint_is_addressed_by_path(render: Render, delivery: str) -> None:
    s3 = {"endpointUrl": "http://minio.storage.svc:9000", "existingSecret": "minio"}
    release = render(G6E, S3, {"aws": {"identity": "none"}, "weights": {"delivery": delivery, "source": {"s3": s3}}})
    reader = dict(engine(release).container) if delivery == "stream" else init_container(release)
    assert environment(reader)["AWS_ENDPOINT_URL"] == "http://minio.storage.svc:9000"
    keys = {each["name"]: each["valueFrom"]["secretKeyRef"]["name"] for each in reader["env"] if "valueFrom" in each}
    assert keys == {"AWS_ACCESS_KEY_ID": "minio", "AWS_SECRET_ACCESS_KEY": "minio"}
    if delivery == "stream":
        assert environment(reader)["RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING"] == "0"


def test_volume_is_shared_kept_and_filled_by_a_job(render: Render) -> None:
    release = render(G6E, VOLUME, {"weights": {"volume": {"storageClassName": "efs"}}})
    (claim,) = release.of_kind("PersistentVolumeClaim")
    assert claim.get("spec", "accessModes") == ["ReadWriteMany"]
    assert claim.get("spec", "storageClassName") == "efs"
    assert claim.get("spec", "resources", "requests", "storage") == "32Gi"
    assert claim.get("metadata", "annotations") == {"helm.sh/resource-policy": "keep"}
    pod = job(release)["spec"]["template"]["spec"]
    assert pod["containers"][0]["args"][:5] == [
        "populate",
        "--source",
        "hf://Qwen/Qwen2.5-7B-Instruct",
        "--directory",
        DIRECTORY,
    ]
    assert "tolerations" not in pod, "a Job does not need a GPU node"
    check = init_container(release)
    assert check["args"][:3] == ["check", "--directory", DIRECTORY]
    mounts = [*check["volumeMounts"], *engine(release).container["volumeMounts"]]
    assert all(each["readOnly"] for each in mounts if each["name"] == "weights")
    assert engine(release).model == DIRECTORY


def test_job_is_named_by_what_it_does(render: Render) -> None:
    def name(*layers: Values) -> str:
        return str(job(render(G6E, VOLUME, *layers))["metadata"]["name"])

    assert name() == name({"autoscaling": {"stepMilliseconds": 40}, "engine": {"maxNumSeqs": 3}})
    others = {
        name({"model": {"revision": "b" * 40}}),
        name({"weights": {"volume": {"populate": {"cleanUpOtherRevisions": True}}}}),
        name({"weights": {"retries": 9}}),
        name({"engine": {"version": "0.32.0"}}),
    }
    assert len(others | {name()}) == 5


def test_job_gives_up_on_what_another_try_cannot_cure(render: Render) -> None:
    spec = job(render(G6E, VOLUME))["spec"]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [2, 10, 11, 15]


def test_existing_claim_is_used_as_it_is(render: Render) -> None:
    release = render(G6E, VOLUME, {"weights": {"volume": {"existingClaim": "mine", "populate": {"enabled": False}}}})
    assert not list(release.of_kind("PersistentVolumeClaim"))
    assert not list(release.of_kind("Job"))
    (volume,) = [each for each in engine(release).pod.spec["volumes"] if each["name"] == "weights"]
    assert volume["persistentVolumeClaim"] == {"claimName": "mine"}


def test_baked_in_weights_need_nothing(render: Render) -> None:
    release = render(G6E, IMAGE, {"weights": {"image": {"path": "/models/qwen"}}})
    assert engine(release).model == "/models/qwen"
    assert not engine(release).pod.containers(init=True)
    assert not [each for each in release.of_kind("ConfigMap") if each.name.endswith("-weights")]


def test_unverified_stream_is_not_checked(render: Render) -> None:
    assert not engine(render(G6E, S3, STREAM, {"weights": {"verifyManifest": False}})).pod.containers(init=True)


def test_stage_job_writes_to_the_bucket_that_replicas_read(render: Render) -> None:
    release = render(G6E, S3, {"weights": {"stage": {"enabled": True}}})
    container = job(release)["spec"]["template"]["spec"]["containers"][0]
    words = container["args"]
    assert words[:5] == ["stage", "--source", "hf://Qwen/Qwen2.5-7B-Instruct", "--target", "s3://bucket/model"]
    assert environment(container)["AWS_REGION"] == "eu-west-1"


@pytest.mark.parametrize("layer", [{}, STREAM, VOLUME])
def test_script_is_mounted_wherever_it_runs(render: Render, layer: Values) -> None:
    release = render(G6E, S3, layer)
    (script,) = [each.name for each in release.of_kind("ConfigMap") if each.name.endswith("-weights")]
    for document in release.of_kind("Deployment", "Job"):
        assert document.pod_template is not None
        (volume,) = [each for each in document.pod_template.spec["volumes"] if each["name"] == "weights-script"]
        assert volume["configMap"] == {"name": script}
