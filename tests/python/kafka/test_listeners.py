"""Several listeners, each with the address its clients are told to come back to; settings under Kafka's names."""

import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient

from brokers import Cauce, free_ports
from kafka_clients import Confluent


class WithListeners(Cauce):
    """A Cauce whose Kafka listeners the test writes itself."""

    def _planes(self):
        return [plane for plane in super()._planes() if plane != "kafka"]


def test_clients_come_back_by_the_listener_they_came_by(tmp_path):
    inside, outside = free_ports(2)
    # As in a compose file: containers say `kafka`, the machine says `localhost`.
    listeners = f"docker=127.0.0.1:{inside}/kafka:29092,host=127.0.0.1:{outside}/localhost:{outside}"
    with WithListeners(tmp_path / "cauce", "--kafka", listeners) as broker:
        assert broker.ports["kafka"] == inside and broker.ports["kafka.host"] == outside
        assert told(inside) == [("kafka", 29092)]
        assert told(outside) == [("localhost", outside)]
        assert Confluent.produce(f"localhost:{outside}", "t", [b"v"]) == [0]


def test_settings_have_kafkas_names(tmp_path):
    (tmp_path / "cauce.toml").write_text(
        'kafka = ["127.0.0.1:0"]\n[set]\n"num.partitions" = 7\n"auto.create.topics.enable" = true\n"log.retention.hours" = 2\n'
    )
    options = ["--config", tmp_path / "cauce.toml", "--set", "num.partitions=3"]
    with WithListeners(tmp_path / "cauce", *options) as broker:
        servers = f"127.0.0.1:{broker.ports['kafka']}"
        Confluent.produce(servers, "t", [b"v"])
        assert len(AdminClient({"bootstrap.servers": servers}).list_topics("t", timeout=10).topics["t"].partitions) == 3


def test_topics_are_not_made_where_that_is_forbidden(tmp_path):
    with Cauce(tmp_path / "cauce", "--set", "auto.create.topics.enable=false") as broker:
        producer = Producer({"bootstrap.servers": f"127.0.0.1:{broker.ports['kafka']}"})
        error = producer.list_topics("t", timeout=10).topics["t"].error
        assert error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART


@pytest.mark.parametrize("option", ["num.partition=3", "num.partitions=0", "min.insync.replicas=2", "num.partitions"])
def test_settings_that_make_no_sense_are_refused_by_name(tmp_path, option):
    broker = Cauce(tmp_path / "cauce", "--set", option)
    with pytest.raises(AssertionError, match="ended with status"):
        broker.start()
    assert option.split("=")[0] in broker.log()


def told(port):
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}"})
    return [(broker.host, broker.port) for broker in admin.list_topics(timeout=10).brokers.values()]
