"""Kafka's clients on Cauce. There is no other broker to compare with here, so every test is Cauce's alone."""

import pytest
from confluent_kafka.admin import AdminClient
from kafka.admin import KafkaAdminClient

import kafka_tools
from kafka_clients import CLIENTS


def pytest_itemcollected(item):
    item.add_marker(pytest.mark.only("cauce"))


@pytest.fixture
def servers(broker):
    return f"127.0.0.1:{broker.ports['kafka']}"


@pytest.fixture
def topic(name):
    """A name nobody else in the session uses."""
    return name("topic")


@pytest.fixture(params=CLIENTS)
def client(request):
    return CLIENTS[request.param]


@pytest.fixture
def admin(servers):
    admin = KafkaAdminClient(bootstrap_servers=servers)
    yield admin
    admin.close()


@pytest.fixture
def confluent_admin(servers):
    return AdminClient({"bootstrap.servers": servers})


@pytest.fixture(scope="session")
def tools():
    """Kafka's own programs, where they can be had."""
    if problem := kafka_tools.problem():
        pytest.skip(f"Kafka's own programs: {problem}")
    return kafka_tools
