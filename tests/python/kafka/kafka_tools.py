"""Kafka's own programs, run as its scripts run them (`tests/clients/kafka-tools`)."""

import os
import shutil
import subprocess

import pytest

from brokers import REPOSITORY

HOME = REPOSITORY / "tests" / "clients" / "kafka-tools"
PREPARE_SECONDS_MAX, RUN_SECONDS_MAX = 600, 120


class KafkaTools:
    """Ready once its jars are here. Without a JDK or a registry they may not be."""

    def __init__(self):
        if missing := [tool for tool in ("java", "mvn") if not shutil.which(tool)]:
            pytest.skip(f"Kafka's tools need {' and '.join(missing)}")
        prepare = ["mvn", "--quiet", "--batch-mode", "dependency:copy-dependencies"]
        # Maven's own programs print colours elsewhere.
        environment = os.environ | {"NO_COLOR": "1", "MAVEN_OPTS": "-Dstyle.color=never"}
        done = subprocess.run(
            prepare, cwd=HOME, env=environment, capture_output=True, text=True, timeout=PREPARE_SECONDS_MAX
        )
        if done.returncode:
            pytest.skip(f"Kafka's tools could not be fetched: {(done.stdout + done.stderr)[-500:]}")

    def run(self, main, *arguments):
        """What the program prints; it must end well."""
        command = ["java", "-Xmx256m", "-cp", HOME / "target" / "dependency" / "*", main, *arguments]
        done = subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, timeout=RUN_SECONDS_MAX
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def dump_log(self, *arguments):
        return self.run("kafka.tools.DumpLogSegments", *arguments)
