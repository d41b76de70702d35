//! Time-outs and forgetting.

use super::script::check;

const FENCED: &str = "a newer incarnation of this producer exists";
const WEEK_MS: i64 = 7 * 24 * 60 * 60 * 1000;

#[test]
fn a_transaction_that_takes_too_long_is_aborted_and_its_producer_fenced() {
    let fenced = |token: u32| format!("{token} {FENCED}");
    check(
        "init a; at 5; add a 0/0 t; timeout; at 1005; show a; at 1006; show a; add a 0/0 t; commit a 0/0;
         init a expect=0/0; init a",
        &[
            "1 is 0/0",
            "2 added",
            "timeout Some(1006)",
            "Ongoing 0/0 [t]",
            "Abort 0/1 in t",
            "CompleteAbort 0/1 []",
            &fenced(3),
            &fenced(4),
            &fenced(5),
            "6 is 0/2",
        ],
    );
}

#[test]
fn by_the_newer_rules_a_client_that_was_too_slow_aborts_and_goes_on() {
    check(
        "init a; add a 0/0 t v2; at 1001; add a 0/0 u v2; commit a 0/0 v2; abort a 0/0 v2; add a 0/1 t v2",
        &[
            "1 is 0/0",
            "2 added",
            "Abort 0/1 in t",
            &format!("3 {FENCED}"),
            "4 a transaction that is CompleteAbort cannot end so",
            "5 ended, now 0/1",
            "6 added",
        ],
    );
}

#[test]
fn more_partitions_give_no_more_time() {
    check(
        "init a; add a 0/0 t; at 900; add a 0/0 u; timeout; at 1001; show a",
        &["1 is 0/0", "2 added", "3 added", "timeout Some(1001)", "Abort 0/1 in t u", "CompleteAbort 0/1 []"],
    );
}

#[test]
fn a_decided_transaction_has_no_time_out() {
    check(
        "init a; add a 0/0 t; hold; commit a 0/0; timeout; persist; timeout; at 5000; mark t; persist; timeout",
        &[
            "1 is 0/0",
            "2 added",
            "persist a PrepareCommit 0/0 [t]",
            "timeout None",
            "3 ended, now 0/0",
            "Commit 0/0 in t",
            "timeout None",
            "persist a CompleteCommit 0/0 []",
            &format!("timeout Some({})", 5000 + WEEK_MS),
        ],
    );
}

#[test]
fn a_time_out_waits_for_a_record_under_way() {
    check(
        "init a; add a 0/0 t; at 999; hold; add a 0/0 u; at 2000; persist; at 2000",
        &[
            "1 is 0/0",
            "2 added",
            "persist a Ongoing 0/0 [t u]",
            "3 added",
            "persist a PrepareAbort 0/1 [t u]",
        ],
    );
}

#[test]
fn what_nobody_uses_for_a_week_is_forgotten() {
    check(
        &format!(
            "init a; at {}; show a; at {WEEK_MS}; show a; restart; show a; timeout; init a",
            WEEK_MS - 1
        ),
        &["1 is 0/0", "Empty 0/0 []", "unknown", "unknown", "timeout None", "2 is 1000/0"],
    );
}

#[test]
fn who_comes_back_while_it_is_forgotten_has_to_try_again() {
    check(
        &format!("init a; hold; at {WEEK_MS}; init a; persist; init a"),
        &[
            "1 is 0/0",
            "persist a nothing",
            "2 another change of this transactional id is under way",
            "persist a Empty 1/0 []",
        ],
    );
}
