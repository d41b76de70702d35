//! With a log behind it: what is written, let go of, loaded, and found again after a restart.

use super::script::{check, dead_letters, most, plain};
use crate::queue::{Overflow, Rules};

#[test]
fn evicted_messages_are_loaded_before_they_go() {
    check(
        plain(),
        "publish a; publish b; publish c; write; stored; evict; subscribe 1; load; accept a b c; count; settled",
        &[
            "written a b c",
            "deliver a to 1",
            "load b",
            "deliver b to 1",
            "deliver c to 1",
            "ready 0 (0 bytes) held 0 leaving 0 lost 0",
            "settled [0..3]",
        ],
    );
}

#[test]
fn only_what_is_stored_is_let_go() {
    check(
        plain(),
        "publish a; publish b; write; evict; publish c/transient; write; stored; publish d; subscribe 1",
        &["written a b", "written ", "deliver a to 1", "deliver b to 1", "deliver c to 1", "deliver d to 1"],
    );
}

#[test]
fn a_get_waits_for_the_head_to_be_loaded() {
    let start = "publish a; publish b; write; stored; evict; get 1; get 2;";
    let loads = ["written a b", "got 1 a, 1 wait", "load b"];
    check(plain(), &format!("{start} load"), &[&loads[..], &["got 2 b, 0 wait"]].concat());
    check(plain(), &format!("{start} purge"), &[&loads[..], &["purged 1", "got 2 nothing"]].concat());
    check(plain(), &format!("{start} close"), &[&loads[..], &["got 2 nothing"]].concat());
}

#[test]
fn a_message_released_while_evicted_finds_its_place_before_others_go() {
    check(
        plain(),
        "publish a; publish b; publish c; write; stored; get 1; get 2; evict; release a b; count; subscribe 1; load; count",
        &[
            "written a b c",
            "got 1 a, 2 wait",
            "got 2 b, 1 wait",
            "load a",
            "ready 3 (1 bytes) held 0 leaving 0 lost 0",
            "deliver a again to 1",
            "deliver b again to 1",
            "deliver c to 1",
            "ready 0 (0 bytes) held 3 leaving 0 lost 0",
        ],
    );
}

#[test]
fn an_evicted_message_leaves_when_it_is_loaded() {
    check(
        dead_letters(),
        "publish a; publish b; write; stored; get 1; evict; reject a; count; load; dead_lettered a; settled",
        &[
            "written a b",
            "got 1 a, 1 wait",
            "load a",
            "ready 1 (1 bytes) held 0 leaving 1 lost 0",
            "dead a Rejected",
            "settled [0..1]",
        ],
    );
}

#[test]
fn what_the_log_lost_is_counted_and_not_waited_for() {
    check(
        dead_letters(),
        "publish a/size=3; publish b/size=3; publish c/size=3; publish d/size=3; write; stored; get 1; get 2; evict; \
         damage a; damage b; damage d; release a; reject b; load; count; subscribe 1; count; settled",
        &[
            "written a b c d",
            "got 1 a, 3 wait",
            "got 2 b, 2 wait",
            "load a",
            "ready 1 (3 bytes) held 0 leaving 0 lost 3",
            "deliver c to 1",
            "ready 0 (0 bytes) held 1 leaving 0 lost 3",
            "settled [3..4, 0..2]",
        ],
    );
}

#[test]
fn a_restart_keeps_what_was_written_and_not_settled() {
    let script = |certain| {
        format!(
            "publish a b/transient c d; subscribe 1 prefetch=1; accept a; write; stored; restart {certain}; \
             count; subscribe 2; load; publish e; write"
        )
    };
    let before = [
        "deliver a to 1",
        "deliver b to 1",
        "written c d",
        "load c",
        "ready 2 (2 bytes) held 0 leaving 0 lost 0",
    ];
    let after = ["deliver c to 2", "deliver d to 2", "deliver e to 2", "written e"];
    check(plain(), &script("certain"), &[&before[..], &after[..]].concat());
    let again = ["deliver c again to 2", "deliver d again to 2", after[2], after[3]];
    check(plain(), &script("uncertain"), &[&before[..], &again[..]].concat());
}

#[test]
fn a_clean_stop_remembers_who_was_given_out_and_any_stop_how_often() {
    let script = |certain| {
        format!(
            "publish a b c d; subscribe 1 prefetch=2; release a; release a; write; stored; restart {certain}; load; \
             subscribe 2"
        )
    };
    let before = ["deliver a to 1", "deliver b to 1", "deliver a again to 1", "deliver a again (2) to 1"];
    let after = |others: [&'static str; 3]| {
        [&before[..], &["written a b c d", "load a", "deliver a again (2) to 2"], &others].concat()
    };
    let certain = ["deliver b again to 2", "deliver c to 2", "deliver d to 2"];
    check(plain(), &script("certain"), &after(certain));
    let uncertain = ["deliver b again to 2", "deliver c again to 2", "deliver d again to 2"];
    check(plain(), &script("uncertain"), &after(uncertain));
}

#[test]
fn what_was_rejected_but_is_not_with_the_dead_letters_comes_back_marked() {
    check(
        dead_letters(),
        "publish a b; write; stored; get 1; reject a; restart certain; load; get 2; get 3",
        &[
            "written a b",
            "got 1 a, 1 wait",
            "dead a Rejected",
            "load a",
            "got 2 a again, 1 wait",
            "got 3 b, 0 wait",
        ],
    );
}

#[test]
fn what_was_leaving_for_its_returns_leaves_after_a_restart() {
    let rules = Rules { delivery_limit: Some(1), ..dead_letters() };
    check(
        rules,
        "publish a b; write; stored; subscribe 1; release a; release a; restart certain; load; load; count; \
         dead_lettered a; settled",
        &[
            "written a b",
            "deliver a to 1",
            "deliver b to 1",
            "deliver a again to 1",
            "dead a DeliveryLimit",
            "load b",
            "load a",
            "dead a DeliveryLimit",
            "ready 1 (1 bytes) held 0 leaving 1 lost 0",
            "settled [0..1]",
        ],
    );
}

#[test]
fn a_message_held_while_evicted_can_still_be_accepted() {
    check(
        plain(),
        "publish a; publish b; write; stored; get 1; evict; accept a; settled; get 2; count",
        &[
            "written a b",
            "got 1 a, 1 wait",
            "settled [0..1]",
            "got 2 b, 0 wait",
            "ready 0 (0 bytes) held 1 leaving 0 lost 0",
        ],
    );
}

#[test]
fn what_is_settled_while_it_is_loaded_stays_settled() {
    check(
        plain(),
        "publish a b; publish c; write; stored; get 1; get 2; evict; release a; accept b; load; count; \
         release a; get 3; accept a; settled",
        &[
            "written a b c",
            "got 1 a, 2 wait",
            "got 2 b, 1 wait",
            "load a",
            "ready 2 (2 bytes) held 0 leaving 0 lost 0",
            "got 3 a again, 1 wait",
            "settled [1..2, 0..1]",
        ],
    );
}

#[test]
fn a_long_queue_of_limited_length_loads_its_head_to_drop_it() {
    check(
        most(2, Overflow::DropHead),
        "publish a; publish b; write; stored; get 1; evict; release a; publish c; count; load; count",
        &[
            "written a b",
            "got 1 a, 1 wait",
            "load a",
            "ready 3 (2 bytes) held 0 leaving 0 lost 0",
            "dead a MaxLength",
            "ready 2 (2 bytes) held 0 leaving 1 lost 0",
        ],
    );
}
