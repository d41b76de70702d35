"""The chapter's synchronous programs (9.9, pika): a direct exchange, a durable queue, work taken one by one."""

import json
from decimal import Decimal

import pika

from clients import Subscriber, eventually, flush, publish, queue, take, waiting


def test_a_task_published_by_one_program_is_done_by_another(connect, name):
    producer = connect().channel()
    declare_tasks(producer, name)
    producer.basic_publish(
        exchange=name("tasks"),
        routing_key="resize",
        body=json.dumps({"task": 41, "what": "resize the cover"}),
        properties=pika.BasicProperties(
            delivery_mode=pika.DeliveryMode.Persistent, content_type="application/json", message_id="task-41"
        ),
    )
    producer.connection.close()

    worker = connect().channel()
    declare_tasks(worker, name)
    done = []

    def work(channel, method, properties, body):
        done.append(
            (properties.message_id, properties.delivery_mode, properties.content_type, json.loads(body)["task"])
        )
        channel.basic_ack(delivery_tag=method.delivery_tag)
        channel.stop_consuming()

    worker.basic_qos(prefetch_count=1)
    worker.basic_consume(queue=name("resize"), on_message_callback=work)
    worker.start_consuming()

    assert done == [("task-41", 2, "application/json", 41)]
    assert waiting(worker, name("resize")) == 0


def test_prefetch_1_shares_the_work_between_two_workers(connect, name):
    boss, slow, fast = (connect().channel() for _ in range(3))
    declare_tasks(boss, name)
    for worker in (slow, fast):
        worker.basic_qos(prefetch_count=1)
    for number in range(10):
        publish(boss, name("tasks"), "resize", str(number), delivery_mode=2)

    stuck = Subscriber(slow, name("resize"))
    stuck.wait_for(1)
    busy = Subscriber(fast, name("resize"))
    for count in range(1, 10):
        delivery = busy.wait_for(count)[-1]
        assert len(busy.deliveries) == count
        fast.basic_ack(delivery.method.delivery_tag)

    assert stuck.bodies == ["0"]
    assert busy.bodies == [str(number) for number in range(1, 10)]


def test_the_generator_hands_out_messages_and_gives_back_the_rest(connection, name):
    channel = connection.channel()
    declare_tasks(channel, name)
    for number in range(5):
        publish(channel, name("tasks"), "resize", str(number))
    channel.basic_qos(prefetch_count=2)

    seen = []
    for method, _properties, body in channel.consume(name("resize"), inactivity_timeout=5):
        seen.append(body.decode())
        channel.basic_ack(method.delivery_tag)
        if len(seen) == 3:
            break
    channel.cancel()

    assert seen == ["0", "1", "2"]
    assert eventually(lambda: waiting(channel, name("resize")) == 2)


def test_declaring_again_what_exists_changes_nothing(channel, name):
    declare_tasks(channel, name)
    publish(channel, name("tasks"), "resize", "kept")
    declare_tasks(channel, name)
    assert take(channel, name("resize")).body == b"kept"


def test_the_default_exchange_reaches_every_queue_by_name(channel, name):
    queue(channel, name())
    publish(channel, "", name(), "straight")
    got = take(channel, name())
    assert (got.body, got.method.exchange, got.method.routing_key) == (b"straight", "", name())


def test_every_property_arrives_as_it_was_sent(channel, name):
    sent = dict(
        content_type="application/json",
        content_encoding="utf-8",
        headers={
            "text": "ñandú",
            "yes": True,
            "small": 7,
            "negative": -40_000,
            "big": 2**40,
            "price": Decimal("19.99"),
            "nothing": None,
            "list": [1, "two", {"three": 3}],
            "table": {"deep": {"deeper": "x"}},
        },
        delivery_mode=2,
        priority=5,
        correlation_id="c-1",
        reply_to="somewhere",
        expiration="60000",
        message_id="m-1",
        timestamp=1_700_000_000,
        type="PedidoCreado",
        user_id="guest",
        app_id="shop",
    )
    queue(channel, name())
    publish(channel, "", name(), "body", **sent)
    properties = take(channel, name()).properties
    assert {field: getattr(properties, field) for field in sent} == sent


def test_an_empty_body_and_a_binary_one_arrive_whole(channel, name):
    queue(channel, name())
    for body in (b"", bytes(range(256))):
        publish(channel, "", name(), body)
    assert [take(channel, name()).body for _ in range(2)] == [b"", bytes(range(256))]


def test_a_message_of_one_mebibyte_arrives_whole(channel, name):
    body = bytes(range(256)) * 4096
    queue(channel, name())
    publish(channel, "", name(), body)
    assert take(channel, name()).body == body


def test_a_hundred_channels_work_side_by_side_on_one_connection(connection, name):
    channels = [connection.channel() for _ in range(100)]
    queue(channels[0], name())
    for number, channel in enumerate(channels):
        publish(channel, "", name(), str(number))
    for channel in channels:
        flush(channel)
    assert sorted(int(take(channel, name()).body) for channel in channels) == list(range(100))


def test_a_select_connection_works_as_well_as_a_blocking_one(broker, name):
    """pika's event-driven adapter: each step asks for the next in its callback."""
    seen = []

    def opened(connection):
        connection.channel(on_open_callback=lambda channel: declare(channel))

    def declare(channel):
        channel.queue_declare(name(), durable=True, callback=lambda _ok: consume(channel))

    def consume(channel):
        channel.basic_consume(name(), received)
        channel.basic_publish("", name(), b"hello")

    def received(channel, method, _properties, body):
        seen.append(body)
        channel.basic_ack(method.delivery_tag)
        channel.connection.close()

    connection = pika.SelectConnection(
        broker.parameters(),
        on_open_callback=opened,
        on_open_error_callback=lambda connection, error: connection.ioloop.stop(),
        on_close_callback=lambda connection, reason: connection.ioloop.stop(),
    )
    connection.ioloop.start()
    assert seen == [b"hello"]


def declare_tasks(channel, name):
    channel.exchange_declare(exchange=name("tasks"), exchange_type="direct", durable=True)
    channel.queue_declare(queue=name("resize"), durable=True)
    channel.queue_bind(exchange=name("tasks"), queue=name("resize"), routing_key="resize")
