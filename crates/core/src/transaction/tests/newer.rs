//! Transactions by the newer rules (KIP-890): each has an epoch of its own.

use super::script::check;

const CONCURRENT: &str = "another change of this transactional id is under way";
const FENCED: &str = "a newer incarnation of this producer exists";

#[test]
fn every_end_raises_the_epoch_and_tells_it() {
    check(
        "init a; add a 0/0 t v2; commit a 0/0 v2; add a 0/1 t v2; abort a 0/1 v2; show a",
        &[
            "1 is 0/0",
            "2 added",
            "3 ended, now 0/1",
            "Commit 0/1 in t",
            "4 added",
            "5 ended, now 0/2",
            "Abort 0/2 in t",
            "CompleteAbort 0/2 []",
        ],
    );
}

#[test]
fn asking_again_comes_with_the_epoch_of_before() {
    check(
        "init a; add a 0/0 t v2; commit a 0/0 v2; commit a 0/0 v2; abort a 0/0 v2; commit a 0/1 v2",
        &[
            "1 is 0/0",
            "2 added",
            "3 ended, now 0/1",
            "Commit 0/1 in t",
            "4 ended, now 0/1",
            "5 a transaction that is CompleteCommit cannot end so",
            "6 a transaction that is CompleteCommit cannot end so",
        ],
    );
}

#[test]
fn an_abort_without_a_transaction_raises_the_epoch_too() {
    check(
        "init a; abort a 0/0 v2; abort a 0/0 v2; abort a 0/1 v2; commit a 0/2 v2; show a",
        &[
            "1 is 0/0",
            "2 ended, now 0/1",
            "3 ended, now 0/1",
            "4 ended, now 0/2",
            "5 a transaction that is CompleteAbort cannot end so",
            "CompleteAbort 0/2 []",
        ],
    );
}

#[test]
fn an_empty_transaction_can_be_aborted_but_not_committed() {
    let fenced = format!("3 {FENCED}");
    check(
        "init a; commit a 0/0 v2; abort a 0/-1 v2; abort a 0/0 v2",
        &["1 is 0/0", "2 a transaction that is Empty cannot end so", &fenced, "4 ended, now 0/1"],
    );
}

#[test]
fn a_client_that_goes_on_before_the_markers_are_written_has_to_try_again() {
    let said = |token: u32| format!("{token} {CONCURRENT}");
    check(
        "init a; add a 0/0 t v2; hold; commit a 0/0 v2; persist; add a 0/1 t v2; commit a 0/0 v2; mark t;
         add a 0/1 t v2; persist; add a 0/1 t v2",
        &[
            "1 is 0/0",
            "2 added",
            "persist a PrepareCommit 0/1 [t]",
            "3 ended, now 0/1",
            "Commit 0/1 in t",
            &said(4),
            &said(5),
            "persist a CompleteCommit 0/1 []",
            &said(6),
            "persist a Ongoing 0/1 [t]",
        ],
    );
}

#[test]
fn when_the_epochs_are_used_up_the_end_brings_a_new_id() {
    check(
        "given a 5/32766 Ongoing t v2; commit a 5/32766 v2; commit a 5/32766 v2; abort a 5/32766 v2;
         show a; add a 0/0 t v2; commit a 5/32766 v2",
        &[
            "1 ended, now 0/0",
            "Commit 5/32767 in t",
            "2 ended, now 0/0",
            "3 a transaction that is CompleteCommit cannot end so",
            "CompleteCommit 0/0 []",
            "4 added",
            "5 the transactional id is not known with this producer id",
        ],
    );
}

#[test]
fn the_last_epoch_is_not_given_out() {
    check(
        "given a 5/32765 Ongoing t v2; abort a 5/32765 v2; add a 5/32766 t v2; commit a 5/32766 v2",
        &["1 ended, now 5/32766", "Abort 5/32766 in t", "2 added", "3 ended, now 0/0", "Commit 5/32767 in t"],
    );
}

#[test]
fn an_epoch_of_an_earlier_incarnation_is_no_repetition() {
    let fenced = format!("5 {FENCED}");
    check(
        "init a; init a; add a 0/1 t; commit a 0/1; commit a 0/0 v2",
        &["1 is 0/0", "2 is 0/1", "3 added", "4 ended, now 0/1", "Commit 0/1 in t", &fenced],
    );
}
