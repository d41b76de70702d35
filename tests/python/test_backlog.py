"""Many waiting messages under a small memory budget: the short form of `benches/memory-amqp`."""

import importlib.machinery
import importlib.util
import types

import pytest

import brokers

pytestmark = [pytest.mark.only("cauce"), pytest.mark.timeout(180)]

MESSAGES = 3_000_000
BUDGET_MEGABYTES = 256


def bench():
    path = str(brokers.REPOSITORY / "benches" / "memory-amqp")
    loader = importlib.machinery.SourceFileLoader("memory_amqp", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("memory_amqp", loader))
    loader.exec_module(module)
    return module


@pytest.mark.parametrize("case", ["durable", "transient", "priority"])
def test_a_backlog_stays_inside_the_budget(broker, tmp_path, case):
    module = bench()
    options = types.SimpleNamespace(messages=MESSAGES, size=100, memory=f"{BUDGET_MEGABYTES}MB", no_restart=False)
    figures = module.measure(module.CASES[case], tmp_path, options)
    highest = max(value for key, value in figures.items() if key.endswith("HWM"))
    assert highest < BUDGET_MEGABYTES, figures
