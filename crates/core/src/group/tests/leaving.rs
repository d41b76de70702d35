//! Members that leave, and groups that are left.

use super::script::{check, rules};

#[test]
fn when_one_leaves_the_others_share_anew() {
    check(
        rules(),
        "join 1; at 0; join 2; join 3 as=m1; sync 4 as=m1 gen=2; leave m1 m9; state; beat as=m2 gen=2; join 5 as=m2",
        &[
            "1: m1 in 1 range leads m1",
            "3: m1 in 2 range leads m1 m2",
            "2: m2 in 2 range follows m1",
            "4: gets ",
            "m1 left",
            "m9 the group has no such member",
            "PreparingRebalance 2",
            "m2 the group is rebalancing",
            "5: m2 in 3 range leads m2",
        ],
    );
}

#[test]
fn when_the_last_leaves_the_group_is_empty_in_a_new_generation() {
    check(
        rules(),
        "join 1; at 0; sync 2 as=m1 gen=1; leave m1; state; log; restart; state; join 3 type=connect; at 0; describe",
        &[
            "1: m1 in 1 range leads m1",
            "2: gets ",
            "m1 left",
            "Empty 2",
            "log generation 1 m1:",
            "log generation 2",
            "Empty 2",
            "3: m3 in 3 range leads m3",
            "CompletingRebalance connect none",
            "m3 none client@host \"\" \"\"",
        ],
    );
}

#[test]
fn who_leaves_while_it_joins_is_answered() {
    check(
        rules(),
        "join 1; leave m1; at 0; state",
        &["m1 left", "1: the group has no such member", "Empty 1"],
    );
}

#[test]
fn a_pending_member_that_leaves_disturbs_nobody() {
    check(
        rules(),
        "join 1; at 0; sync 2 as=m1 gen=1; join 3 needs_id; leave m3; state; join 4 as=m3",
        &[
            "1: m1 in 1 range leads m1",
            "2: gets ",
            "3: come back as m3",
            "m3 left",
            "Stable 1",
            "4: the group has no such member",
        ],
    );
}

#[test]
fn several_leave_at_once() {
    check(
        rules(),
        "join 1; at 0; join 2; join 3; join 4 as=m1; leave m1 m2 m3; state",
        &[
            "1: m1 in 1 range leads m1",
            "4: m1 in 2 range leads m1 m2 m3",
            "2: m2 in 2 range follows m1",
            "3: m3 in 2 range follows m1",
            "m1 left",
            "m2 left",
            "m3 left",
            "Empty 3",
        ],
    );
}

#[test]
fn only_an_empty_group_is_deleted() {
    check(
        rules(),
        "join 1; at 0; delete 2; leave m1; commit 3 t-0=5; hold; delete 4; state; join 5; beat as=m1 gen=1; leave m1;
         commit 6 t-0=7; fetch t-0; delete 7; forget 8 t-0; persist; log; state; timeout",
        &[
            "1: m1 in 1 range leads m1",
            "2: the group has members",
            "m1 left",
            "3: committed",
            "Dead 2",
            "5: the group was deleted",
            "m1 the group was deleted",
            "the group was deleted",
            "6: the group was deleted",
            "t-0 nothing",
            "7: the group was deleted",
            "8: the group was deleted",
            "4: deleted",
            "gone",
            "log generation 2",
            "log t-0=5",
            "log t-0 gone",
            "log group gone",
            "Dead 2",
            "timeout None",
        ],
    );
}

#[test]
fn a_deletion_that_cannot_be_written_did_not_happen() {
    check(
        rules(),
        "commit 1 t-0=5; hold; delete 2; fail; fetch t-0; state",
        &["1: committed", "2: the write that it depends on failed", "t-0 5", "Empty 0"],
    );
}
