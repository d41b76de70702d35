"""Clients of other languages: each tells its own stories (`tests/clients`), where its tools are installed."""

import os
import shutil
import subprocess

import pytest

from brokers import REPOSITORY

CLIENTS = REPOSITORY / "tests" / "clients"
PREPARE_SECONDS_MAX, STORIES_SECONDS_MAX = 600, 120

# What each needs in the PATH, how its packages come, and how it is run.
LANGUAGES = {
    "node": (["node", "npm"], ["npm", "install", "--silent"], ["node", "round.js"]),
    "go": (["go"], ["go", "build", "-o", "round", "."], ["./round"]),
    "java": (
        ["java", "javac", "mvn"],
        ["mvn", "--quiet", "--batch-mode", "dependency:copy-dependencies"],
        ["java", "-cp", "target/dependency/*", "Round.java"],
    ),
}


@pytest.fixture(scope="session")
def prepared():
    """Whether a language's packages are there; asked once a session. Without a registry they may not be."""
    answers = {}

    def prepared(language):
        if language not in answers:
            tools, prepare, _ = LANGUAGES[language]
            missing = [tool for tool in tools if not shutil.which(tool)]
            answers[language] = f"{', '.join(missing)} not installed" if missing else attempt(language, prepare)
        return answers[language]

    return prepared


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.timeout(PREPARE_SECONDS_MAX + STORIES_SECONDS_MAX + 30)
def test_a_client_of_another_language_tells_its_stories(broker, prepared, language):
    if problem := prepared(language):
        pytest.skip(f"{language}: {problem}")
    command = [*LANGUAGES[language][2], broker.url()]
    done = run(language, command, STORIES_SECONDS_MAX)
    print(done.stdout)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{broker.log()}"
    assert done.stdout.rstrip().endswith("stories told")


def attempt(language, command):
    """None if it worked, else why it did not."""
    try:
        done = run(language, command, PREPARE_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        return f"{command[0]} took more than {PREPARE_SECONDS_MAX} s"
    return None if done.returncode == 0 else f"{' '.join(command)}: {(done.stdout + done.stderr)[-500:]}"


def run(language, command, seconds):
    # The package managers' own programs print colours and advice elsewhere.
    environment = os.environ | {"NO_COLOR": "1", "MAVEN_OPTS": "-Dstyle.color=never"}
    return subprocess.run(
        command, cwd=CLIENTS / language, env=environment, capture_output=True, text=True, timeout=seconds
    )
