#![no_main]

#[path = "../checks/batch.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::record_batch(bytes));
