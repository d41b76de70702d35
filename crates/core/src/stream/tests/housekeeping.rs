//! What compaction is told.

use super::script::check;

#[test]
fn compaction_is_told_what_is_decided_and_what_producers_wrote_last() {
    check(
        "append 7/0 @0 x2 txn v1; append 8/0 @0 txn v1; append x1; abort 7/0; stored; decided; commit 8/0; decided; stored; decided",
        &[
            "at 0",
            "at 2",
            "at 3",
            "marker at 4",
            "decided below 2, aborted [7], last 7/0 Some(1) 8/0 Some(2)",
            "marker at 5",
            "decided below 2, aborted [7], last 7/0 Some(1) 8/0 Some(2)",
            "decided below 6, aborted [7], last 7/0 Some(1) 8/0 Some(2)",
        ],
    );
}

#[test]
fn of_a_new_epoch_only_the_marker_is_known() {
    check(
        "append 7/0 @0 txn v1; abort 7/1; stored; decided",
        &["at 0", "marker at 1", "decided below 2, aborted [7], last 7/1 None"],
    );
}

#[test]
fn what_nothing_is_left_of_is_forgotten() {
    check(
        "append 7/0 @0 txn v1; abort 7/0; append 7/0 @1 txn v1; abort 7/0; stored; forget 2; aborted 0 9",
        &["at 0", "marker at 1", "at 2", "marker at 3", "aborted [7: 2-3 stable 4]"],
    );
}
