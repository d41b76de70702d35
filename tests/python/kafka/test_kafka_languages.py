"""Kafka's clients in other languages: each tells its own stories (`tests/clients/kafka-*`), where its tools are installed."""

import pytest

import languages

# Nobody waits long for others to come, nor for a topic to be compacted.
OPTIONS = {
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 1000,
    "log.cleaner.backoff.ms": 100,
}

JAVA = ["java", "javac", "mvn"]
MAVEN = ["mvn", "--quiet", "--batch-mode", "dependency:copy-dependencies"]


def java(version, program):
    return ("kafka-java", JAVA, [*MAVEN, f"-Dkafka.version={version}"], ["java", "-cp", f"target/{version}/*", program])


# Where each is, what it needs in the PATH, how its packages come, and how it is run.
STORIES = {
    "KafkaJS": ("kafka-node", ["node", "npm"], ["npm", "install", "--silent"], ["node", "river.js"]),
    "franz-go": ("kafka-go", ["go"], ["go", "build", "-o", "river", "."], ["./river"]),
    "Java 4.1": java("4.1.1", "River.java"),
    "Java 4.1, transactions": java("4.1.1", "Transactions.java"),
    # Knows nothing of what came after ZooKeeper.
    "Java 2.8": java("2.8.2", "River.java"),
}


@pytest.fixture(scope="module")
def broker(broker_class, tmp_path_factory):
    options = [word for name, value in OPTIONS.items() for word in ("--set", f"{name}={value}")]
    with broker_class(tmp_path_factory.mktemp("languages"), *options) as running:
        yield running


@pytest.mark.parametrize("client", STORIES)
@pytest.mark.timeout(languages.PREPARE_SECONDS_MAX + languages.STORIES_SECONDS_MAX + 30)
def test_a_client_of_another_language_tells_its_stories(broker, servers, client):
    directory, tools, prepare, tell = STORIES[client]
    if problem := languages.prepare(directory, tools, [prepare]):
        pytest.skip(f"{client}: {problem}")
    languages.tell(directory, [*tell, servers], broker)
