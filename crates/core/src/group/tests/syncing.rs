//! Shares: handed in by the leader, kept, handed out; and signs of life.

use super::script::{check, rules};

/// Three members that have joined generation 2.
const JOINED: &str = "join 1; at 0; join 2; join 3; join 4 as=m1;";
const JOINING: [&str; 4] = [
    "1: m1 in 1 range leads m1",
    "4: m1 in 2 range leads m1 m2 m3",
    "2: m2 in 2 range follows m1",
    "3: m3 in 2 range follows m1",
];

#[track_caller]
fn check_joined(script: &str, expected: &[&str]) {
    check(rules(), &format!("{JOINED} {script}"), &[&JOINING[..], expected].concat());
}

#[test]
fn shares_are_given_out_when_they_are_on_disk() {
    check_joined(
        "hold; sync 5 as=m2 gen=2; sync 6 as=m1 gen=2 gives=m1:p,m2:q,m9:r; state; persist; log; sync 7 as=m3 gen=2; state; describe",
        &[
            "CompletingRebalance 2",
            "6: gets p",
            "5: gets q",
            "log generation 2 m1:p m2:q m3:",
            "7: gets ",
            "Stable 2",
            "Stable consumer range",
            "m1 none client@host \"t\" \"p\"",
            "m2 none client@host \"t\" \"q\"",
            "m3 none client@host \"t\" \"\"",
        ],
    );
}

#[test]
fn only_members_of_this_generation_sync() {
    check_joined(
        "sync 5 as=m9 gen=2; sync 6 gen=2; sync 7 as=m2 gen=1; sync 8 as=m2 gen=2 type=connect;
         sync 9 as=m2 gen=2 protocol=sticky; join 10; sync 11 as=m2 gen=2 type=consumer protocol=range",
        &[
            "5: the group has no such member",
            "6: the group has no such member",
            "7: the generation is not the group's",
            "8: the member's protocols do not go with those of the group",
            "9: the member's protocols do not go with those of the group",
            "11: the group is rebalancing",
        ],
    );
}

#[test]
fn who_waits_for_its_share_is_told_when_a_new_round_begins() {
    check_joined(
        "sync 5 as=m2 gen=2; leave m3; state",
        &["m3 left", "5: the group is rebalancing", "PreparingRebalance 2"],
    );
    check_joined(
        "sync 5 as=m2 gen=2; leave m2; state",
        &["m2 left", "5: the group has no such member", "PreparingRebalance 2"],
    );
}

#[test]
fn shares_that_a_new_round_overtakes_are_not_given_out() {
    check_joined(
        "hold; sync 5 as=m1 gen=2 gives=m1:p; leave m3; persist; state",
        &["m3 left", "5: the group is rebalancing", "PreparingRebalance 2"],
    );
}

#[test]
fn shares_that_were_overtaken_are_not_taken_for_those_of_the_next_round() {
    check_joined(
        "hold; sync 5 as=m1 gen=2 gives=m1:p; join 6 as=m2 says=more; join 7 as=m1; join 8 as=m3;
         sync 9 as=m2 gen=3; persist; state; sync 10 as=m1 gen=3 gives=m1:q,m2:r; persist",
        &[
            "5: the group is rebalancing",
            "7: m1 in 3 range leads m1 m2 m3",
            "6: m2 in 3 range follows m1",
            "8: m3 in 3 range follows m1",
            "CompletingRebalance 3",
            "10: gets q",
            "9: gets r",
        ],
    );
}

#[test]
fn shares_that_cannot_be_written_start_a_new_round() {
    check_joined(
        "hold; sync 5 as=m1 gen=2 gives=m1:p; sync 6 as=m2 gen=2; fail; state",
        &[
            "5: the write that it depends on failed",
            "6: the write that it depends on failed",
            "PreparingRebalance 2",
        ],
    );
}

#[test]
fn a_leader_that_asks_twice_is_taken_by_its_first_word() {
    check_joined(
        "hold; sync 5 as=m1 gen=2 gives=m1:p; sync 6 as=m1 gen=2 gives=m1:q; persist; sync 7 as=m1 gen=2; log",
        &["5: the group is rebalancing", "6: gets p", "7: gets p", "log generation 2 m1:p m2: m3:"],
    );
}

