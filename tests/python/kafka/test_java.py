"""Kafka's own client, in Java, tells its stories (`tests/clients/kafka-java`), where its tools are installed."""

import os
import shutil
import subprocess

import pytest

from brokers import REPOSITORY

PROGRAMS = REPOSITORY / "tests" / "clients" / "kafka-java"
PREPARE_SECONDS_MAX, STORIES_SECONDS_MAX = 600, 120


@pytest.fixture(scope="session")
def prepared():
    """Skips where its packages cannot be had."""
    if missing := [tool for tool in ("java", "javac", "mvn") if not shutil.which(tool)]:
        pytest.skip(f"{' and '.join(missing)} not installed")
    done = run(["mvn", "--quiet", "--batch-mode", "dependency:copy-dependencies"], PREPARE_SECONDS_MAX)
    if done.returncode != 0:
        pytest.skip(f"its packages could not be fetched: {(done.stdout + done.stderr)[-500:]}")


@pytest.mark.parametrize("program", ["Transactions.java"])
@pytest.mark.timeout(PREPARE_SECONDS_MAX + STORIES_SECONDS_MAX + 30)
def test_it_tells_its_stories(broker, servers, prepared, program):
    done = run(["java", "-cp", "target/4.1.1/*", program, servers], STORIES_SECONDS_MAX)
    print(done.stdout)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{broker.log()}"
    assert done.stdout.rstrip().endswith("stories told")


def run(command, seconds):
    environment = os.environ | {"NO_COLOR": "1", "MAVEN_OPTS": "-Dstyle.color=never"}
    return subprocess.run(command, cwd=PROGRAMS, env=environment, capture_output=True, text=True, timeout=seconds)
