//! Replays what the fuzzer keeps, so that a stable toolchain and no fuzzer guard it too.

use std::path::Path;

#[path = "../../../fuzz/checks/batch.rs"]
mod checks;

/// Every kept batch, every beginning of it, and each with one byte broken.
#[test]
fn record_batches() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/record_batch");
    let mut files = 0;
    for entry in std::fs::read_dir(&directory).expect("the corpus is part of the repository") {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for at in (0..bytes.len()).take(4096) {
            checks::record_batch(&bytes[..at]);
            let mut broken = bytes.clone();
            broken[at] ^= 1 << (at % 8);
            checks::record_batch(&broken);
        }
        checks::record_batch(&bytes);
        files += 1;
    }
    assert!(files > 0, "no corpus in {}", directory.display());
}
