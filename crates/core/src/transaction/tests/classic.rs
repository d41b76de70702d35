//! Transactions by the older rules (KIP-98): one epoch for all of an incarnation.

use super::script::check;

const CONCURRENT: &str = "another change of this transactional id is under way";
const FENCED: &str = "a newer incarnation of this producer exists";
const UNKNOWN: &str = "the transactional id is not known with this producer id";

#[test]
fn a_transaction_begins_with_its_first_partition_and_ends_with_markers() {
    check(
        "init a; show a; add a 0/0 t u; show a; commit a 0/0; show a",
        &[
            "1 is 0/0",
            "Empty 0/0 []",
            "2 added",
            "Ongoing 0/0 [t u]",
            "3 ended, now 0/0",
            "Commit 0/0 in t u",
            "CompleteCommit 0/0 []",
        ],
    );
}

#[test]
fn each_step_is_on_disk_before_it_is_answered() {
    check(
        "hold; init a; persist; persist; add a 0/0 t; persist; abort a 0/0; persist; mark t; persist; show a",
        &[
            "reserve ids",
            "persist a Empty 0/0 []",
            "1 is 0/0",
            "persist a Ongoing 0/0 [t]",
            "2 added",
            "persist a PrepareAbort 0/0 [t]",
            "3 ended, now 0/0",
            "Abort 0/0 in t",
            "persist a CompleteAbort 0/0 []",
            "CompleteAbort 0/0 []",
        ],
    );
}

#[test]
fn a_transaction_is_complete_when_every_partition_is_marked() {
    check(
        "init a; add a 0/0 t u; hold; commit a 0/0; persist; mark t; mark t; show a; mark u; persist; show a",
        &[
            "1 is 0/0",
            "2 added",
            "persist a PrepareCommit 0/0 [t u]",
            "3 ended, now 0/0",
            "Commit 0/0 in t u",
            "PrepareCommit 0/0 [t u]",
            "persist a CompleteCommit 0/0 []",
            "CompleteCommit 0/0 []",
        ],
    );
}

#[test]
fn more_partitions_join_while_it_is_ongoing_and_known_ones_cost_no_record() {
    check(
        "init a; add a 0/0 t; add a 0/0 u; hold; add a 0/0 u t; show a",
        &["1 is 0/0", "2 added", "3 added", "4 added", "Ongoing 0/0 [t u]"],
    );
}

#[test]
fn the_next_transaction_starts_without_the_partitions_of_the_last() {
    check(
        "init a; add a 0/0 t; commit a 0/0; add a 0/0 u; show a",
        &["1 is 0/0", "2 added", "3 ended, now 0/0", "Commit 0/0 in t", "4 added", "Ongoing 0/0 [u]"],
    );
}

#[test]
fn asking_again_for_the_same_end_is_fine_and_for_the_other_is_not() {
    check(
        "init a; add a 0/0 t; commit a 0/0; commit a 0/0; abort a 0/0; add a 0/0 t; abort a 0/0;
         abort a 0/0; commit a 0/0",
        &[
            "1 is 0/0",
            "2 added",
            "3 ended, now 0/0",
            "Commit 0/0 in t",
            "4 ended, now 0/0",
            "5 a transaction that is CompleteCommit cannot end so",
            "6 added",
            "7 ended, now 0/0",
            "Abort 0/0 in t",
            "8 ended, now 0/0",
            "9 a transaction that is CompleteAbort cannot end so",
        ],
    );
}

#[test]
fn without_a_transaction_there_is_nothing_to_end() {
    check(
        "init a; commit a 0/0; abort a 0/0",
        &[
            "1 is 0/0",
            "2 a transaction that is Empty cannot end so",
            "3 a transaction that is Empty cannot end so",
        ],
    );
}

#[test]
fn while_a_record_is_written_or_markers_are_missing_others_have_to_try_again() {
    let said = |token: u32| format!("{token} {CONCURRENT}");
    check(
        "init a; hold; add a 0/0 t; add a 0/0 u; init a; commit a 0/0; persist; commit a 0/0; persist;
         commit a 0/0; add a 0/0 t; init a",
        &[
            "1 is 0/0",
            "persist a Ongoing 0/0 [t]",
            &said(3),
            &said(4),
            &said(5),
            "2 added",
            "persist a PrepareCommit 0/0 [t]",
            "6 ended, now 0/0",
            "Commit 0/0 in t",
            &said(7),
            &said(8),
            &said(9),
        ],
    );
}

#[test]
fn unknown_ids_and_epochs_are_told_apart() {
    let said = |token: u32, what: &str| format!("{token} {what}");
    check(
        "init a; add b 0/0 t; add a 9/0 t; add a 0/1 t; commit b 0/0; commit a 9/0; commit a 0/1",
        &[
            "1 is 0/0",
            &said(2, UNKNOWN),
            &said(3, UNKNOWN),
            &said(4, FENCED),
            &said(5, UNKNOWN),
            &said(6, UNKNOWN),
            &said(7, FENCED),
        ],
    );
}

#[test]
fn a_partition_is_verified_while_the_transaction_includes_it() {
    check(
        "init a; verify a 0/0 t; add a 0/0 t; verify a 0/0 t; verify a 0/0 u; verify a 0/1 t;
         verify b 0/0 t; commit a 0/0; verify a 0/0 t",
        &[
            "1 is 0/0",
            "the partition is not part of the transaction, which has to be aborted",
            "2 added",
            "verified",
            "the partition is not part of the transaction, which has to be aborted",
            FENCED,
            UNKNOWN,
            "3 ended, now 0/0",
            "Commit 0/0 in t",
            "the partition is not part of the transaction, which has to be aborted",
        ],
    );
}

#[test]
fn a_partition_is_verified_only_once_it_is_on_disk_and_no_more_when_the_end_is() {
    check(
        "init a; hold; add a 0/0 t; verify a 0/0 t; persist; abort a 0/0; verify a 0/0 t; persist;
         verify a 0/0 t",
        &[
            "1 is 0/0",
            "persist a Ongoing 0/0 [t]",
            "the partition is not part of the transaction, which has to be aborted",
            "2 added",
            "persist a PrepareAbort 0/0 [t]",
            "verified",
            "3 ended, now 0/0",
            "Abort 0/0 in t",
            CONCURRENT,
        ],
    );
}

#[test]
fn empty_names_and_odd_time_outs_are_refused() {
    check(
        "init \"\"; init a timeout=0; init a timeout=900001; init a timeout=900000",
        &[
            "1 a transactional id must not be empty",
            "2 a time-out of 0 ms is not between 1 and 900000",
            "3 a time-out of 900001 ms is not between 1 and 900000",
            "4 is 0/0",
        ],
    );
}
