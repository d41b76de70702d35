"""Members of consumer groups, the same few things said with each of Kafka's Python clients.

A member runs in a process of its own, so that it can be killed, and writes what it reads as lines: `partition offset`.
With `commit` it commits what it has written, each time before it reads on.
"""

import asyncio
import signal
import subprocess
import sys
import time

import confluent_kafka
from aiokafka import AIOKafkaConsumer
from kafka import KafkaConsumer

STRATEGIES = {
    "kafka-python": ["range", "roundrobin", "sticky"],
    "aiokafka": ["range", "roundrobin", "sticky"],
    "confluent-kafka": ["range", "roundrobin", "cooperative-sticky"],
}
SESSION_MS = 3_000
WAIT_SECONDS = 30


class Member:
    """A member in its own process."""

    def __init__(self, client, servers, group, topic, strategy="range", instance=""):
        self.process = subprocess.Popen(
            [sys.executable, __file__, client, servers, group, topic, strategy, instance],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            bufsize=1,
        )

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        return self._rest()

    def leave(self):
        self.process.send_signal(signal.SIGTERM)
        return self._rest()

    def _rest(self):
        """What it read, as (partition, offset). A line that was cut by its death does not count."""
        output, _ = self.process.communicate(timeout=WAIT_SECONDS)
        lines = [line for line in output.splitlines(keepends=True) if line.endswith("\n")]
        return [tuple(map(int, line.split())) for line in lines]


def wait_for(what, condition):
    """Asks again and again until the answer is something, and gives that back."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {WAIT_SECONDS} s")


def tell(partition, offset):
    sys.stdout.write(f"{partition} {offset}\n")


class Ending(Exception):
    pass


def asked_to_end(*_):
    raise Ending


def run_kafka_python(servers, group, topic, strategy, instance):
    from kafka.coordinator.assignors.range import RangePartitionAssignor
    from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
    from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

    assignors = {
        "range": RangePartitionAssignor,
        "roundrobin": RoundRobinPartitionAssignor,
        "sticky": StickyPartitionAssignor,
    }
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=servers,
        group_id=group,
        group_instance_id=instance or None,
        partition_assignment_strategy=[assignors[strategy]],
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=300,
    )
    try:
        while True:
            for messages in consumer.poll(timeout_ms=200).values():
                for message in messages:
                    tell(message.partition, message.offset)
            committed(consumer.commit)
    except Ending:
        consumer.close()


def run_aiokafka(servers, group, topic, strategy, instance):
    from aiokafka.coordinator.assignors.range import RangePartitionAssignor
    from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
    from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

    assignors = {
        "range": RangePartitionAssignor,
        "roundrobin": RoundRobinPartitionAssignor,
        "sticky": StickyPartitionAssignor,
    }

    async def run():
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        consumer = AIOKafkaConsumer(
            topic,
            bootstrap_servers=servers,
            group_id=group,
            group_instance_id=instance or None,
            partition_assignment_strategy=(assignors[strategy],),
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=300,
        )
        await consumer.start()
        while not ended.is_set():
            for messages in (await consumer.getmany(timeout_ms=200)).values():
                for message in messages:
                    tell(message.partition, message.offset)
            try:
                await consumer.commit()
            except Exception as error:  # A rebalance or a broker that is away: what was read comes again.
                print(error, file=sys.stderr)
        await consumer.stop()

    asyncio.run(run())


def run_confluent(servers, group, topic, strategy, instance):
    settings = {
        "bootstrap.servers": servers,
        "group.id": group,
        "partition.assignment.strategy": strategy,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "session.timeout.ms": SESSION_MS,
        "heartbeat.interval.ms": 300,
    }
    if instance:
        settings["group.instance.id"] = instance
    consumer = confluent_kafka.Consumer(settings)
    consumer.subscribe([topic])
    try:
        while True:
            for message in consumer.consume(100, timeout=0.2):
                if message.error() is None:
                    tell(message.partition(), message.offset())
            committed(lambda: consumer.commit(asynchronous=False))
    except Ending:
        consumer.close()


def committed(commit):
    """A commit may fail, as in a rebalance or while the broker is away: what was read comes again."""
    try:
        commit()
    except Ending:
        raise
    except Exception as error:
        print(error, file=sys.stderr)


RUN = {"kafka-python": run_kafka_python, "aiokafka": run_aiokafka, "confluent-kafka": run_confluent}

if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    signal.signal(signal.SIGTERM, asked_to_end)
    RUN[sys.argv[1]](*sys.argv[2:])
