"""Brings what prometheus-operator writes to the Prometheus that runs, as the config reloader beside it in a pod does.

    python -m chartproof.cluster.addons.config_reloader DIRECTORY

Besides, it tells Prometheus what it would find in a pod: the way to the API server, and to pods, whose addresses only
the network's proxy knows. It is well (HTTP 200) while Prometheus runs with what the operator wrote last.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
import gzip
import logging
import os
import sys
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from chartproof.cluster.addons import prometheus
from chartproof.cluster.live import LiveSettings
from chartproof.cluster.machines.watch import Change, Client, Watch
from chartproof.cluster.ports import LOOPBACK
from chartproof.cluster.state import Place

Body = Mapping[str, Any]

log = logging.getLogger(__name__)

_FILE = "prometheus.yaml.gz"
_MOUNTED_RULES = "/etc/prometheus/rules"
"""Where the operator mounts the ConfigMaps of rules. Source: prometheus-operator v0.85 `pkg/prometheus`."""
_VARIABLES = {"$(POD_NAME)": prometheus.POD[1], "$(SHARD)": "0"}
"""What the reloader in a pod would take from its environment (`pkg/operator/config_reloader.go`)."""
_SETTLE_SECONDS, _RETRY_SECONDS = 0.1, 1.0
_ANSWER_SECONDS = 10


def adapted(configuration: Body, *, network: str, kubeconfig: Path, rules: Path) -> dict[str, Any]:
    """The operator's configuration for a Prometheus outside the cluster.

    What it discovers on the API server is found by `kubeconfig` and scraped through the proxy `network` (not HTTPS,
    which the proxy refuses); rules are read from below `rules`. Static targets stay as they are.
    """
    result = copy.deepcopy(dict(configuration))
    for scrape in result.get("scrape_configs") or ():
        discovered = scrape.get("kubernetes_sd_configs") or ()
        for each in discovered:
            each["kubeconfig_file"] = str(kubeconfig)
        if discovered and scrape.get("scheme", "http") == "http":
            scrape.setdefault("proxy_url", network)
    for manager in (result.get("alerting") or {}).get("alertmanagers") or ():
        for each in manager.get("kubernetes_sd_configs") or ():
            each["kubeconfig_file"] = str(kubeconfig)
    files = result.get("rule_files") or ()
    result["rule_files"] = [
        str(rules / each.removeprefix(f"{_MOUNTED_RULES}/")) if each.startswith(f"{_MOUNTED_RULES}/") else each
        for each in files
    ]
    return result


def unpacked(secret: Body) -> dict[str, Any]:
    """The configuration in the operator's Secret; empty before it has written any."""
    data = (secret.get("data") or {}).get(_FILE)
    if not data:
        return {}
    text = gzip.decompress(base64.b64decode(data)).decode()
    for variable, value in _VARIABLES.items():
        text = text.replace(variable, value)
    loaded: dict[str, Any] = yaml.load(text, Loader=yaml.CSafeLoader) or {}
    return loaded


def rule_files(config_maps: Iterable[Body]) -> dict[str, str]:
    """Rules by their path below the rules' directory."""
    return {
        f"{each['metadata']['name']}/{name}": content
        for each in config_maps
        for name, content in (each.get("data") or {}).items()
    }


def write(directory: Path, configuration: Body, rules: Mapping[str, str]) -> bool:
    """Make the files of Prometheus in the cluster's directory these; whether they were others before."""
    root = prometheus.rules_directory(directory)
    wanted = {root / path: content for path, content in rules.items()}
    wanted[prometheus.configuration_file(directory)] = yaml.dump(
        configuration, Dumper=yaml.CSafeDumper, sort_keys=False
    )
    changed = False
    for path, content in wanted.items():
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.new")
            temporary.write_text(content, encoding="utf-8")
            temporary.replace(path)
            changed = True
    for path in root.glob("*/*"):
        if path not in wanted:
            path.unlink()
            changed = True
    return changed


class Reloader:
    """Keeps one Prometheus at what the operator wrote."""

    def __init__(self, place: Place, settings: LiveSettings) -> None:
        self._place = place
        self._network = f"http://{LOOPBACK}:{settings.network_port}"
        self._reload = f"http://{LOOPBACK}:{settings.prometheus_port}/-/reload"
        self._port = settings.config_reloader_port
        self._changed = asyncio.Event()
        self._up_to_date = False

    async def run(self) -> None:
        """Follow the operator until cancelled."""
        async with Client(self._place.kubeconfig) as client, aiohttp.ClientSession() as session:
            namespace, name = prometheus.NAMESPACE, prometheus.CONFIGURATION
            fields = f"metadata.namespace={namespace},metadata.name={name}"
            secrets = Watch(client, "v1", "secrets", fieldSelector=fields)
            config_maps = Watch(client, "v1", "configmaps", labelSelector=prometheus.RULES)
            for each in (secrets, config_maps):
                each.on_change(self._note)
            await self._answer()
            async with asyncio.TaskGroup() as group:
                group.create_task(secrets.run())
                group.create_task(config_maps.run())
                group.create_task(self._follow(secrets, config_maps, session))

    def _note(self, _change: Change, _body: Body) -> None:
        self._changed.set()

    async def _follow(self, secrets: Watch, config_maps: Watch, session: aiohttp.ClientSession) -> None:
        # At its own start it does not know whether Prometheus has read the files that are there.
        reloaded = False
        await asyncio.gather(secrets.synced.wait(), config_maps.synced.wait())
        while True:
            self._changed.clear()
            secret = secrets.objects.get((prometheus.NAMESPACE, prometheus.CONFIGURATION), {})
            configuration = unpacked(secret)
            if configuration:
                ours = adapted(
                    configuration,
                    network=self._network,
                    kubeconfig=self._place.kubeconfig,
                    rules=prometheus.rules_directory(self._place.directory),
                )
                if write(self._place.directory, ours, rule_files(config_maps.objects.values())):
                    reloaded = False
                if not reloaded:
                    self._up_to_date = False
                    reloaded = await self._tell_prometheus(session)
                    self._up_to_date = reloaded
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), None if reloaded or not configuration else _RETRY_SECONDS)
                # The operator writes rules and configuration one after the other.
                await asyncio.sleep(_SETTLE_SECONDS)

    async def _tell_prometheus(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.post(self._reload, timeout=aiohttp.ClientTimeout(_ANSWER_SECONDS)) as response:
                if response.status != HTTPStatus.OK:
                    log.error("Prometheus does not take the configuration: %s", (await response.text()).strip())
                return response.status == HTTPStatus.OK
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            log.info("Prometheus does not answer: %s", error)
            return False

    async def _answer(self) -> None:
        """Say how it stands to whoever asks."""
        application = web.Application()
        application.router.add_get("/healthz", self._healthz)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, LOOPBACK, self._port).start()

    async def _healthz(self, _request: web.Request) -> web.Response:
        if self._up_to_date:
            return web.Response(text="ok\n")
        return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text="Prometheus is not up to date\n")


def main(directory: Path) -> None:
    """Serve the live cluster in `directory` until killed."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    place = Place(directory.parent.parent, directory.name)

    async def run() -> None:
        await Reloader(place, LiveSettings.load(directory)).run()

    asyncio.run(run())


if __name__ == "__main__":
    os.umask(0o077)
    main(Path(sys.argv[1]))
