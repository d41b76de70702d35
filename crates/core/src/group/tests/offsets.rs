//! Committing, asking and forgetting how far a group has read.

use super::script::{check, rules};
use crate::group::Rules;

/// One member, m1, in a stable group.
const STABLE: &str = "join 1; at 0; sync 2 as=m1 gen=1;";

#[track_caller]
fn check_stable(script: &str, expected: &[&str]) {
    let formed = ["1: m1 in 1 range leads m1", "2: gets "];
    check(rules(), &format!("{STABLE} {script}"), &[&formed[..], expected].concat());
}

#[test]
fn a_commit_is_answered_and_seen_when_it_is_on_disk() {
    check(
        rules(),
        "hold; commit 1 t-0=5 t-1=6; fetch t-0 t-1; persist; fetch t-1 t-2; log; restart; fetch all",
        &[
            "t-0 nothing",
            "t-1 nothing",
            "1: committed",
            "t-1 6",
            "t-2 nothing",
            "log t-0=5",
            "log t-1=6",
            "t-0 5",
            "t-1 6",
        ],
    );
}

#[test]
fn a_commit_that_cannot_be_written_did_not_happen() {
    check(
        rules(),
        "commit 1 t-0=5; hold; commit 2 t-0=6; commit 3 t-0=7 producer=9; fail; fail; fetch t-0 stable",
        &[
            "1: committed",
            "2: the write that it depends on failed",
            "3: the write that it depends on failed",
            "t-0 5",
        ],
    );
}

#[test]
fn of_a_transactions_offsets_those_that_were_written_count() {
    check(
        rules(),
        "commit 1 t-0=5 producer=7; hold; commit 2 t-0=6 producer=7; fail; end 7 commit; fetch t-0; restart; fetch t-0",
        &["1: committed", "2: the write that it depends on failed", "t-0 5", "t-0 5"],
    );
}

#[test]
fn nobody_commits_to_a_group_that_has_members() {
    check_stable(
        "commit 3 t-0=5; commit 4 t-0=5 as=m9 gen=1; commit 5 t-0=5 as=m1 gen=2; commit 6 t-0=5 as=m1;
         commit 7 t-0=5 as=m1 gen=1; leave m1; commit 8 t-0=6; commit 9 t-0=7 as=m1 gen=1; fetch all",
        &[
            "3: the group has no such member",
            "4: the group has no such member",
            "5: the generation is not the group's",
            "6: the generation is not the group's",
            "7: committed",
            "m1 left",
            "8: committed",
            "9: the group has no such member",
            "t-0 6",
        ],
    );
}

#[test]
fn members_commit_before_they_join_again_but_not_while_shares_are_worked_out() {
    check_stable(
        "join 3; commit 4 t-0=5 as=m1 gen=1; join 5 as=m1; commit 6 t-0=6 as=m1 gen=2; commit 7 t-0=6 as=m3 gen=1;
         sync 8 as=m1 gen=2; commit 9 t-0=7 as=m3 gen=2",
        &[
            "4: committed",
            "5: m1 in 2 range leads m1 m3",
            "3: m3 in 2 range follows m1",
            "6: the group is rebalancing",
            "7: the generation is not the group's",
            "8: gets ",
            "9: committed",
        ],
    );
}

#[test]
fn a_commit_is_a_sign_of_life() {
    check_stable(
        "at 9000; commit 3 t-0=5 as=m1 gen=1; at 18999; state; at 19000; state",
        &["3: committed", "Stable 1", "Empty 2"],
    );
}

#[test]
fn metadata_has_a_limit() {
    let rules = Rules { offset_metadata_bytes_max: 3, ..rules() };
    check(
        rules,
        "commit 1 t-0=5 meta=abc; commit 2 t-0=6 t-1=6 meta=abcd; fetch all; log",
        &["1: committed", "2: committed but t-0 t-1", "t-0 5abc", "log t-0=5"],
    );
}

