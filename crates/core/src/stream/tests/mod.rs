mod housekeeping;
mod producers;
mod random;
pub(crate) mod reader;
mod reading;
mod script;
mod snapshot;
mod transactions;