#[test]
fn those_who_join_and_never_sync_are_out_after_the_rebalance_timeout() {
    check(
        rules(),
        "join 1 rebalance=8000; at 0; join 2 rebalance=8000; join 3 as=m1 rebalance=8000; sync 4 as=m1 gen=2; state;
         at 7999; state; at 8000; state; beat as=m2 gen=2",
        &[
            "1: m1 in 1 range leads m1",
            "3: m1 in 2 range leads m1 m2",
            "2: m2 in 2 range follows m1",
            "4: gets ",
            "Stable 2",
            "Stable 2",
            "PreparingRebalance 2",
            "m2 the group has no such member",
        ],
    );
    // A leader too.
    check(
        rules(),
        "join 1 rebalance=8000; at 0; join 2 rebalance=8000; join 3 as=m1 rebalance=8000; sync 4 as=m2 gen=2; at 8000; join 5 as=m2",
        &[
            "1: m1 in 1 range leads m1",
            "3: m1 in 2 range leads m1 m2",
            "2: m2 in 2 range follows m1",
            "4: the group is rebalancing",
            "5: m2 in 3 range leads m2",
        ],
    );
}

#[test]
fn a_member_that_falls_silent_is_out() {
    check_joined(
        "sync 5 as=m1 gen=2; sync 6 as=m2 gen=2; sync 7 as=m3 gen=2; at 6000; beat as=m1 gen=2; beat as=m2 gen=2;
         at 9999; state; at 10000; beat as=m1 gen=2; beat as=m3 gen=2",
        &[
            "5: gets ",
            "6: gets ",
            "7: gets ",
            "m1 beats",
            "m2 beats",
            "Stable 2",
            "m1 the group is rebalancing",
            "m3 the group has no such member",
        ],
    );
}

#[test]
fn who_waits_for_an_answer_is_not_expected_to_say_anything() {
    // m2 joins again and m3 does not; after that both are quiet for longer than their sessions.
    check_joined(
        "sync 5 as=m1 gen=2; sync 6 as=m2 gen=2; sync 7 as=m3 gen=2; join 8 as=m1; join 9 as=m2; at 10000; state",
        &[
            "5: gets ",
            "6: gets ",
            "7: gets ",
            "8: m1 in 3 range leads m1 m2",
            "9: m2 in 3 range follows m1",
            "CompletingRebalance 3",
        ],
    );
}

#[test]
fn a_heartbeat_tells_what_the_member_must_do() {
    check_joined(
        "beat as=m1 gen=2; beat as=m1 gen=1; beat as=m9 gen=2; join 5; beat as=m1 gen=2",
        &[
            "m1 beats",
            "m1 the generation is not the group's",
            "m9 the group has no such member",
            "m1 the group is rebalancing",
        ],
    );
}

#[test]
fn after_a_restart_members_go_on_with_fresh_sessions() {
    check_joined(
        "sync 5 as=m1 gen=2 gives=m1:p,m2:q; at 9000; restart; state; timeout; sync 6 as=m2 gen=2; beat as=m3 gen=2;
         join 7 as=m2; describe; subscribed; at 19000; state; log",
        &[
            "5: gets p",
            "Stable 2",
            "timeout Some(19000)",
            "6: gets q",
            "m3 beats",
            "7: m2 in 2 range follows m1",
            "Stable consumer range",
            "m1 none client@host \"t\" \"p\"",
            "m2 none client@host \"t\" \"q\"",
            "m3 none client@host \"t\" \"\"",
            "Some({\"t\"})",
            "Empty 3",
            "log generation 2 m1:p m2:q m3:",
            "log generation 3",
        ],
    );
    // A generation that nobody has shares of yet is forgotten.
    check_joined(
        "sync 5 as=m1 gen=2; join 6 as=m1; join 7 as=m2; join 8 as=m3; restart; state; beat as=m1 gen=3",
        &[
            "5: gets ",
            "6: m1 in 3 range leads m1 m2 m3",
            "7: m2 in 3 range follows m1",
            "8: m3 in 3 range follows m1",
            "Stable 2",
            "m1 the generation is not the group's",
        ],
    );
}
