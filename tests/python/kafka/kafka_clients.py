"""The same few things said with each of Kafka's Python clients."""

import asyncio

import confluent_kafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from kafka import KafkaConsumer, KafkaProducer, TopicPartition


class KafkaPython:
    """What a test needs of any client, said with kafka-python."""

    @staticmethod
    def produce(servers, topic, values, compression=None, **more):
        producer = KafkaProducer(bootstrap_servers=servers, compression_type=compression, **more)
        sent = [producer.send(topic, value) for value in values]
        producer.flush(20)
        offsets = [one.get(20).offset for one in sent]
        producer.close()
        return offsets

    @staticmethod
    def read(servers, topic, count):
        consumer = KafkaConsumer(bootstrap_servers=servers, consumer_timeout_ms=20_000)
        consumer.assign([TopicPartition(topic, 0)])
        consumer.seek_to_beginning()
        values = [message.value for _, message in zip(range(count), consumer, strict=False)]
        consumer.close()
        return values


class AioKafka:
    @staticmethod
    def produce(servers, topic, values, compression=None, **more):
        async def run():
            producer = AIOKafkaProducer(bootstrap_servers=servers, compression_type=compression, **more)
            await producer.start()
            try:
                sent = [await producer.send(topic, value) for value in values]
                return [(await one).offset for one in sent]
            finally:
                await producer.stop()

        return asyncio.run(run())

    @staticmethod
    def read(servers, topic, count):
        async def run():
            consumer = AIOKafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest")
            await consumer.start()
            try:
                return [(await asyncio.wait_for(consumer.getone(), 20)).value for _ in range(count)]
            finally:
                await consumer.stop()

        return asyncio.run(run())


class Confluent:
    """librdkafka."""

    @staticmethod
    def produce(servers, topic, values, compression=None, **more):
        settings = {"bootstrap.servers": servers, "compression.type": compression or "none", **more}
        producer, offsets, errors = confluent_kafka.Producer(settings), [], []

        def delivered(error, message):
            errors.append(error) if error else offsets.append(message.offset())

        for value in values:
            producer.produce(topic, value, on_delivery=delivered, partition=0)
            producer.poll(0)
        assert producer.flush(20) == 0
        assert not errors, errors
        return offsets

    @staticmethod
    def read(servers, topic, count):
        consumer = confluent_kafka.Consumer({"bootstrap.servers": servers, "group.id": "nobody", "enable.auto.commit": False})
        consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
        values = []
        while len(values) < count:
            message = consumer.poll(20)
            assert message is not None and not message.error(), message and message.error()
            values.append(message.value())
        consumer.close()
        return values


CLIENTS = {"kafka-python": KafkaPython, "aiokafka": AioKafka, "confluent-kafka": Confluent}
