//! How long offsets are kept (KIP-211), and groups.

use super::script::{check, rules};
use crate::group::Rules;

fn short() -> Rules {
    Rules { offsets_retention_ms: 50_000, empty_kept_ms: 1_000, ..rules() }
}

#[test]
fn a_simple_groups_offsets_are_kept_from_their_commit_on() {
    check(
        short(),
        "commit 1 t-0=5; at 10000; commit 2 t-1=6; timeout; at 49999; fetch all; at 50000; fetch all; at 60000; log; state",
        &[
            "1: committed",
            "2: committed",
            "timeout Some(50000)",
            "t-0 5",
            "t-1 6",
            "t-1 6",
            "gone",
            "log t-0=5",
            "log t-1=6",
            "log t-0 gone",
            "log t-1 gone",
            "log group gone",
            "Dead 0",
        ],
    );
}

#[test]
fn offsets_are_kept_while_there_are_members_and_for_a_time_after_that() {
    check(
        short(),
        "commit 1 t-0=5; join 2 session=600000; at 0; sync 3 as=m2 gen=1; at 500000; fetch all; leave m2; timeout;
         at 520000; commit 4 t-1=6; at 549999; fetch all; at 550000; fetch all; at 570000",
        &[
            "1: committed",
            "2: m2 in 1 range leads m2",
            "3: gets ",
            "t-0 5",
            "m2 left",
            "timeout Some(550000)",
            "4: committed",
            "t-0 5",
            "t-1 6",
            "t-1 6",
            "gone",
        ],
    );
}

#[test]
fn a_topic_that_the_members_no_longer_read_loses_its_offsets() {
    check(
        short(),
        "join 2 topics=t+u session=600000; at 0; sync 3 as=m2 gen=1; commit 4 t-0=5 u-0=6 as=m2 gen=1; at 60000; fetch all;
         join 5 as=m2 topics=t session=600000; fetch all; sync 6 as=m2 gen=2; at 60000; fetch all; state",
        &[
            "2: m2 in 1 range leads m2",
            "3: gets ",
            "4: committed",
            "t-0 5",
            "u-0 6",
            "5: m2 in 2 range leads m2",
            "t-0 5",
            "u-0 6",
            "6: gets ",
            "t-0 5",
            "Stable 2",
        ],
    );
}

#[test]
fn a_commit_may_say_how_long_it_is_kept() {
    check(
        short(),
        "commit 1 t-0=5 keep=10; commit 2 t-1=5 keep=90000; at 10; fetch all; at 89999; fetch all; at 90000",
        &["1: committed", "2: committed", "t-1 5", "t-1 5", "gone"],
    );
}

#[test]
fn an_open_transaction_keeps_an_offset_and_its_group() {
    check(
        short(),
        "commit 1 t-0=5; commit 2 t-0=6 producer=7; at 90000; fetch all; end 7 abort; timeout; at 90000; state",
        &["1: committed", "2: committed", "t-0 5", "timeout Some(50000)", "gone", "Dead 0"],
    );
    check(
        short(),
        "commit 1 t-0=5 producer=7; at 90000; state; end 7 abort; at 90000",
        &["1: committed", "Empty 0", "gone"],
    );
}

#[test]
fn a_commit_on_its_way_saves_the_offset() {
    check(
        short(),
        "commit 1 t-0=5; at 49000; hold; commit 2 t-0=6; at 50000; flow; persist; fetch all; timeout",
        &["1: committed", "2: committed", "t-0 6", "timeout Some(99000)"],
    );
}

#[test]
fn an_empty_group_without_offsets_goes_soon() {
    check(
        short(),
        "join 1; at 0; leave m1; timeout; at 999; state; at 1000; log; state",
        &[
            "1: m1 in 1 range leads m1",
            "m1 left",
            "timeout Some(1000)",
            "Empty 2",
            "gone",
            "log generation 2",
            "log group gone",
            "Dead 2",
        ],
    );
    // Not if somebody is on the way in.
    check(
        short(),
        "join 1 needs_id; at 1000; state; at 10000; state",
        &["1: come back as m1", "Empty 0", "gone", "Dead 0"],
    );
}

#[test]
fn time_goes_on_over_a_restart() {
    check(
        short(),
        "join 1; at 0; sync 2 as=m1 gen=1; commit 3 t-0=5 as=m1 gen=1; leave m1; at 40000; restart; fetch all; timeout; at 50000",
        &[
            "1: m1 in 1 range leads m1",
            "2: gets ",
            "3: committed",
            "m1 left",
            "t-0 5",
            "timeout Some(50000)",
            "gone",
        ],
    );
}
