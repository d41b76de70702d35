"""The same few things about transactions said with each of Kafka's Python clients."""

import asyncio

import aiokafka
import confluent_kafka
import kafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka import Consumer, Producer
from kafka import KafkaConsumer, KafkaProducer

TIMEOUT_MS = 30_000
IDLE_SECONDS = 20


class KafkaPython:
    def __init__(self, servers, transactional_id, timeout_ms=TIMEOUT_MS):
        self.producer = KafkaProducer(
            bootstrap_servers=servers, transactional_id=transactional_id, transaction_timeout_ms=timeout_ms
        )
        self.producer.init_transactions()

    def begin(self):
        self.producer.begin_transaction()

    def write(self, topic, value, partition=0):
        self.producer.send(topic, value, partition=partition).get(IDLE_SECONDS)

    def commit_offset(self, group, topic, offset):
        at = kafka.TopicPartition(topic, 0)
        self.producer.send_offsets_to_transaction({at: kafka.OffsetAndMetadata(offset, "", -1)}, group)

    def commit(self):
        self.producer.commit_transaction()

    def abort(self):
        self.producer.abort_transaction()

    def close(self):
        self.producer.close(timeout=1)

    @staticmethod
    def read_committed(servers, topic):
        """What is there once nothing more comes."""
        consumer = KafkaConsumer(
            bootstrap_servers=servers, isolation_level="read_committed", consumer_timeout_ms=1500
        )
        consumer.assign([kafka.TopicPartition(topic, 0)])
        consumer.seek_to_beginning()
        values = [message.value for message in consumer]
        consumer.close()
        return values


class AioKafka:
    """One event loop for as long as the producer lives."""

    def __init__(self, servers, transactional_id, timeout_ms=TIMEOUT_MS):
        self.loop = asyncio.new_event_loop()

        async def start():
            producer = AIOKafkaProducer(
                bootstrap_servers=servers, transactional_id=transactional_id, transaction_timeout_ms=timeout_ms
            )
            await producer.start()
            return producer

        self.producer = self.run(start())

    def run(self, awaitable):
        return self.loop.run_until_complete(asyncio.wait_for(awaitable, IDLE_SECONDS))

    def begin(self):
        self.run(self.producer.begin_transaction())

    def write(self, topic, value, partition=0):
        self.run(self.producer.send_and_wait(topic, value, partition=partition))

    def commit_offset(self, group, topic, offset):
        self.run(self.producer.send_offsets_to_transaction({aiokafka.TopicPartition(topic, 0): offset}, group))

    def commit(self):
        self.run(self.producer.commit_transaction())

    def abort(self):
        self.run(self.producer.abort_transaction())

    def close(self):
        self.run(self.producer.stop())
        self.loop.close()

    @staticmethod
    def read_committed(servers, topic):
        async def run():
            consumer = AIOKafkaConsumer(bootstrap_servers=servers, isolation_level="read_committed")
            await consumer.start()
            try:
                at = aiokafka.TopicPartition(topic, 0)
                consumer.assign([at])
                await consumer.seek_to_beginning(at)
                values = []
                while found := await consumer.getmany(at, timeout_ms=1500):
                    values += [message.value for message in found[at]]
                return values
            finally:
                await consumer.stop()

        return asyncio.run(run())


class Confluent:
    """librdkafka."""

    def __init__(self, servers, transactional_id, timeout_ms=TIMEOUT_MS):
        self.servers = servers
        self.producer = Producer(
            {
                "bootstrap.servers": servers,
                "transactional.id": transactional_id,
                "transaction.timeout.ms": timeout_ms,
                "linger.ms": 0,
                "log_level": 0,
            }
        )
        self.producer.init_transactions(IDLE_SECONDS)

    def begin(self):
        self.producer.begin_transaction()

    def write(self, topic, value, partition=0):
        failed = []
        self.producer.produce(topic, value, partition=partition, on_delivery=lambda error, _: failed.append(error))
        assert self.producer.flush(IDLE_SECONDS) == 0
        if failed[0]:
            raise confluent_kafka.KafkaException(failed[0])

    def commit_offset(self, group, topic, offset):
        member = Consumer({"bootstrap.servers": self.servers, "group.id": group})
        at = confluent_kafka.TopicPartition(topic, 0, offset)
        self.producer.send_offsets_to_transaction([at], member.consumer_group_metadata(), IDLE_SECONDS)
        member.close()

    def commit(self):
        self.producer.commit_transaction(IDLE_SECONDS)

    def abort(self):
        self.producer.abort_transaction(IDLE_SECONDS)

    def close(self):
        del self.producer

    @staticmethod
    def read(servers, topic, isolation, partition=0):
        consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": "nobody",
                "isolation.level": isolation,
                "enable.partition.eof": True,
                "enable.auto.commit": False,
            }
        )
        consumer.assign([confluent_kafka.TopicPartition(topic, partition, 0)])
        values = []
        while True:
            message = consumer.poll(IDLE_SECONDS)
            assert message is not None
            if message.error():
                assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF, message.error()
                consumer.close()
                return values
            values.append(message.value())

    @staticmethod
    def read_committed(servers, topic):
        return Confluent.read(servers, topic, "read_committed")


TRANSACTIONAL = {"kafka-python": KafkaPython, "aiokafka": AioKafka, "confluent-kafka": Confluent}
