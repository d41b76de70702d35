//! Replays what the fuzzer keeps, so that a stable toolchain and no fuzzer guard it too.

use std::path::Path;

use cauce_kafka::Api;

#[path = "../../../fuzz/checks/kafka.rs"]
mod checks;

#[test]
fn requests() {
    replay("kafka_request", |bytes| {
        checks::request(bytes);
        // The same fields as another version of the API, which reads some of them otherwise.
        let Some(api) = bytes.first_chunk().and_then(|key| Api::from_key(i16::from_be_bytes(*key))) else {
            return;
        };
        for version in api.versions().filter(|_| bytes.len() >= 4) {
            let mut other = bytes.to_vec();
            other[2..4].copy_from_slice(&version.to_be_bytes());
            checks::request(&other);
        }
    });
}

#[test]
fn responses() {
    replay("kafka_response", checks::response);
}

#[test]
fn what_members_of_groups_say() {
    replay("kafka_consumer_protocol", checks::consumer_protocol);
}

#[test]
fn records_of_internal_topics() {
    replay("kafka_internal_record", checks::internal_record);
}

#[test]
fn the_corpus_knows_every_api() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/kafka_request");
    let kept: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .filter_map(|bytes| cauce_kafka::api::read_request(bytes.into()).ok())
        .map(|(header, _)| header.api)
        .collect();
    let missing: Vec<_> = Api::ALL.iter().filter(|api| !kept.contains(api)).collect();
    assert!(missing.is_empty(), "no request in the corpus: {missing:?}");
}

/// Every kept file, and every beginning of it.
fn replay(target: &str, check: impl Fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files = 0;
    for entry in std::fs::read_dir(&directory).expect("the corpus is part of the repository") {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for cut in (0..bytes.len()).take(4096).chain([bytes.len()]) {
            check(&bytes[..cut]);
        }
        files += 1;
    }
    assert!(files > 0, "no corpus in {}", directory.display());
}
