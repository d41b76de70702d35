mod joining;
mod leaving;
mod offsets;
mod offsets_expiry;
mod script;
mod statics;
mod syncing;
