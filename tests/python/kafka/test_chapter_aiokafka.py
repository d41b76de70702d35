"""The chapter's programs for Kafka (9.4, 9.5, 9.6, 9.8, 9.9 and 9.10, aiokafka): order and payment events on topics."""

import asyncio
import json
from decimal import Decimal

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

PATIENCE_SECONDS = 30


@pytest.fixture(scope="module")
def broker(broker_class, tmp_path_factory):
    with broker_class(tmp_path_factory.mktemp("chapter"), "--set", "group.initial.rebalance.delay.ms=0") as running:
        yield running


async def publish(servers, topic, key, event, headers=()):
    """9.4 and 9.9: one producer for one event, as the chapter has it. The topic is made by the first of them."""
    producer = AIOKafkaProducer(bootstrap_servers=servers)
    await producer.start()
    try:
        value = json.dumps(event).encode("utf-8")
        return await producer.send_and_wait(topic, value=value, key=key.encode("utf-8"), headers=list(headers))
    finally:
        await producer.stop()


async def consume(servers, topic, group, count, handle, **more):
    """9.5 and 9.9: each event is committed by hand once it is handled."""
    consumer = AIOKafkaConsumer(
        topic,
        group_id=group,
        bootstrap_servers=servers,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        **more,
    )
    await consumer.start()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for message in consumer:
                await handle(message)
                await consumer.commit()
                count -= 1
                if count == 0:
                    return
    finally:
        await consumer.stop()


async def test_events_of_an_order_stay_together_and_in_order(servers, topic):
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 3, 1)])
    await admin.close()
    states = ["creado", "pagado", "enviado"]
    placed = {}
    for state in states:
        for order in ("P1", "P2", "P3", "P4"):
            stored = await publish(servers, topic, order, {"pedido": order, "estado": state})
            placed.setdefault(order, set()).add(stored.partition)
    assert all(len(partitions) == 1 for partitions in placed.values())
    seen = {}

    async def handle(message):
        event = json.loads(message.value.decode())
        assert message.key.decode() == event["pedido"]
        seen.setdefault(event["pedido"], []).append(event["estado"])

    await consume(servers, topic, topic, 12, handle)
    assert seen == {order: states for order in placed}


async def test_every_service_reads_all_events_and_goes_on_where_it_committed(servers, topic):
    for number in range(6):
        await publish(servers, topic, "P1", {"numero": number})
    for service in ("facturacion", "analitica"):
        seen = []

        async def handle(message):
            seen.append(json.loads(message.value)["numero"])

        await consume(servers, topic, f"{topic}.{service}", 2, handle)
        await consume(servers, topic, f"{topic}.{service}", 4, handle)
        assert seen == list(range(6))


async def test_an_event_that_failed_before_its_commit_comes_again(servers, topic):
    await publish(servers, topic, "P1", {"pedido": "P1"})
    attempts = []

    async def handle(message):
        attempts.append(message.offset)
        if len(attempts) == 1:
            raise ConnectionError("the database is not there")

    with pytest.raises(ConnectionError):
        await consume(servers, topic, topic, 1, handle)
    await consume(servers, topic, topic, 1, handle)
    assert attempts == [0, 0]


async def test_what_cannot_be_handled_goes_through_retry_topics_to_the_dead_letters(servers, name):
    """9.8: the consumer publishes to the next topic, with the story of the failure, and commits."""
    topics = [name("main"), name("retry_1"), name("retry_2"), name("DLT")]
    await publish(servers, topics[0], "P1", {"pedido": "P1"})
    for here, there in zip(topics, topics[1:], strict=False):

        async def fail(message, there=there):
            attempt = int(dict(message.headers).get("intentos", b"0")) + 1
            headers = [("intentos", str(attempt).encode()), ("error", b"ValueError"), ("origen", topics[0].encode())]
            await publish(servers, there, message.key.decode(), json.loads(message.value), headers)

        await consume(servers, here, name("workers"), 1, fail)
    dead = []

    async def keep(message):
        dead.append((json.loads(message.value), dict(message.headers)))

    await consume(servers, topics[-1], name("analysts"), 1, keep)
    story = {"intentos": b"3", "error": b"ValueError", "origen": topics[0].encode()}
    assert dead == [({"pedido": "P1"}, story)]


async def test_a_payment_that_is_announced_twice_is_taken_once(servers, topic):
    """9.6 and 9.10: the adapter turns the event into what the domain knows, which remembers what it has seen."""
    announced = {"id_transaccion": "T1", "referencia_pedido": "P1", "importe": "19.90", "status_pago": "PAGADO"}
    for _ in range(2):
        await publish(servers, topic, "P1", announced, [("message_id", b"m-1"), ("correlation_id", b"c-1")])
    handled, taken = 0, {}

    async def handle(message):
        nonlocal handled
        handled += 1
        payment = {"pago_id": message.value["id_transaccion"], "monto": Decimal(message.value["importe"])}
        taken.setdefault(dict(message.headers)["message_id"], payment)

    await consume(servers, topic, topic, 2, handle, value_deserializer=lambda value: json.loads(value.decode("utf-8")))
    assert (handled, taken) == (2, {b"m-1": {"pago_id": "T1", "monto": Decimal("19.90")}})


async def test_history_is_told_again_to_who_asks(servers, topic):
    """9.1: a log is replayed: from the start, from an offset, from a time."""
    stored = [await publish(servers, topic, "P1", {"numero": number}) for number in range(5)]
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=servers, group_id=topic, auto_offset_reset="earliest")
    await consumer.start()

    async def numbers(count):
        async with asyncio.timeout(PATIENCE_SECONDS):
            return [json.loads((await consumer.getone()).value)["numero"] for _ in range(count)]

    try:
        assert await numbers(5) == [0, 1, 2, 3, 4]
        await consumer.seek_to_beginning()
        assert await numbers(5) == [0, 1, 2, 3, 4]
        (partition,) = consumer.assignment()
        consumer.seek(partition, 3)
        assert await numbers(2) == [3, 4]
        found = await consumer.offsets_for_times({partition: stored[2].timestamp})
        assert found[partition].offset == 2
        consumer.seek(partition, found[partition].offset)
        assert await numbers(3) == [2, 3, 4]
    finally:
        await consumer.stop()
