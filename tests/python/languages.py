"""Clients of other languages: how their packages come, and how their stories are told."""

import os
import shutil
import subprocess

from brokers import REPOSITORY

CLIENTS = REPOSITORY / "tests" / "clients"
PREPARE_SECONDS_MAX, STORIES_SECONDS_MAX = 600, 180


def prepare(directory, tools, commands):
    """None if all is there, else why not. Without a registry it may not be."""
    if missing := [tool for tool in tools if not shutil.which(tool)]:
        return f"{', '.join(missing)} not installed"
    for command in commands:
        try:
            done = run(directory, command, PREPARE_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            return f"{command[0]} took more than {PREPARE_SECONDS_MAX} s"
        if done.returncode:
            return f"{' '.join(command)}: {(done.stdout + done.stderr)[-500:]}"
    return None


def tell(directory, command, broker):
    done = run(directory, command, STORIES_SECONDS_MAX)
    print(done.stdout)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{broker.log()}"
    assert done.stdout.rstrip().endswith("stories told")


def run(directory, command, seconds):
    # The package managers' own programs print colours and advice elsewhere.
    environment = os.environ | {"NO_COLOR": "1", "MAVEN_OPTS": "-Dstyle.color=never"}
    return subprocess.run(
        command, cwd=CLIENTS / directory, env=environment, capture_output=True, text=True, timeout=seconds
    )
