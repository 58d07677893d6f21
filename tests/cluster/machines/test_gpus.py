from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chartproof.catalog import catalog
from chartproof.cluster.machines.gpus import Device, DeviceMonitor, GpuRegistry, Use, counters_of, gpus_of
from chartproof.metrics import contract
from chartproof.resources import directory
from tests import presets
from tests.cluster.machines.engines import SPEED
from tests.cluster.machines.loopback import Client, run, serving
from tests.cluster.machines.test_engine_metrics import Page, promtool

COUNTERS = (presets.CHART / "charts/dcgm-exporter/files/counters.csv").read_text(encoding="utf-8")
G6E_12 = catalog().instances["g6e.12xlarge"].labels


def use(busy: Any = lambda: 0.0, memory: Any = lambda: 0.0) -> Use:
    return Use("llm", "llama-0", "vllm", busy, memory)


def monitored(test: Any, *, version: tuple[int, int, int] = (4, 8, 3)) -> None:
    """Run `test(registry, client)` on a machine with four GPUs whose exporter answers."""

    async def play() -> None:
        registry = GpuRegistry(SPEED)
        server = DeviceMonitor(
            lambda: registry.devices("gpu-1", G6E_12), counters_of(COUNTERS), version, 9400, SPEED, registry.now
        )
        async with serving(server) as client:
            assert not server.listening
            await asyncio.sleep(SPEED.real(6))
            await test(registry, client)
            server.terminate()
            assert await server.exit == 0

    run(play())


async def page_of(client: Client) -> Page:
    return Page.parse((await client.get("/metrics")).text)


def test_prometheus_reads_the_page_and_the_contract_knows_it() -> None:
    async def test(registry: GpuRegistry, client: Client) -> None:
        registry.occupy("gpu-1", G6E_12, 2, use())
        registry.report_xid("gpu-1", 79, index=1)
        text = (await client.get("/metrics")).text
        assert promtool(text).returncode in {0, 3}
        page, known = Page.parse(text), contract("dcgm")
        assert page.types == {each.field: each.type for each in counters_of(COUNTERS) if each.field in page.types}
        for series in page.series:
            metric = known.metric_of(series)
            assert metric is not None, series
            assert metric.type == page.types[series], series
        absent = {each.field for each in counters_of(COUNTERS)} - set(page.types)
        # A label, and what a card without stacked memory does not have.
        assert absent == {
            "DCGM_FI_DRIVER_VERSION",
            "DCGM_FI_DEV_MEMORY_TEMP",
            "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL",
        }

    monitored(test)


def test_labels_name_the_gpu_its_node_and_who_uses_it() -> None:
    async def test(registry: GpuRegistry, client: Client) -> None:
        registry.occupy("gpu-1", G6E_12, 1, use())
        page = await page_of(client)
        used, *free = [dict(at) for at in page.series["DCGM_FI_DEV_GPU_UTIL"]]
        assert len(free) == 3
        assert list(used) == [
            *("gpu", "UUID", "pci_bus_id", "device", "modelName", "hostname", "DCGM_FI_DRIVER_VERSION"),
            *("container", "namespace", "pod"),
        ]
        assert (used["gpu"], used["device"], used["modelName"]) == ("0", "nvidia0", "NVIDIA L40S")
        assert (used["container"], used["namespace"], used["pod"]) == ("vllm", "llm", "llama-0")
        assert not any("pod" in each for each in free)
        assert len({each["UUID"] for each in [used, *free]}) == 4

    monitored(test)


def test_the_label_of_the_node_was_spelled_differently_once() -> None:
    async def test(_: GpuRegistry, client: Client) -> None:
        page = await page_of(client)
        assert "Hostname" in page.labels("DCGM_FI_DEV_GPU_UTIL")
        assert "hostname" not in page.labels("DCGM_FI_DEV_GPU_UTIL")

    monitored(test, version=(4, 8, 2))


def test_values_follow_the_work() -> None:
    async def test(registry: GpuRegistry, client: Client) -> None:
        worked = [0.0]
        give_up = registry.occupy("gpu-1", G6E_12, 1, use(lambda: worked[0], lambda: 0.9))
        idle = await page_of(client)
        worked[0] = 30.0
        await asyncio.sleep(SPEED.real(60))
        busy = await page_of(client)
        assert idle.value("DCGM_FI_DEV_GPU_UTIL", gpu="0") == 0
        assert busy.value("DCGM_FI_DEV_GPU_UTIL", gpu="0") == 50
        assert busy.value("DCGM_FI_DEV_GPU_UTIL", gpu="1") == 0
        for name in ("DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_PROF_GR_ENGINE_ACTIVE"):
            assert busy.value(name, gpu="0") > busy.value(name, gpu="1")
        assert busy.value("DCGM_FI_DEV_POWER_USAGE", gpu="0") < busy.value("DCGM_FI_DEV_ENFORCED_POWER_LIMIT", gpu="0")
        spent = busy.value("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", gpu="0")
        before = idle.value("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", gpu="0")
        watts = busy.value("DCGM_FI_DEV_POWER_USAGE", gpu="0")
        assert spent - before == pytest.approx(watts * 60 * 1000, rel=0.01)
        used, free, kept = (busy.value(f"DCGM_FI_DEV_FB_{each}", gpu="0") for each in ("USED", "FREE", "RESERVED"))
        assert used + free + kept == pytest.approx(45776, abs=2)
        assert used == pytest.approx(0.9 * 0.98 * 45776, abs=1)
        give_up()
        await asyncio.sleep(SPEED.real(60))
        after = await page_of(client)
        assert after.value("DCGM_FI_DEV_FB_USED", gpu="0") == 0
        assert after.value("DCGM_FI_DEV_GPU_UTIL", gpu="0") == 0

    monitored(test)


