#![no_main]

#[path = "../checks/amqp.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::method(bytes));
