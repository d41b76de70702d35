//! Idempotence: each batch once, in the order it was numbered.

use super::script::{check, check_with};
use crate::stream::Rules;

#[test]
fn batches_without_a_producer_take_the_next_offset() {
    check("append x3; append; offsets", &["at 0", "at 3", "start 0 stable 0 stored 0 end 4"]);
}

#[test]
fn a_repeated_batch_is_found_where_it_was_first_written() {
    check(
        "append 7/0 @0 x3; append x10; append 7/0 @3; append 7/0 @0 x3; append 7/0 @3",
        &["at 0", "at 3", "at 13", "before at 0-2", "before at 13-13"],
    );
}

#[test]
fn a_batch_that_only_overlaps_an_earlier_one_is_out_of_order() {
    check(
        "append 7/0 @0 x3; append 7/0 @0 x2; append 7/0 @2 x2",
        &["at 0", "sequence 0 of producer 7 where 3 was due", "sequence 2 of producer 7 where 3 was due"],
    );
}

#[test]
fn five_batches_are_remembered_and_no_more() {
    check(
        "append 7/0 @0; append 7/0 @1; append 7/0 @2; append 7/0 @3; append 7/0 @4; append 7/0 @5;
         append 7/0 @1; append 7/0 @0",
        &[
            "at 0",
            "at 1",
            "at 2",
            "at 3",
            "at 4",
            "at 5",
            "before at 1-1",
            "sequence 0 of producer 7 where 6 was due",
        ],
    );
}

#[test]
fn a_gap_is_refused_until_the_missing_batch_came() {
    check(
        "append 7/0 @0; append 7/0 @2; append 7/0 @1; append 7/0 @2",
        &["at 0", "sequence 2 of producer 7 where 1 was due", "at 1", "at 2"],
    );
}

#[test]
fn an_unknown_producer_may_go_on_where_it_was() {
    check("append 7/3 @40 x2; append 7/3 @42", &["at 0", "at 2"]);
}

#[test]
fn sequences_go_on_at_zero_after_the_highest() {
    check(
        "append 7/0 @2147483646 x2; append 7/0 @0; append 8/0 @2147483646 x4; append 8/0 @2;
         append 8/0 @2147483646 x4",
        &["at 0", "at 2", "at 3", "at 7", "before at 3-6"],
    );
}

#[test]
fn a_new_epoch_starts_at_zero_and_ends_the_older_one() {
    check(
        "append 7/0 @0; append 7/1 @1; append 7/1 @0; append 7/0 @1; append 7/1 @1",
        &[
            "at 0",
            "sequence 1 of producer 7 where 0 was due",
            "at 1",
            "epoch 0 of producer 7 is below 1",
            "at 2",
        ],
    );
}

#[test]
fn the_same_numbers_in_a_new_epoch_are_not_a_repetition() {
    check("append 7/0 @0; append 7/1 @0; append 7/1 @0", &["at 0", "at 1", "before at 1-1"]);
}

#[test]
fn what_the_broker_writes_for_a_producer_is_not_numbered_but_fenced() {
    check(
        "append 7/1 txn v1; append 7/1 txn; append 7/0 txn v1; producers",
        &["at 0", "at 1", "epoch 0 of producer 7 is below 1", "7/1 last None open Some(0)"],
    );
}

#[test]
fn idle_producers_are_forgotten_after_a_day_but_not_one_in_a_transaction() {
    check(
        "append 7/0 @0; append 8/0 @0 txn v1; at 86399999; append 9/0 @0; at 86999999; producers; timeout",
        &[
            "at 0",
            "at 1",
            "at 2",
            "8/0 last Some(0) open Some(1)",
            "9/0 last Some(0) open None",
            "timeout Some(87599999)",
        ],
    );
}

#[test]
fn without_producers_there_is_nothing_to_forget() {
    check("append; timeout", &["at 0", "timeout None"]);
}

#[test]
fn beyond_the_limit_the_longest_silent_goes_first() {
    check_with(
        Rules { producers_max: 2, ..Rules::default() },
        "append 1/0 @0; at 1; append 2/0 @0; at 2; append 1/0 @1; at 3; append 3/0 @0; producers",
        &["at 0", "at 1", "at 2", "at 3", "1/0 last Some(1) open None", "3/0 last Some(0) open None"],
    );
}

#[test]
fn beyond_the_limit_with_only_open_transactions_a_newcomer_is_refused() {
    check_with(
        Rules { producers_max: 1, ..Rules::default() },
        "append 1/0 @0 txn v1; append 2/0 @0; commit 1/0; append 2/0 @0",
        &["at 0", "the partition remembers 1 producers, and none is idle", "marker at 1", "at 2"],
    );
}

#[test]
fn the_limit_holds_for_those_that_wait_for_verification_too() {
    check_with(
        Rules { producers_max: 1, ..Rules::default() },
        "verify 1/0 @0 txn; verify 1/0 @1 txn; verify 2/0 @0 txn",
        &["the partition remembers 1 producers, and none is idle"],
    );
}

#[test]
fn sequences_survive_a_restart() {
    check(
        "append 7/0 @0; append 7/0 @1 x2; restart; append 7/0 @1 x2; append 7/0 @4; append 7/0 @3",
        &["at 0", "at 1", "before at 1-2", "sequence 4 of producer 7 where 3 was due", "at 3"],
    );
}
