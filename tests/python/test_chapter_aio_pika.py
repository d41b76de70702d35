"""The chapter's asynchronous programs (9.4, 9.5, 9.9, aio-pika): order events on a topic exchange."""

import asyncio
import json

import aio_pika
import pytest

PATIENCE_SECONDS = 10


@pytest.fixture
async def shop(broker):
    connection = await aio_pika.connect_robust(broker.url())
    async with connection:
        yield connection


async def test_orders_of_every_country_reach_the_queue_that_asked_for_all(shop, name):
    channel, orders = await open_orders(shop, name)
    created = await channel.declare_queue(name("created"), durable=True)
    await created.bind(orders, routing_key="pedidos.creado.#")
    spanish = await channel.declare_queue(name("spanish"), durable=True)
    await spanish.bind(orders, routing_key="pedidos.*.es")

    for key in (
        "pedidos.creado",
        "pedidos.creado.es",
        "pedidos.creado.es.madrid",
        "pedidos.pagado.es",
        "pagos.creado.es",
    ):
        await orders.publish(order_event(key), routing_key=key)

    assert await keys_of(created) == ["pedidos.creado", "pedidos.creado.es", "pedidos.creado.es.madrid"]
    assert await keys_of(spanish) == ["pedidos.creado.es", "pedidos.pagado.es"]


async def test_an_order_is_settled_by_leaving_the_process_block(shop, name):
    channel, orders = await open_orders(shop, name)
    await channel.set_qos(prefetch_count=10)
    created = await channel.declare_queue(name("created"), durable=True)
    await created.bind(orders, "pedidos.creado.#")
    await orders.publish(order_event("ok", message_id="o-1"), routing_key="pedidos.creado.es")

    handled = asyncio.get_running_loop().create_future()

    async def handle(message):
        async with message.process(requeue=False, ignore_processed=True):
            handled.set_result((message.message_id, json.loads(message.body)["pedido"], message.routing_key))

    tag = await created.consume(handle)
    assert await asyncio.wait_for(handled, PATIENCE_SECONDS) == ("o-1", "ok", "pedidos.creado.es")
    await created.cancel(tag)
    assert (await created.delete(if_unused=False, if_empty=False)).message_count == 0


async def test_an_order_that_fails_goes_to_the_dead_letters(shop, name):
    channel, orders = await open_orders(shop, name)
    dead = await channel.declare_queue(name("dead"), durable=True)
    created = await channel.declare_queue(
        name("created"),
        durable=True,
        arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead.name},
    )
    await created.bind(orders, "pedidos.creado.#")
    await orders.publish(order_event("broken"), routing_key="pedidos.creado.es")

    with pytest.raises(ValueError):
        async with (await get(created)).process(requeue=False):
            raise ValueError("cannot be shipped")

    message = await get(dead)
    await message.ack()
    assert json.loads(message.body)["pedido"] == "broken"
    assert message.headers["x-death"][0]["reason"] == "rejected"
    assert message.headers["x-death"][0]["routing-keys"] == ["pedidos.creado.es"]


async def test_an_order_processed_with_requeue_comes_back_marked(shop, name):
    channel, orders = await open_orders(shop, name)
    created = await channel.declare_queue(name("created"), durable=True)
    await created.bind(orders, "pedidos.creado.#")
    await orders.publish(order_event("again"), routing_key="pedidos.creado.es")

    first = await get(created)
    with pytest.raises(RuntimeError):
        async with first.process(requeue=True):
            raise RuntimeError("database is down")
    second = await get(created)
    await second.ack()
    assert (first.redelivered, second.redelivered) == (False, True)


async def test_the_queue_iterator_gives_orders_one_after_another(shop, name):
    channel, orders = await open_orders(shop, name)
    await channel.set_qos(prefetch_count=10)
    created = await channel.declare_queue(name("created"), durable=True)
    await created.bind(orders, "pedidos.creado.#")
    await asyncio.gather(*(orders.publish(order_event(str(n)), routing_key="pedidos.creado.es") for n in range(50)))

    seen = []
    async with created.iterator(timeout=PATIENCE_SECONDS) as messages:
        async for message in messages:
            async with message.process():
                seen.append(int(json.loads(message.body)["pedido"]))
            if len(seen) == 50:
                break
    assert sorted(seen) == list(range(50))


async def test_a_publisher_hears_that_nobody_wants_its_order(shop, name):
    channel = await shop.channel(on_return_raises=True)
    with pytest.raises(aio_pika.exceptions.DeliveryError) as caught:
        await channel.default_exchange.publish(order_event("lost"), routing_key=name("nowhere"), mandatory=True)
    assert caught.value.message.delivery.reply_code == 312
    assert caught.value.message.delivery.reply_text == "NO_ROUTE"


async def test_a_reply_comes_back_on_the_callers_own_queue(shop, name):
    """RPC as aio-pika's users write it: an exclusive, server-named reply queue and a correlation id."""
    channel = await shop.channel()
    requests = await channel.declare_queue(name("requests"))
    replies = await channel.declare_queue(exclusive=True)

    async def answer(message):
        async with message.process():
            reply = aio_pika.Message(message.body.upper(), correlation_id=message.correlation_id)
            await channel.default_exchange.publish(reply, routing_key=message.reply_to)

    await requests.consume(answer)
    request = aio_pika.Message(b"total", correlation_id="42", reply_to=replies.name)
    await channel.default_exchange.publish(request, routing_key=requests.name)
    reply = await get(replies, no_ack=True)
    assert (reply.body, reply.correlation_id) == (b"TOTAL", "42")


async def test_aio_pikas_own_rpc_pattern_works(shop, name):
    from aio_pika.patterns import RPC

    async def double(*, number):
        return number * 2

    rpc = await RPC.create(await shop.channel())
    await rpc.register(name("double"), double, auto_delete=True)
    assert await asyncio.wait_for(rpc.call(name("double"), kwargs={"number": 21}), PATIENCE_SECONDS) == 42
    await rpc.close()


async def test_a_transaction_publishes_all_or_nothing(shop, name):
    channel = await shop.channel(publisher_confirms=False)
    outbox = await channel.declare_queue(name("outbox"), durable=True)
    async with channel.transaction():
        await channel.default_exchange.publish(order_event("kept"), routing_key=outbox.name)
    with pytest.raises(KeyError):
        async with channel.transaction():
            await channel.default_exchange.publish(order_event("undone"), routing_key=outbox.name)
            raise KeyError("no stock")
    message = await get(outbox)
    await message.ack()
    assert json.loads(message.body)["pedido"] == "kept"
    assert await outbox.get(fail=False) is None


async def open_orders(connection, name):
    channel = await connection.channel()
    return channel, await channel.declare_exchange(name("pedidos"), aio_pika.ExchangeType.TOPIC, durable=True)


def order_event(order, **properties):
    return aio_pika.Message(
        json.dumps({"tipo_evento": "PedidoCreado", "pedido": order}).encode(),
        content_type="application/json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        **properties,
    )


async def get(queue, **options):
    async def look():
        while (message := await queue.get(fail=False, **options)) is None:
            await asyncio.sleep(0.01)
        return message

    return await asyncio.wait_for(look(), PATIENCE_SECONDS)


async def keys_of(queue):
    keys = []
    while (message := await queue.get(fail=False, no_ack=True)) is not None:
        keys.append(message.routing_key)
    return keys