def test_an_xid_error_is_a_new_series_and_is_counted_for_a_while() -> None:
    async def test(registry: GpuRegistry, client: Client) -> None:
        page = await page_of(client)
        assert page.value("DCGM_FI_DEV_XID_ERRORS", gpu="2", err_code="0", err_msg="No Error") == 0
        assert page.value("DCGM_EXP_XID_ERRORS_COUNT", gpu="2") == 0
        registry.report_xid("gpu-1", 79, index=2)
        registry.report_xid("gpu-1", 79, index=2)
        page = await page_of(client)
        assert page.value("DCGM_FI_DEV_XID_ERRORS", gpu="2") == 79
        assert page.value("DCGM_FI_DEV_XID_ERRORS", err_code="79", err_msg="GPU has fallen off the bus") == 79
        assert page.value("DCGM_EXP_XID_ERRORS_COUNT", gpu="2", xid="79", window_size_in_ms="300000") == 2
        await asyncio.sleep(SPEED.real(301))
        page = await page_of(client)
        assert page.value("DCGM_EXP_XID_ERRORS_COUNT", gpu="2") == 0
        assert page.value("DCGM_FI_DEV_XID_ERRORS", gpu="2") == 79

    monitored(test)


def test_a_temperature_can_be_set_and_taken_back() -> None:
    async def test(registry: GpuRegistry, client: Client) -> None:
        registry.devices("gpu-1", G6E_12)
        registry.set_temperature("gpu-1", 95.0)
        await asyncio.sleep(1)
        assert (await page_of(client)).value("DCGM_FI_DEV_GPU_TEMP", gpu="0") == 95
        registry.set_temperature("gpu-1", None)
        await asyncio.sleep(1)
        assert (await page_of(client)).value("DCGM_FI_DEV_GPU_TEMP", gpu="0") < 50

    monitored(test)


def test_the_exporter_is_healthy_and_hangs_when_told() -> None:
    async def play() -> None:
        registry = GpuRegistry(SPEED)
        server = DeviceMonitor(lambda: (), counters_of(COUNTERS), (4, 8, 3), 9400, SPEED, registry.now)
        async with serving(server) as client:
            await asyncio.sleep(1)
            assert (await client.get("/health")).text == "OK"
            server.hang()
            asked = asyncio.ensure_future(client.get("/health"))
            await asyncio.sleep(5)
            assert not asked.done()
            server.unhang()
            assert (await asked).status == 200
            server.crash(1, "Error")
            assert (await server.exit, server.listening) == (1, False)

    run(play())


def test_gpus_are_given_to_one_program_each() -> None:
    async def play() -> None:
        registry = GpuRegistry(SPEED)
        first, second = use(), use()
        give_up = registry.occupy("gpu-1", G6E_12, 3, first)
        registry.occupy("gpu-1", G6E_12, 1, second)
        devices = registry.devices("gpu-1", G6E_12)
        assert [each.use for each in devices] == [first, first, first, second]
        give_up()
        give_up()
        assert [each.use for each in devices] == [None, None, None, second]
        registry.forget("gpu-1")
        assert registry.devices("gpu-1", G6E_12)[3].use is None

    run(play())


def test_work_of_one_program_is_not_that_of_the_next() -> None:
    device = Device("gpu-1", 0, catalog().gpus["l4"], "GPU-1")
    device.read(0.0)
    device.use = use(lambda: 100.0)
    device.give_up()
    device.use = use(lambda: 5.0)
    assert device.read(210.0).active == pytest.approx(0.5)
    assert device.read(220.0).active == 0


@pytest.mark.parametrize("instance", [each.name for each in catalog().gpu_instances() if each.gpu in catalog().gpus])
def test_every_gpu_of_the_catalog_can_be_read(instance: str) -> None:
    facts = catalog()
    gpu, count = gpus_of(facts.instances[instance].labels, facts)
    assert gpu is not None
    assert count == facts.instances[instance].gpu_count
    assert gpu.memory_mebibytes == facts.instances[instance].gpu_memory_mebibytes
    assert Device("gpu-1", 0, gpu, "GPU-1").read(1.0).watts > 0


def test_a_node_may_say_its_gpu_without_its_type() -> None:
    facts = catalog()
    labels = {key: value for key, value in G6E_12.items() if "instance-type" not in key}
    gpu, count = gpus_of(labels, facts)
    assert (gpu and gpu.name, count) == ("l40s", 4)
    assert gpus_of({}, facts) == (None, 0)


def test_the_file_of_counters_is_read_as_the_exporter_does() -> None:
    counters = counters_of("# comment\n\nDCGM_FI_DEV_GPU_TEMP, gauge, Degrees, in C.\n")
    assert [(each.field, each.type, each.help) for each in counters] == [
        ("DCGM_FI_DEV_GPU_TEMP", "gauge", "Degrees, in C.")
    ]
    with pytest.raises(ValueError, match="line 1"):
        counters_of("DCGM_FI_DEV_GPU_TEMP gauge")


def test_the_catalog_is_where_it_is_expected() -> None:
    assert (directory("catalog") / "gpus.yaml").is_file()
