//! Static members (KIP-345): known by their instance over restarts.

use super::script::{check, rules};
use crate::group::Rules;

/// Static members x and y and a stable group, led by x.
const FORMED: &str = "join 1 static=x knows=range,sticky; at 0; join 2 static=y knows=range,sticky; \
                      join 3 as=m1 static=x knows=range,sticky; sync 4 as=m1 gen=2 gives=m1:p,m2:q; sync 5 as=m2 gen=2;";
const FORMING: [&str; 5] = [
    "1: m1 in 1 range leads m1",
    "3: m1 in 2 range leads m1 m2",
    "2: m2 in 2 range follows m1",
    "4: gets p",
    "5: gets q",
];

#[track_caller]
fn check_formed(script: &str, expected: &[&str]) {
    check(rules(), &format!("{FORMED} {script}"), &[&FORMING[..], expected].concat());
}

#[test]
fn a_restarted_follower_gets_its_share_back_and_nobody_notices() {
    check_formed(
        "hold; log; join 6 static=y knows=range,sticky; state; persist; log; sync 7 as=m6 static=y gen=2; beat as=m1 gen=2",
        &[
            "log generation 2 m1:p m2:q",
            "Stable 2",
            "6: m6 in 2 range follows m1",
            "log generation 2 m1:p m6:q",
            "7: gets q",
            "m1 beats",
        ],
    );
}

#[test]
fn the_one_that_was_replaced_is_fenced() {
    let fenced = "another member has taken over the instance id";
    check_formed(
        "join 6 static=y knows=range; beat as=m2 static=y gen=2; beat as=m2 gen=2; sync 7 as=m2 static=y gen=2;
         join 8 as=m2 static=y; commit 9 t-0=1 as=m2 static=y gen=2; leave m2/static=y; beat as=m9 static=z gen=2",
        &[
            "6: m6 in 2 range follows m1",
            &format!("m2 {fenced}"),
            "m2 the group has no such member",
            &format!("7: {fenced}"),
            &format!("8: {fenced}"),
            &format!("9: {fenced}"),
            &format!("m2/static=y {fenced}"),
            "m9 the group has no such member",
        ],
    );
}

#[test]
fn a_restarted_leader_skips_the_assignment_if_it_understands_that() {
    check_formed(
        "join 6 static=x knows=range skips; sync 7 as=m6 static=x gen=2",
        &["6: m6 in 2 range skips for m2 m6", "7: gets p"],
    );
    // Otherwise it must not know that it leads: nobody would get what it works out.
    check_formed(
        "join 6 static=x knows=range; sync 7 as=m6 static=x gen=2; join 8 as=m6 static=x knows=range; state",
        &["6: m6 in 2 range follows m1", "7: gets p", "PreparingRebalance 2"],
    );
}

#[test]
fn if_the_protocol_changes_with_it_there_is_a_round() {
    check_formed(
        "join 6 static=y knows=sticky; state; join 7 as=m1 static=x knows=range,sticky",
        &["PreparingRebalance 2", "7: m1 in 3 sticky leads m1 m6", "6: m6 in 3 sticky follows m1"],
    );
}

#[test]
fn one_that_comes_back_while_shares_are_worked_out_starts_over() {
    check_formed(
        "join 6 as=m1 static=x knows=range says=more; join 7 as=m2 static=y knows=range;
         sync 8 as=m2 static=y gen=3; join 9 static=y knows=range; join 10 as=m1 static=x knows=range",
        &[
            "6: m1 in 3 range leads m1 m2",
            "7: m2 in 3 range follows m1",
            "8: another member has taken over the instance id",
            "10: m1 in 4 range leads m1 m9",
            "9: m9 in 4 range follows m1",
        ],
    );
}

#[test]
fn a_full_group_has_room_for_one_that_comes_back() {
    check(
        Rules { members_max: 1, ..rules() },
        "join 1 static=x; at 0; sync 2 as=m1 gen=1 gives=m1:p; join 3 static=x; join 4 static=y",
        &[
            "1: m1 in 1 range leads m1",
            "2: gets p",
            "3: m3 in 1 range follows m1",
            "4: the group has as many members as it may",
        ],
    );
}

#[test]
fn two_that_start_with_one_instance_fence_each_other() {
    check_formed(
        "join 6 as=m1 static=x knows=range; join 7 static=z knows=range; join 8 static=z knows=range;
         join 9 as=m2 static=y knows=range",
        &[
            "7: another member has taken over the instance id",
            "6: m1 in 3 range leads m1 m2 m8",
            "9: m2 in 3 range follows m1",
            "8: m8 in 3 range follows m1",
        ],
    );
}

/// The same with rounds of two seconds.
const FORMED_QUICK: &str = "join 1 static=x rebalance=2000; at 0; join 2 static=y rebalance=2000; \
                            join 3 as=m1 static=x rebalance=2000; sync 4 as=m1 gen=2; sync 5 as=m2 gen=2;";
const FORMING_QUICK: [&str; 5] = [
    "1: m1 in 1 range leads m1",
    "3: m1 in 2 range leads m1 m2",
    "2: m2 in 2 range follows m1",
    "4: gets ",
    "5: gets ",
];

#[test]
fn a_static_member_may_miss_a_round_but_not_its_end() {
    check(
        rules(),
        &format!(
            "{FORMED_QUICK} join 6 as=m1 static=x rebalance=2000; at 1999; state; at 2000; sync 7 as=m1 gen=3;
             at 3999; state; at 4000; state; join 8 as=m1 static=x"
        ),
        &[
            &FORMING_QUICK[..],
            &["PreparingRebalance 2", "6: m1 in 3 range leads m1 m2", "7: gets ", "Stable 3"],
            &["PreparingRebalance 3", "8: m1 in 4 range leads m1"],
        ]
        .concat(),
    );
}

#[test]
fn a_round_that_nobody_joins_waits_for_sessions_to_end() {
    check(
        rules(),
        &format!("{FORMED_QUICK} leave static=x; state; at 9999; state; timeout; at 10000; state"),
        &[
            &FORMING_QUICK[..],
            &[
                "static=x left",
                "PreparingRebalance 2",
                "PreparingRebalance 2",
                "timeout Some(10000)",
                "Empty 3",
            ],
        ]
        .concat(),
    );
}

#[test]
fn an_administrator_removes_static_members_by_instance() {
    check_formed(
        "leave static=x static=z; state; join 6 as=m2 static=y knows=range",
        &[
            "static=x left",
            "static=z the group has no such member",
            "PreparingRebalance 2",
            "6: m2 in 3 range leads m2",
        ],
    );
}

#[test]
fn a_comeback_that_cannot_be_written_is_refused_and_starts_a_round() {
    check_formed(
        "hold; join 6 static=y knows=range; fail; state",
        &["6: the write that it depends on failed", "PreparingRebalance 2"],
    );
}

#[test]
fn a_comeback_is_answered_by_the_round_that_overtakes_it() {
    check_formed(
        "hold; join 6 static=y knows=range; join 7 knows=range; persist; state; join 8 as=m1 static=x knows=range",
        &[
            "PreparingRebalance 2",
            "8: m1 in 3 range leads m1 m6 m7",
            "6: m6 in 3 range follows m1",
            "7: m7 in 3 range follows m1",
        ],
    );
    check_formed(
        "hold; join 6 static=y knows=range; join 7 as=m1 static=x knows=range; persist; state",
        &["7: m1 in 3 range leads m1 m6", "6: m6 in 3 range follows m1", "CompletingRebalance 3"],
    );
}
