//! How members come in and a generation begins.

use super::script::{check, check_changing, rules};
use crate::group::Rules;

#[test]
fn the_first_to_join_leads_and_learns_who_is_there() {
    check(
        Rules { initial_delay_ms: 3_000, ..rules() },
        "state; join 1; join 2; state; at 6000; state",
        &[
            "Empty 0",
            "PreparingRebalance 0",
            "1: m1 in 1 range leads m1 m2",
            "2: m2 in 1 range follows m1",
            "CompletingRebalance 1",
        ],
    );
}

#[test]
fn the_first_round_waits_longer_for_each_that_comes_but_not_for_ever() {
    let rules = Rules { initial_delay_ms: 3_000, ..rules() };
    check(rules, "join 1; at 2999; state; at 3000", &["PreparingRebalance 0", "1: m1 in 1 range leads m1"]);
    // A newcomer in the first three seconds adds three; after seven, the rebalance timeout, it is over.
    check(
        rules,
        "join 1 rebalance=7000; at 2000; join 2 rebalance=7000; at 5000; join 3 rebalance=7000; at 6500;
         join 4 rebalance=7000; at 6999; state; at 7000; state",
        &[
            "PreparingRebalance 0",
            "1: m1 in 1 range leads m1 m2 m3 m4",
            "2: m2 in 1 range follows m1",
            "3: m3 in 1 range follows m1",
            "4: m4 in 1 range follows m1",
            "CompletingRebalance 1",
        ],
    );
}

#[test]
fn a_newcomer_is_told_its_id_first_if_it_understands_that() {
    check(
        rules(),
        "join 1 needs_id; state; join 2 as=m1 needs_id; at 0",
        &["1: come back as m1", "Empty 0", "2: m1 in 1 range leads m1"],
    );
    // It comes back in time or not at all.
    check(
        rules(),
        "join 1 needs_id; timeout; at 9999; at 10000; join 2 as=m1",
        &["1: come back as m1", "timeout Some(10000)", "2: the group has no such member"],
    );
}

#[test]
fn a_round_waits_for_pending_members() {
    let story = "join 1; at 0; sync 2 as=m1 gen=1; join 3 needs_id; join 4 as=m1; state;";
    let so_far = ["1: m1 in 1 range leads m1", "2: gets ", "3: come back as m3", "PreparingRebalance 1"];
    let check_more = |more: &str, expected: &[&str]| {
        check(rules(), &format!("{story} {more}"), &[&so_far[..], expected].concat());
    };
    check_more("join 5 as=m3", &["4: m1 in 2 range leads m1 m3", "5: m3 in 2 range follows m1"]);
    check_more("leave m3", &["m3 left", "4: m1 in 2 range leads m1"]);
    check_more("at 10000", &["4: m1 in 2 range leads m1"]);
}

#[test]
fn a_member_that_comes_or_changes_its_mind_starts_a_round() {
    check(
        rules(),
        "join 1; at 0; sync 2 as=m1 gen=1 gives=m1:p; beat as=m1 gen=1; join 3; beat as=m1 gen=1; join 4 as=m1;
         sync 5 as=m1 gen=2 gives=m1:p,m3:q; sync 6 as=m3 gen=2; state;
         join 7 as=m3 says=more; beat as=m1 gen=2; join 8 as=m1",
        &[
            "1: m1 in 1 range leads m1",
            "2: gets p",
            "m1 beats",
            "m1 the group is rebalancing",
            "4: m1 in 2 range leads m1 m3",
            "3: m3 in 2 range follows m1",
            "5: gets p",
            "6: gets q",
            "Stable 2",
            "m1 the group is rebalancing",
            "8: m1 in 3 range leads m1 m3",
            "7: m3 in 3 range follows m1",
        ],
    );
}

#[test]
fn who_joins_again_with_nothing_new_is_told_what_it_may_have_missed() {
    let formed = "join 1; at 0; join 2; join 3 as=m1;";
    // While shares are worked out even the leader.
    check(
        rules(),
        &format!("{formed} join 4 as=m1; join 5 as=m2; state"),
        &[
            "1: m1 in 1 range leads m1",
            "3: m1 in 2 range leads m1 m2",
            "2: m2 in 2 range follows m1",
            "4: m1 in 2 range leads m1 m2",
            "5: m2 in 2 range follows m1",
            "CompletingRebalance 2",
        ],
    );
    // Later the leader has a reason: it saw new partitions, perhaps.
    check(
        rules(),
        &format!("{formed} sync 4 as=m1 gen=2; join 5 as=m2; state; join 6 as=m1; state"),
        &[
            "1: m1 in 1 range leads m1",
            "3: m1 in 2 range leads m1 m2",
            "2: m2 in 2 range follows m1",
            "4: gets ",
            "5: m2 in 2 range follows m1",
            "Stable 2",
            "PreparingRebalance 2",
        ],
    );
}

