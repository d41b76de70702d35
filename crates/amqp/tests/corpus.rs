//! Replays what the fuzzer keeps, so that a stable toolchain and no fuzzer guard it too.

use std::path::Path;

#[path = "../../../fuzz/checks/amqp.rs"]
mod checks;

#[test]
fn frames() {
    replay("frame", checks::frame);
}

#[test]
fn methods() {
    replay("method", checks::method);
}

#[test]
fn tables() {
    replay("table", checks::table);
}

#[test]
fn properties() {
    replay("properties", checks::properties);
}

/// Every kept file, and every beginning of it.
fn replay(target: &str, check: fn(&[u8])) {
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
