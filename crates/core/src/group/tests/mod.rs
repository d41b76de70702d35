mod client;
mod joining;
mod leaving;
mod observing;
mod offsets;
mod offsets_expiry;
mod random;
mod script;
mod simulation;
mod statics;
mod syncing;
mod words;

use super::{Effects, Group, Restoring, Rules, Stored};

fn restored(rules: Rules, log: Vec<Stored>, now_ms: i64, out: &mut Effects) -> Group {
    let mut restoring = Restoring::new(rules, now_ms);
    log.into_iter().for_each(|stored| restoring.replay(stored));
    restoring.finish(now_ms, out)
}
