//! What was persisted goes on after a restart.

use super::script::check;

#[test]
fn a_decided_transaction_is_carried_out() {
    check(
        "given a 5/0 PrepareCommit t u; show a; given b 6/1 PrepareAbort t; show b",
        &["Commit 5/0 in t u", "CompleteCommit 5/0 []", "Abort 6/1 in t", "CompleteAbort 6/1 []"],
    );
}

#[test]
fn a_decided_transaction_without_partitions_is_completed() {
    check("given a 5/1 PrepareAbort v2; show a", &["CompleteAbort 5/1 []"]);
}

#[test]
fn an_ongoing_transaction_goes_on_and_keeps_its_time_out() {
    check(
        "init a; add a 0/0 t; at 400; restart; timeout; add a 0/0 u; commit a 0/0",
        &["1 is 0/0", "2 added", "timeout Some(1001)", "3 added", "4 ended, now 0/0", "Commit 0/0 in t u"],
    );
}

#[test]
fn what_was_not_persisted_did_not_happen() {
    check(
        "init a; add a 0/0 t; hold; commit a 0/0; restart; show a; go; abort a 0/0",
        &[
            "1 is 0/0",
            "2 added",
            "persist a PrepareCommit 0/0 [t]",
            "Ongoing 0/0 [t]",
            "4 ended, now 0/0",
            "Abort 0/0 in t",
        ],
    );
}

#[test]
fn markers_are_written_again_when_it_is_not_known_that_they_were() {
    check(
        "init a; add a 0/0 t u; hold; commit a 0/0; persist; mark t; restart; go; show a",
        &[
            "1 is 0/0",
            "2 added",
            "persist a PrepareCommit 0/0 [t u]",
            "3 ended, now 0/0",
            "Commit 0/0 in t u",
            "Commit 0/0 in t u",
            "CompleteCommit 0/0 []",
        ],
    );
}

#[test]
fn a_repeated_end_is_recognised_after_a_restart() {
    check(
        "init a; add a 0/0 t v2; commit a 0/0 v2; restart; commit a 0/0 v2",
        &["1 is 0/0", "2 added", "3 ended, now 0/1", "Commit 0/1 in t", "4 ended, now 0/1"],
    );
}

#[test]
fn a_new_id_promised_before_a_restart_is_kept() {
    check(
        "given a 5/32766 Ongoing t v2; init b; hold; commit a 5/32766 v2; persist; restart; go; show a",
        &[
            "1 is 0/0",
            "persist a PrepareCommit 5/32767 [t]",
            "2 ended, now 1/0",
            "Commit 5/32767 in t",
            "Commit 5/32767 in t",
            "CompleteCommit 1/0 []",
        ],
    );
}
