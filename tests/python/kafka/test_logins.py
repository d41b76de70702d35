"""Clients that log in (SASL_PLAINTEXT, PLAIN) as users of AMQP, and what their permissions let them do."""

import asyncio

import aiokafka.errors
import confluent_kafka
import kafka.errors
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka.admin import AdminClient, NewTopic
from kafka import KafkaConsumer, KafkaProducer

from logins import strict_broker


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """A broker where everybody logs in."""
    with strict_broker(tmp_path_factory.mktemp("strict")) as broker:
        admin = AdminClient(confluent(servers_of(broker), "guest", "guest"))
        for topic in ("shop.orders", "secret"):
            admin.create_topics([NewTopic(topic, 1)])[topic].result(20)
        yield broker


@pytest.fixture
def servers(strict):
    return servers_of(strict)


def servers_of(broker):
    return f"127.0.0.1:{broker.ports['kafka']}"


def confluent(servers, user, password):
    login = {"sasl.username": user, "sasl.password": password}
    return {"bootstrap.servers": servers, "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", **login}


def python(servers, user, password):
    login = {"sasl_plain_username": user, "sasl_plain_password": password}
    return {"bootstrap_servers": servers, "security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", **login}


class TestConfluent:
    def test_a_user_produces_and_consumes_what_it_may(self, servers):
        ana = confluent(servers, "ana", "ana's")
        assert sent(confluent_kafka.Producer(ana), "shop.orders") is None
        consumer = confluent_kafka.Consumer(ana | {"group.id": "ana-confluent", "auto.offset.reset": "earliest"})
        consumer.subscribe(["shop.orders"])
        message = consumer.poll(30)
        assert message is not None and not message.error(), message and message.error()
        consumer.commit(message, asynchronous=False)
        consumer.close()

    def test_it_is_refused_what_it_may_not(self, servers):
        ana = confluent(servers, "ana", "ana's")
        refused = confluent_kafka.KafkaError.TOPIC_AUTHORIZATION_FAILED
        assert sent(confluent_kafka.Producer(ana), "secret").code() == refused
        for topic in ("shop.more", "secret"):
            admin = AdminClient(ana)
            with pytest.raises(confluent_kafka.KafkaException) as error:
                admin.create_topics([NewTopic(topic, 1)])[topic].result(20)
            assert error.value.args[0].code() == refused
        assert set(AdminClient(ana).list_topics(timeout=20).topics) == {"shop.orders"}
        consumer = confluent_kafka.Consumer(ana | {"group.id": "eva-group"})
        consumer.subscribe(["shop.orders"])
        message = consumer.poll(30)
        assert message.error().code() == confluent_kafka.KafkaError.GROUP_AUTHORIZATION_FAILED
        consumer.close()

    @pytest.mark.parametrize("password", ["wrong", ""])
    def test_a_wrong_password_is_said(self, servers, password):
        errors = []
        settings = confluent(servers, "ana", password or " ") | {"error_cb": errors.append}
        producer = confluent_kafka.Producer(settings)
        while not errors:
            producer.poll(1)
        assert errors[0].code() == confluent_kafka.KafkaError._AUTHENTICATION
        assert "Invalid username or password" in errors[0].str()


class TestKafkaPython:
    def test_a_user_produces_and_consumes_what_it_may(self, servers):
        ana = python(servers, "ana", "ana's")
        producer = KafkaProducer(**ana)
        assert producer.send("shop.orders", b"v").get(30).topic == "shop.orders"
        with pytest.raises(kafka.errors.TopicAuthorizationFailedError):
            producer.send("secret", b"v").get(30)
        producer.close()
        consumer = KafkaConsumer("shop.orders", group_id="ana-python", auto_offset_reset="earliest", **ana)
        assert next(consumer).topic == "shop.orders"
        consumer.commit()
        consumer.close()

    def test_a_wrong_password_is_said(self, servers):
        with pytest.raises(kafka.errors.KafkaError):
            KafkaProducer(**python(servers, "ana", "wrong"), bootstrap_timeout_ms=5000)


class TestAioKafka:
    def test_a_user_produces_and_consumes_what_it_may(self, servers):
        async def run():
            ana = python(servers, "ana", "ana's")
            async with AIOKafkaProducer(**ana) as producer:
                assert (await producer.send_and_wait("shop.orders", b"v")).topic == "shop.orders"
                with pytest.raises(aiokafka.errors.TopicAuthorizationFailedError):
                    await producer.send_and_wait("secret", b"v")
            options = {"group_id": "ana-aio", "auto_offset_reset": "earliest"}
            async with AIOKafkaConsumer("shop.orders", **options, **ana) as consumer:
                assert (await asyncio.wait_for(consumer.getone(), 30)).topic == "shop.orders"
                await consumer.commit()

        asyncio.run(run())

    def test_a_wrong_password_is_said(self, servers):
        async def run():
            producer = AIOKafkaProducer(**python(servers, "ana", "wrong"))
            try:
                with pytest.raises((aiokafka.errors.AuthenticationFailedError, aiokafka.errors.KafkaConnectionError)):
                    await producer.start()
            finally:
                await producer.stop()

        asyncio.run(run())


def test_where_everybody_logs_in_nobody_else_is_served(strict, servers):
    with pytest.raises(confluent_kafka.KafkaException):
        AdminClient({"bootstrap.servers": servers}).list_topics(timeout=3)
    assert "has not logged in" in strict.log()


def test_a_neighbour_need_not_log_in_but_may(broker):
    servers = servers_of(broker)
    for settings in ({"bootstrap.servers": servers}, confluent(servers, "guest", "guest")):
        assert AdminClient(settings).list_topics(timeout=20).brokers


def test_no_password_gets_into_the_log(strict, servers):
    producer = confluent_kafka.Producer(confluent(servers, "ana", "not-her-password"))
    producer.poll(2)
    producer.flush(1)
    log = strict.log()
    assert "PLAIN login refused: user 'ana' - invalid credentials" in log
    assert "not-her-password" not in log and "ana's" not in log


def sent(producer, topic):
    """The error of a message, if it had one."""
    errors = []
    producer.produce(topic, b"v", on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(30) == 0
    return errors[0]
