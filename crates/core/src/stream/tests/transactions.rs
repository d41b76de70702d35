//! Transactions in a partition, and what readers see of them.

use super::script::check;

#[test]
fn an_open_transaction_holds_the_stable_offset_back() {
    check(
        "append; append 7/0 @0 x2 txn v1; append; stored; offsets; commit 7/0; offsets; stored; offsets",
        &[
            "at 0",
            "at 1",
            "at 3",
            "start 0 stable 1 stored 4 end 4",
            "marker at 4",
            "start 0 stable 1 stored 4 end 5",
            "start 0 stable 5 stored 5 end 5",
        ],
    );
}

#[test]
fn an_ended_transaction_is_undecided_until_its_marker_is_stored() {
    check(
        "append 7/0 @0 txn v1; append 8/0 @0 txn v1; stored; commit 8/0; commit 7/0; append; stored 3;
         offsets; stored 4; offsets",
        &[
            "at 0",
            "at 1",
            "marker at 2",
            "marker at 3",
            "at 4",
            "start 0 stable 0 stored 3 end 5",
            "start 0 stable 4 stored 4 end 5",
        ],
    );
}

#[test]
fn a_reader_waits_at_the_stable_offset() {
    check(
        "append; append 7/0 @0 txn v1; stored; read 0; read 1; read 2; read 3",
        &["at 0", "at 1", "reads 0..1", "reads 1..1", "reads 2..2", "offset 3 is not between 0 and 2"],
    );
}

#[test]
fn aborted_transactions_are_told_to_who_reads_their_records() {
    check(
        "append 7/0 @0 txn v1; append 8/0 @0 txn v1; abort 8/0; append; abort 7/0; append 8/0 @1 txn v1;
         commit 8/0;
         aborted 0 9; aborted 3 4; aborted 5 9; aborted 0 1",
        &[
            "at 0",
            "at 1",
            "marker at 2",
            "at 3",
            "marker at 4",
            "at 5",
            "marker at 6",
            "aborted [8: 1-2 stable 0, 7: 0-4 stable 5]",
            "aborted [7: 0-4 stable 5]",
            "aborted []",
            "aborted [7: 0-4 stable 5]",
        ],
    );
}

#[test]
fn aborted_transactions_are_forgotten_with_their_records() {
    check(
        "append 7/0 @0 txn v1; abort 7/0; append 7/0 @1 txn v1; abort 7/0; stored; trim 1; aborted 0 9;
         trim 2; aborted 0 9; read 1",
        &[
            "at 0",
            "marker at 1",
            "at 2",
            "marker at 3",
            "aborted [7: 0-1 stable 2, 7: 2-3 stable 4]",
            "aborted [7: 2-3 stable 4]",
            "offset 1 is not between 2 and 4",
        ],
    );
}

#[test]
fn deleting_records_of_an_open_transaction_moves_the_stable_offset() {
    check(
        "append 7/0 @0 txn v1; append; stored; trim 1; offsets",
        &["at 0", "at 1", "start 1 stable 1 stored 2 end 2"],
    );
}

#[test]
fn a_transactional_batch_needs_a_verified_transaction() {
    check(
        "append 7/0 @0 txn; append 7/0 @0 txn v1; append 7/0 @1 txn; commit 7/0; append 7/0 @2 txn",
        &[
            "no transaction of producer 7 is known to include this partition",
            "at 0",
            "at 1",
            "marker at 2",
            "no transaction of producer 7 is known to include this partition",
        ],
    );
}

#[test]
fn a_batch_that_was_verified_before_the_transaction_ended_comes_too_late() {
    check(
        "verify 7/0 @0 txn; abort 7/0; append 7/0 @0 txn guarded; verify 7/0 @0 txn; append 7/0 @0 txn guarded",
        &["marker at 0", "producer 7 was verified before its last transaction ended here", "at 1"],
    );
}

#[test]
fn the_first_of_several_waiting_batches_is_appended_first() {
    check(
        "verify 7/0 @5 txn; verify 7/0 @4 txn; append 7/0 @5 txn guarded; append 7/0 @4 txn guarded;
         append 7/0 @5 txn",
        &["sequence 5 of producer 7 where 4 was due", "at 0", "at 1"],
    );
}

#[test]
fn by_the_newer_rules_an_unknown_producer_starts_at_zero() {
    check(
        "append 7/0 @3 txn v2; append 7/0 @0 txn v2",
        &["sequence 3 of producer 7 where 0 was due", "at 0"],
    );
}

#[test]
fn a_fenced_producer_is_not_even_verified() {
    check("append 7/1 @0; verify 7/0 @0 txn", &["at 0", "epoch 0 of producer 7 is below 1"]);
}

#[test]
fn nothing_else_is_accepted_while_a_transaction_is_open() {
    check(
        "append 7/0 @0 txn v1; append 7/0 @1; commit 7/0; append 7/0 @1",
        &[
            "at 0",
            "producer 7 has a transaction open and sent something outside of it",
            "marker at 1",
            "at 2",
        ],
    );
}

#[test]
fn a_marker_of_an_old_epoch_or_an_old_coordinator_is_refused() {
    check(
        "append 7/1 @0 txn v1; abort 7/0; commit 7/1 coordinator=4; commit 7/1 coordinator=3",
        &[
            "at 0",
            "epoch 0 of producer 7 is not above 1",
            "marker at 1",
            "a coordinator of epoch 3 came after one of epoch 4",
        ],
    );
}

#[test]
fn a_marker_fences_the_epochs_below_its_own() {
    check(
        "append 7/0 @0 txn v1; abort 7/1; append 7/0 @1 txn v1; append 7/1 @0 txn v1",
        &["at 0", "marker at 1", "epoch 0 of producer 7 is below 1", "at 2"],
    );
}

#[test]
fn by_the_newer_rules_a_late_marker_cannot_end_the_next_transaction() {
    check(
        "append 7/0 @0 txn v2; commit 7/1 v2; commit 7/1 v2; append 7/1 @0 txn v2; commit 7/1 v2;
         commit 7/2 v2",
        &[
            "at 0",
            "marker at 1",
            "marker at 2",
            "at 3",
            "epoch 1 of producer 7 is not above 1",
            "marker at 4",
        ],
    );
}

#[test]
fn a_marker_without_a_transaction_changes_no_stable_offset() {
    check(
        "abort 7/0; stored; offsets; aborted 0 9",
        &["marker at 0", "start 0 stable 1 stored 1 end 1", "aborted []"],
    );
}

#[test]
fn open_and_aborted_transactions_survive_a_restart() {
    let story = "append 7/0 @0 txn v1; abort 7/0; append 8/0 @0 txn v1; append; stored; restart; offsets; aborted 0 9;
                 append 8/0 @1 txn; commit 8/0; stored; offsets";
    let expected = [
        "at 0",
        "marker at 1",
        "at 2",
        "at 3",
        "start 0 stable 2 stored 4 end 4",
        "aborted [7: 0-1 stable 2]",
        "at 4",
        "marker at 5",
        "start 0 stable 6 stored 6 end 6",
    ];
    check(story, &expected);
    check(&story.replace("restart", "restart snapshot"), &expected);
}
