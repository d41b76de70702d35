"""What a publisher hears: acks, nacks, and transactions."""

import pika
import pytest
from pamqp import body as content_body
from pamqp import commands, frame

from clients import channel_closed, drained, publish, queue, take, waiting
from wire import Wire, content


def test_a_confirmed_publish_returns_and_the_message_is_there(channel, name):
    queue(channel, name())
    channel.confirm_delivery()
    for number in range(20):
        publish(channel, "", name(), str(number), delivery_mode=2, mandatory=True)
    assert drained(channel, name()) == [str(number) for number in range(20)]


def test_an_unroutable_mandatory_publish_is_returned_and_then_confirmed(channel, name):
    channel.confirm_delivery()
    with pytest.raises(pika.exceptions.UnroutableError) as caught:
        publish(channel, "", name("nowhere"), "lost", mandatory=True)
    assert [message.method.reply_text for message in caught.value.messages] == ["NO_ROUTE"]


def test_an_unroutable_publish_that_is_not_mandatory_is_confirmed(channel, name):
    channel.confirm_delivery()
    publish(channel, "", name("nowhere"), "lost")


def test_a_full_queue_that_rejects_answers_with_a_nack(channel, name):
    queue(channel, name(), max_length=1, overflow="reject-publish")
    channel.confirm_delivery()
    publish(channel, "", name(), "fits")
    with pytest.raises(pika.exceptions.NackError):
        publish(channel, "", name(), "does not")
    assert drained(channel, name()) == ["fits"]
    publish(channel, "", name(), "fits again")


def test_a_nack_of_one_queue_is_a_nack_of_the_publish(channel, name):
    channel.exchange_declare(name("ex"), "fanout")
    for part, options in {"full": dict(max_length=0, overflow="reject-publish"), "free": {}}.items():
        queue(channel, name(part), **options)
        channel.queue_bind(name(part), name("ex"))
    channel.confirm_delivery()
    with pytest.raises(pika.exceptions.NackError):
        publish(channel, name("ex"), "", "half")
    assert drained(channel, name("free")) == ["half"]


def test_confirms_count_from_one_and_cover_every_publish(broker, name):
    """Acks may be grouped with `multiple`; together they name each publish once."""
    with Wire(broker.port) as wire:
        wire.login()
        wire.open_channel()
        wire.send(commands.Queue.Declare(queue=name(), durable=True), 1)
        wire.expect(commands.Queue.DeclareOk)
        wire.send(commands.Confirm.Select(), 1)
        wire.expect(commands.Confirm.SelectOk)
        for number in range(100):
            publish_raw(wire, name(), str(number).encode(), delivery_mode=2)
        confirmed = set()
        while len(confirmed) < 100:
            ack = wire.expect(commands.Basic.Ack)
            tags = range(1, ack.delivery_tag + 1) if ack.multiple else [ack.delivery_tag]
            fresh = set(tags) - confirmed
            assert fresh and (ack.multiple or fresh == {ack.delivery_tag})
            confirmed |= fresh
        assert confirmed == set(range(1, 101))


def test_selecting_confirms_twice_is_harmless(broker):
    with Wire(broker.port) as wire:
        wire.login()
        wire.open_channel()
        for _ in range(2):
            wire.send(commands.Confirm.Select(), 1)
            wire.expect(commands.Confirm.SelectOk)


def test_a_transaction_holds_publishes_until_commit(connection, name):
    writer, reader = connection.channel(), connection.channel()
    queue(writer, name())
    writer.tx_select()
    publish(writer, "", name(), "first")
    publish(writer, "", name(), "second")
    assert waiting(reader, name()) == 0
    writer.tx_commit()
    assert drained(reader, name()) == ["first", "second"]


def test_a_rollback_forgets_publishes_and_acks(connection, name):
    writer, reader = connection.channel(), connection.channel()
    queue(writer, name())
    publish(writer, "", name(), "job")
    writer.tx_select()
    method, _, _ = writer.basic_get(name())
    writer.basic_ack(method.delivery_tag)
    publish(writer, "", name(), "never")
    writer.tx_rollback()
    assert waiting(reader, name()) == 0
    writer.basic_recover(requeue=True)
    writer.tx_commit()
    method, _, body = reader.basic_get(name(), auto_ack=True)
    assert (body, method.redelivered) == (b"job", True)


def test_a_committed_ack_is_final(connection, name):
    worker, reader = acked_in_a_transaction(connection, name())
    worker.tx_commit()
    worker.close()
    assert waiting(reader, name()) == 0


def test_an_uncommitted_ack_gives_the_message_back_when_the_channel_closes(connection, name):
    worker, reader = acked_in_a_transaction(connection, name())
    worker.close()
    assert take(reader, name()).body == b"job"


def test_committing_without_a_transaction_is_refused(connection):
    for act in ("tx_commit", "tx_rollback"):
        with channel_closed(406, "PRECONDITION_FAILED - channel is not transactional"):
            getattr(connection.channel(), act)()


def test_confirms_and_transactions_exclude_each_other(connection):
    channel = connection.channel()
    channel.confirm_delivery()
    with channel_closed(406, "PRECONDITION_FAILED - cannot switch from confirm to tx mode"):
        channel.tx_select()
    channel = connection.channel()
    channel.tx_select()
    with channel_closed(406, "PRECONDITION_FAILED - cannot switch from tx to confirm mode"):
        channel.confirm_delivery()


def publish_raw(wire, queue_name, body, **properties):
    wire.send(commands.Basic.Publish(exchange="", routing_key=queue_name), 1)
    wire.send_bytes(frame.marshal(content(len(body), **properties), 1))
    wire.send_bytes(frame.marshal(content_body.ContentBody(body), 1))


def test_publishes_to_a_queue_that_is_being_deleted_are_answered(connect, name):
    publisher, owner = connect().channel(), connect().channel()
    publisher.confirm_delivery()
    for _ in range(30):
        queue(owner, name())
        for _ in range(5):
            publish(publisher, "", name(), "late", delivery_mode=2)
        owner.queue_delete(name())
        publish(publisher, "", name(), "too late", delivery_mode=2)


def test_a_transaction_that_cannot_be_committed_whole_is_not_committed_at_all(connection, name):
    worker, reader = connection.channel(), connection.channel()
    queue(worker, name())
    worker.tx_select()
    publish(worker, "", name(), "first")
    publish(worker, name("nowhere"), "key", "second")
    with pytest.raises(pika.exceptions.ChannelClosedByBroker):
        worker.tx_commit()
    assert waiting(reader, name()) == 0


def acked_in_a_transaction(connection, name):
    """A worker that took and acked the only job within a transaction, and somebody who looks on."""
    worker, reader = connection.channel(), connection.channel()
    queue(worker, name)
    publish(worker, "", name, "job")
    worker.tx_select()
    method, _, _ = worker.basic_get(name)
    worker.basic_ack(method.delivery_tag)
    return worker, reader
