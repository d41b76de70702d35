"""Kafka's own programs, run as its scripts run them. Their jars come from Maven Central (`tests/clients/kafka-tools`)."""

import os
import shutil
import subprocess

from brokers import REPOSITORY

HOME = REPOSITORY / "tests" / "clients" / "kafka-tools"
JARS = HOME / "target" / "dependency"
RESOLVE_SECONDS_MAX, RUN_SECONDS_MAX = 900, 120

# A program that lives for a second starts sooner without the second compiler and the parallel collector.
BRIEF = ["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]

# What each script of Kafka's bin/ starts.
PROGRAMS = {
    "kafka-broker-api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
    "kafka-cluster": "org.apache.kafka.tools.ClusterTool",
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "kafka-dump-log": "kafka.tools.DumpLogSegments",
    "kafka-features": "org.apache.kafka.tools.FeatureCommand",
    "kafka-get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "kafka-groups": "org.apache.kafka.tools.GroupsCommand",
    "kafka-leader-election": "org.apache.kafka.tools.LeaderElectionCommand",
    "kafka-log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "kafka-storage": "kafka.tools.StorageTool",
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
    "kafka-transactions": "org.apache.kafka.tools.TransactionsCommand",
}


def problem():
    """Why they cannot run here, or None once their jars are here."""
    if missing := [tool for tool in ("java", "mvn") if not shutil.which(tool)]:
        return f"{' and '.join(missing)} not installed"
    if any(JARS.glob("kafka-server-4*.jar")):
        return None
    resolve = ["mvn", "--quiet", "--batch-mode", "dependency:copy-dependencies"]
    # Maven's own programs print colours elsewhere.
    environment = os.environ | {"NO_COLOR": "1", "MAVEN_OPTS": "-Dstyle.color=never"}
    done = subprocess.run(
        resolve, cwd=HOME, env=environment, capture_output=True, text=True, timeout=RESOLVE_SECONDS_MAX
    )
    return f"their jars could not be fetched: {(done.stdout + done.stderr)[-500:]}" if done.returncode else None


def command(*flags):
    """The start of a command, up to the name of the class."""
    return ["java", *flags, "-cp", str(JARS / "*")]


def attempt(program, *arguments, input=None):
    """The process as it ended."""
    words = [*command(*BRIEF), PROGRAMS[program], *map(str, arguments)]
    return subprocess.run(words, input=input, capture_output=True, text=True, timeout=RUN_SECONDS_MAX)


def run(program, *arguments, input=None):
    """What a program prints; it must end well."""
    done = attempt(program, *arguments, input=input)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