#[test]
fn offsets_of_a_transaction_count_when_it_is_committed() {
    check(
        rules(),
        "commit 1 t-0=5; hold; commit 2 t-0=9 t-1=9 producer=7; fetch t-0 t-1 t-2 stable; fetch t-0; persist;
         fetch all stable; end 7 commit; fetch all stable; log",
        &[
            "1: committed",
            "t-0 unstable",
            "t-1 unstable",
            "t-2 nothing",
            "t-0 5",
            "2: committed",
            "t-0 unstable",
            "t-0 9",
            "t-1 9",
            "log t-0=5",
            "log of 7: t-0=9",
            "log of 7: t-1=9",
            "log end of 7",
        ],
    );
    check(
        rules(),
        "commit 1 t-0=5; commit 2 t-0=9 t-1=9 producer=7; end 8 commit; end 7 abort; fetch t-0 t-1 stable",
        &["1: committed", "2: committed", "t-0 5", "t-1 nothing"],
    );
}

#[test]
fn what_was_committed_after_the_transaction_sent_its_offsets_holds() {
    check(
        rules(),
        "commit 1 t-0=5 producer=7; commit 2 t-0=3; end 7 commit; fetch t-0; restart; fetch t-0",
        &["1: committed", "2: committed", "t-0 3", "t-0 3"],
    );
}

#[test]
fn an_open_transaction_is_still_open_after_a_restart() {
    check(
        rules(),
        "commit 1 t-0=5; commit 2 t-0=9 producer=7; commit 3 t-1=9 producer=8; end 8 abort; restart;
         fetch t-0 t-1 stable; end 7 commit; fetch all stable; restart; fetch all stable",
        &["1: committed", "2: committed", "3: committed", "t-0 unstable", "t-1 nothing", "t-0 9", "t-0 9"],
    );
}

#[test]
fn a_transaction_may_name_its_member_and_is_fenced_with_it() {
    check_stable(
        "commit 3 t-0=5 producer=7; commit 4 t-0=6 as=m9 gen=1 producer=7; commit 5 t-0=6 as=m1 gen=2 producer=7;
         commit 6 t-0=6 as=m1 gen=1 producer=7; join 7 as=m1; commit 8 t-0=7 as=m1 gen=2 producer=7; end 7 commit; fetch t-0",
        &[
            "3: committed",
            "4: the group has no such member",
            "5: the generation is not the group's",
            "6: committed",
            "7: m1 in 2 range leads m1",
            "8: committed",
            "t-0 7",
        ],
    );
}

#[test]
fn offsets_of_topics_that_the_group_reads_are_not_forgotten() {
    check_stable(
        "commit 3 t-0=5 u-0=6 u-1=7 as=m1 gen=1; forget 4 t-0 u-0 u-9; fetch all; log; restart; fetch all",
        &[
            "3: committed",
            "4: forgotten but t-0",
            "t-0 5",
            "u-1 7",
            "log generation 1 m1:",
            "log t-0=5",
            "log u-0=6",
            "log u-1=7",
            "log u-0 gone",
            "t-0 5",
            "u-1 7",
        ],
    );
    // While members join anew what they will read is not known.
    check(rules(), "commit 1 t-0=5 u-0=6; join 2; forget 3 u-0", &["1: committed", "3: forgotten but u-0"]);
    check(
        rules(),
        "commit 1 t-0=5; join 2 topics=?; at 0; forget 3 t-0",
        &["1: committed", "2: m2 in 1 range leads m2", "3: forgotten but t-0"],
    );
}

#[test]
fn other_groups_forget_only_when_they_are_empty() {
    check(
        rules(),
        "commit 1 t-0=5; join 2 type=connect; at 0; forget 3 t-0; leave m2; forget 4 t-0; fetch t-0",
        &[
            "1: committed",
            "2: m2 in 1 range leads m2",
            "3: the group has members",
            "m2 left",
            "4: forgotten",
            "t-0 nothing",
        ],
    );
}

#[test]
fn forgetting_reaches_what_is_on_its_way() {
    check(
        rules(),
        "hold; commit 1 t-0=5; commit 2 t-1=5 producer=7; forget 3 t-0 t-1; persist; persist; persist;
         end 7 commit; fetch t-0 t-1 stable; log",
        &[
            "1: committed",
            "2: committed",
            "3: forgotten",
            "t-0 nothing",
            "t-1 nothing",
            "log t-0=5",
            "log of 7: t-1=5",
            "log t-0 gone",
            "log t-1 gone",
            "log end of 7",
        ],
    );
}

#[test]
fn offsets_go_with_their_topic() {
    check_stable(
        "commit 3 t-0=5 t-1=6 u-0=7 as=m1 gen=1; topic_gone t; topic_gone v; fetch all",
        &["3: committed", "u-0 7"],
    );
}
