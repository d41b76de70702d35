#![no_main]

#[path = "../checks/kafka.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::internal_record(bytes));