#[test]
fn of_two_joins_of_one_member_the_later_counts() {
    check(
        rules(),
        "join 1; at 0; join 2; join 3 as=m2; join 4 as=m1",
        &[
            "1: m1 in 1 range leads m1",
            "2: the group is rebalancing",
            "4: m1 in 2 range leads m1 m2",
            "3: m2 in 2 range follows m1",
        ],
    );
}

#[test]
fn members_vote_for_what_all_of_them_know() {
    let rules = Rules { initial_delay_ms: 1, ..rules() };
    check(
        rules,
        "join 1 knows=range,sticky; join 2 knows=sticky,range; join 3 knows=new,sticky,range; at 9; describe",
        &[
            "1: m1 in 1 sticky leads m1 m2 m3",
            "2: m2 in 1 sticky follows m1",
            "3: m3 in 1 sticky follows m1",
            "CompletingRebalance consumer none",
            "m1 none client@host \"\" \"\"",
            "m2 none client@host \"\" \"\"",
            "m3 none client@host \"\" \"\"",
        ],
    );
}

#[test]
fn protocols_must_go_with_those_of_the_others() {
    let refused = "the member's protocols do not go with those of the group";
    check(
        rules(),
        "join 1 type=connect knows=; join 2 knows=range,sticky; join 3 type=connect; join 4 knows=new;
         join 5 knows=new,sticky; at 0",
        &[
            &format!("1: {refused}"),
            &format!("3: {refused}"),
            &format!("4: {refused}"),
            "2: m2 in 1 sticky leads m2 m5",
            "5: m5 in 1 sticky follows m2",
        ],
    );
}

#[test]
fn a_member_knows_a_limited_number_of_protocols() {
    let knowing = |count| format!("join 1 knows={}; at 0", vec!["range"; count].join(","));
    check(rules(), &knowing(64), &["1: m1 in 1 range leads m1"]);
    check(rules(), &knowing(65), &["1: the member's protocols do not go with those of the group"]);
}

#[test]
fn those_who_do_not_join_again_in_time_are_out() {
    check(
        rules(),
        "join 1 rebalance=5000; at 0; sync 2 as=m1 gen=1; join 3 rebalance=4000; beat as=m1 gen=1; timeout; at 5000;
         sync 4 as=m1 gen=1",
        &[
            "1: m1 in 1 range leads m1",
            "2: gets ",
            "m1 the group is rebalancing",
            "timeout Some(5000)",
            "3: m3 in 2 range leads m3",
            "4: the group has no such member",
        ],
    );
}

#[test]
fn a_newcomer_that_waits_five_minutes_asks_again() {
    check(
        rules(),
        "join 1 rebalance=900000 session=600000; at 0; sync 2 as=m1 gen=1; at 100000; join 3; at 399999;
         beat as=m1 gen=1; at 400000; state",
        &[
            "1: m1 in 1 range leads m1",
            "2: gets ",
            "m1 the group is rebalancing",
            "3: the group has no such member",
            "PreparingRebalance 1",
        ],
    );
}

#[test]
fn a_group_has_room_for_so_many() {
    let rules = Rules { members_max: 2, initial_delay_ms: 1, ..rules() };
    let full = "the group has as many members as it may";
    check(
        rules,
        "join 1; join 2; join 3; at 9; join 4; join 5 as=m2",
        &[
            &format!("3: {full}"),
            "1: m1 in 1 range leads m1 m2",
            "2: m2 in 1 range follows m1",
            &format!("4: {full}"),
            "5: m2 in 1 range follows m1",
        ],
    );
    // As many may be on their way in.
    check(
        rules,
        "join 1 needs_id; join 2 needs_id; join 3 needs_id",
        &["1: come back as m1", "2: come back as m2", &format!("3: {full}")],
    );
}

#[test]
fn with_less_room_after_a_restart_the_last_to_join_stay_out() {
    let one = Rules { members_max: 1, ..rules() };
    check_restart_with(
        one,
        "join 5 as=m1; join 6 as=m2",
        &["5: m1 in 3 range leads m1", "6: the group has as many members as it may"],
    );
}

#[test]
fn a_session_timeout_is_within_the_operators_limits() {
    let refused = "the session timeout is out of range";
    check(
        rules(),
        "join 1 session=5999; join 2 session=1800001; join 3 session=6000; at 0",
        &[&format!("1: {refused}"), &format!("2: {refused}"), "3: m3 in 1 range leads m3"],
    );
}

/// Two members form a stable group; then it starts anew with other rules.
#[track_caller]
fn check_restart_with(later: Rules, script: &str, expected: &[&str]) {
    let formed = "join 1; at 0; join 2; join 3 as=m1; sync 4 as=m1 gen=2;";
    check_changing(rules(), later, &format!("{formed} restart; {script}"), expected);
}
