"""Apache Kafka itself: one node that is broker and controller, with its own ports, data and memory settings.

Its jars come from Maven Central (`tests/clients/kafka-tools/pom.xml`); it runs as `kafka-server-start` would run it.
"""

import os
import shutil
import socket
import struct
import subprocess
import time

import brokers

TOOLS = brokers.REPOSITORY / "tests" / "clients" / "kafka-tools"
JARS = TOOLS / "target" / "dependency"
RESOLVE_SECONDS_MAX = 900

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
            identity = java("kafka.tools.StorageTool", "random-uuid").strip()
            java("kafka.tools.StorageTool", "format", "-t", identity, "-c", self.home / "server.properties")
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


def problem():
    """Why it cannot run here, or None once its jars are here."""
    if missing := [tool for tool in ("java", "mvn") if not shutil.which(tool)]:
        return f"{' and '.join(missing)} not installed"
    if JARS.exists() and any(JARS.glob("kafka-server-4*.jar")):
        return None
    resolve = ["mvn", "--quiet", "--batch-mode", "dependency:copy-dependencies"]
    environment = os.environ | {"NO_COLOR": "1", "MAVEN_OPTS": "-Dstyle.color=never"}
    done = subprocess.run(
        resolve, cwd=TOOLS, env=environment, capture_output=True, text=True, timeout=RESOLVE_SECONDS_MAX
    )
    return f"its jars could not be fetched: {(done.stdout + done.stderr)[-500:]}" if done.returncode else None


def command(*flags):
    return ["java", *flags, "-cp", str(JARS / "*")]


def java(main, *arguments):
    """What a program of Kafka's prints; it must end well."""
    words = [*command("-Xmx256m"), main, *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def answers(port):
    """Whether somebody there tells which versions of Kafka's protocol it speaks."""
    header = struct.pack(">hhih", 18, 0, 7, -1)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(struct.pack(">i", len(header)) + header)
            return len(connection.recv(8)) > 0
    except OSError:
        return False
