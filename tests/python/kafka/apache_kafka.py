"""Apache Kafka itself: one node that is broker and controller, with its own ports, data and memory settings.

It runs as `kafka-server-start` would run it, where `kafka_tools.problem` finds none.
"""

import socket
import struct
import time

import brokers
from kafka_tools import command, run

# What kafka-server-start and kafka-run-class set.
HEAP = ["-Xmx1G", "-Xms1G"]
COLLECTOR = [
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
]

PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
"""

LOGGING = """
Configuration:
  status: error
  Appenders:
    Console: {name: STDOUT, target: SYSTEM_OUT, PatternLayout: {pattern: "%d %p %m (%c)%n"}}
  Loggers:
    Root: {level: warn, AppenderRef: [{ref: STDOUT}]}
"""


class ApacheKafka(brokers.Broker):
    name = "kafka"
    # How a JVM says that it was asked to end.
    status_stopped = (143,)

    def __init__(self, home, **properties):
        super().__init__(home)
        self.port, self.controller_port = brokers.free_ports(2)
        self.ports = {"kafka": self.port}
        self.data = self.home / "data"
        self.properties = properties

    def start(self):
        settings = PROPERTIES.format(port=self.port, controller=self.controller_port, data=self.data)
        settings += "".join(f"{name}={value}\n" for name, value in self.properties.items())
        (self.home / "server.properties").write_text(settings)
        (self.home / "log4j2.yaml").write_text(LOGGING)
        if not self.data.exists():
            identity = run("kafka-storage", "random-uuid").strip()
            run("kafka-storage", "format", "-t", identity, "-c", self.home / "server.properties")
        logging = f"-Dlog4j2.configurationFile={self.home / 'log4j2.yaml'}"
        began = time.monotonic()
        self._spawn([*command(*HEAP, *COLLECTOR, logging), "kafka.Kafka", "server.properties"])
        self._wait_until_it_answers()
        self.start_seconds = time.monotonic() - began

    def _wait_until_it_answers(self):
        deadline = time.monotonic() + brokers.START_SECONDS_MAX
        while not answers(self.port):
            assert self.process.poll() is None, f"kafka ended\n{self.log()}"
            assert time.monotonic() < deadline, f"kafka did not start\n{self.log()}"
            time.sleep(0.005)


def answers(port):
    """Whether somebody there tells which versions of Kafka's protocol it speaks."""
    header = struct.pack(">hhih", 18, 0, 7, -1)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(struct.pack(">i", len(header)) + header)
            return len(connection.recv(8)) > 0
    except OSError:
        return False
