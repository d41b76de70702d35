"""Clients of other languages: each tells its own stories (`tests/clients`), where its tools are installed."""

import pytest

import languages

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
    """Whether a language's packages are there; asked once a session."""
    answers = {}

    def prepared(language):
        if language not in answers:
            tools, prepare, _ = LANGUAGES[language]
            answers[language] = languages.prepare(language, tools, [prepare])
        return answers[language]

    return prepared


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.timeout(languages.PREPARE_SECONDS_MAX + languages.STORIES_SECONDS_MAX + 30)
def test_a_client_of_another_language_tells_its_stories(broker, prepared, language):
    if problem := prepared(language):
        pytest.skip(f"{language}: {problem}")
    languages.tell(language, [*LANGUAGES[language][2], broker.url()], broker)
