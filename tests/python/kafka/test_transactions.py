"""Transactions of every Python client: seen whole or not at all, by every client."""

import time

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from transactional_clients import TRANSACTIONAL, Confluent

CLIENTS = list(TRANSACTIONAL)


@pytest.fixture(params=CLIENTS)
def transactional(request, servers, name):
    """Makes producers of one client, with a name of this test's own."""
    opened = []

    def make(who=None, **more):
        opened.append(TRANSACTIONAL[request.param](servers, who or name("producer"), **more))
        return opened[-1]

    make.client = request.param
    yield make
    for producer in opened:
        try:
            producer.close()
        except Exception:
            # One that was fenced cannot even leave in peace.
            assert len(opened) > 1


@pytest.fixture
def committed(confluent_admin):
    def committed(group, topic):
        asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0)])
        answer = confluent_admin.list_consumer_group_offsets([asked])[group].result(10)
        return answer.topic_partitions[0].offset

    return committed


def test_what_is_committed_is_read_and_what_is_aborted_is_not(transactional, servers, topic):
    producer = transactional()
    for number, end in enumerate([producer.commit, producer.abort, producer.commit, producer.abort]):
        producer.begin()
        producer.write(topic, b"%d a" % number)
        producer.write(topic, b"%d b" % number)
        end()
    expected = [b"0 a", b"0 b", b"2 a", b"2 b"]
    for client in TRANSACTIONAL.values():
        assert client.read_committed(servers, topic) == expected
    everything = [b"%d %s" % (number, letter) for number in range(4) for letter in (b"a", b"b")]
    assert Confluent.read(servers, topic, "read_uncommitted") == everything


def test_nobody_reads_past_a_transaction_that_is_open(transactional, servers, topic):
    producer = transactional()
    producer.begin()
    producer.write(topic, b"open")
    other = Confluent(servers, f"{topic}-other")
    other.begin()
    other.write(topic, b"committed")
    other.commit()
    assert Confluent.read_committed(servers, topic) == []
    producer.commit()
    assert Confluent.read_committed(servers, topic) == [b"open", b"committed"]


def test_offsets_go_with_what_was_made_of_them(transactional, servers, topic, name, committed):
    group, output = name("group"), name("output")
    producer = transactional()
    for offset, end in [(3, producer.commit), (5, producer.abort), (7, producer.commit), (9, producer.abort)]:
        producer.begin()
        producer.write(output, b"%d" % offset)
        producer.write(topic, b"%d" % offset)
        producer.commit_offset(group, topic, offset)
        end()
    assert committed(group, topic) == 7
    assert Confluent.read_committed(servers, output) == [b"3", b"7"]


def test_who_comes_back_fences_the_zombie(transactional, servers, topic, name):
    who = name("twins")
    zombie = transactional(who)
    zombie.begin()
    zombie.write(topic, b"from the grave")
    fresh = transactional(who)
    fresh.begin()
    fresh.write(topic, b"alive")
    with pytest.raises(Exception) as caught:
        zombie.write(topic, b"undead")
        zombie.commit()
    words = f"{type(caught.value).__name__} {caught.value}".lower()
    assert any(word in words for word in ("fenced", "epoch", "newer")), words
    fresh.commit()
    assert Confluent.read_committed(servers, topic) == [b"alive"]


def test_who_takes_too_long_is_aborted(transactional, servers, topic):
    slow = transactional(timeout_ms=1500)
    slow.begin()
    slow.write(topic, b"slow")
    began = time.monotonic()
    other = Confluent(servers, f"{topic}-other")
    other.begin()
    other.write(topic, b"quick")
    other.commit()
    # Nobody has to ask for it.
    while (seen := Confluent.read_committed(servers, topic)) != [b"quick"]:
        assert seen == []
        assert time.monotonic() - began < 10
        time.sleep(0.1)
    with pytest.raises(Exception):  # noqa: B017 each client has a word of its own for it
        slow.commit()


def test_an_open_transaction_outlives_the_broker(own_broker, name):
    servers, topic = f"127.0.0.1:{own_broker.ports['kafka']}", name("topic")
    producer = Confluent(servers, name("producer"))
    producer.begin()
    producer.write(topic, b"before")
    own_broker.kill()
    own_broker.start()
    assert Confluent.read_committed(servers, topic) == []
    producer.write(topic, b"after")
    producer.commit()
    assert Confluent.read_committed(servers, topic) == [b"before", b"after"]
