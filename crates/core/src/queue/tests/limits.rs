//! Lifetimes, lengths and returns: who leaves unwanted, and when the queue goes.

use super::script::{check, dead_letters, most, plain};
use crate::queue::{Overflow, Rules};

#[test]
fn the_shorter_of_two_lifetimes_counts_and_only_the_head_expires() {
    let rules = Rules { message_ttl_ms: Some(100), ..dead_letters() };
    check(
        rules,
        "publish a b/ttl=10 c/ttl=1000; timeout; at 50; at 99; count; at 100; timeout; count",
        &[
            "timeout Some(100)",
            "ready 3 (3 bytes) held 0 leaving 0 lost 0",
            "dead a Expired",
            "dead b Expired",
            "dead c Expired",
            "timeout None",
            "ready 0 (0 bytes) held 0 leaving 3 lost 0",
        ],
    );
}

#[test]
fn zero_milliseconds_are_enough_for_a_consumer_at_hand() {
    check(
        dead_letters(),
        "publish a/ttl=0; subscribe 1 prefetch=1; publish b/ttl=0 c/ttl=0; release b; count",
        &[
            "dead a Expired",
            "deliver b to 1",
            "dead c Expired",
            "dead b Expired",
            "ready 0 (0 bytes) held 0 leaving 3 lost 0",
        ],
    );
}

#[test]
fn a_message_that_never_expires_shields_those_behind_it() {
    check(
        dead_letters(),
        "publish a b/ttl=5; at 10; count; get 1; count",
        &[
            "ready 2 (2 bytes) held 0 leaving 0 lost 0",
            "got 1 a, 1 wait",
            "dead b Expired",
            "ready 0 (0 bytes) held 1 leaving 1 lost 0",
        ],
    );
}

#[test]
fn an_expired_message_is_never_handed_out() {
    check(plain(), "publish a/ttl=5 b; at 10; get 1; settled", &["got 1 b, 0 wait", "settled [0..1]"]);
}

#[test]
fn a_queue_that_nobody_uses_says_so() {
    let rules = Rules { expires_ms: Some(100), ..plain() };
    check(
        rules,
        "timeout; at 50; touch; at 149; get 1; at 248; subscribe 1; timeout; at 1000; unsubscribe 1; at 1099; at 1100",
        &["timeout Some(100)", "got 1 nothing", "timeout None", "unused"],
    );
}

#[test]
fn an_auto_delete_queue_goes_with_its_last_consumer() {
    let rules = Rules { auto_delete: true, ..plain() };
    check(rules, "at 10; unsubscribe 9; subscribe 1; subscribe 2; unsubscribe 1; unsubscribe 2", &["unused"]);
}

#[test]
fn the_oldest_make_room() {
    check(
        most(2, Overflow::DropHead),
        "publish a b c; count; subscribe 1 prefetch=1; publish d e; settled; dead_lettered a; settled; count",
        &[
            "dead a MaxLength",
            "ready 2 (2 bytes) held 0 leaving 1 lost 0",
            "deliver b to 1",
            "dead c MaxLength",
            "settled []",
            "settled [0..1]",
            "ready 2 (2 bytes) held 1 leaving 1 lost 0",
        ],
    );
}

#[test]
fn a_queue_of_length_zero_serves_who_is_there() {
    check(
        most(0, Overflow::DropHead),
        "publish a; subscribe 1 prefetch=1; publish b c; release b",
        &["dead a MaxLength", "deliver b to 1", "dead c MaxLength", "deliver b again to 1"],
    );
}

#[test]
fn a_full_queue_refuses_newcomers() {
    check(
        most(2, Overflow::RejectPublish),
        "publish a b c; subscribe 1 prefetch=1; publish d e; count; write",
        &[
            "refused c",
            "deliver a to 1",
            "refused e",
            "ready 2 (2 bytes) held 1 leaving 0 lost 0",
            "written a b d",
        ],
    );
    check(
        most(1, Overflow::RejectPublishDeadLetter),
        "publish a b; count",
        &["refused b", "dead b refused", "ready 1 (1 bytes) held 0 leaving 0 lost 0"],
    );
}

#[test]
fn bytes_are_limited_too() {
    let rules = |overflow| Rules { length_bytes_max: Some(10), overflow, ..plain() };
    check(
        rules(Overflow::DropHead),
        "publish a/size=4 b/size=4 c/size=4; count; publish d/size=11; count",
        &["ready 2 (8 bytes) held 0 leaving 0 lost 0", "ready 0 (0 bytes) held 0 leaving 0 lost 0"],
    );
    check(
        rules(Overflow::RejectPublish),
        "publish a/size=8 b/size=8 c; count",
        &["refused c", "ready 2 (16 bytes) held 0 leaving 0 lost 0"],
    );
}

#[test]
fn a_rejected_message_leaves_and_is_settled_when_it_has_arrived() {
    check(
        dead_letters(),
        "publish a; get 1; reject a; count; settled; dead_lettered a; dead_lettered a; settled; count",
        &[
            "got 1 a, 0 wait",
            "dead a Rejected",
            "ready 0 (0 bytes) held 0 leaving 1 lost 0",
            "settled []",
            "settled [0..1]",
            "ready 0 (0 bytes) held 0 leaving 0 lost 0",
        ],
    );
    check(plain(), "publish a; get 1; reject a; settled", &["got 1 a, 0 wait", "settled [0..1]"]);
}

#[test]
fn past_the_delivery_limit_a_message_leaves() {
    let rules = Rules { delivery_limit: Some(2), ..dead_letters() };
    check(
        rules,
        "publish a; subscribe 1; release a; release a; release a",
        &["deliver a to 1", "deliver a again to 1", "deliver a again (2) to 1", "dead a DeliveryLimit"],
    );
}

#[test]
fn holding_too_long_is_noticed_once_a_sweep() {
    let rules = Rules { consumer_timeout_ms: Some(100_000), ..plain() };
    check(
        rules,
        "timeout; subscribe 1; publish a b c; get 7; publish d; timeout; at 60000; get 8; at 120000; accept a b c d; at 180000; timeout",
        &[
            "timeout None",
            "deliver a to 1",
            "deliver b to 1",
            "deliver c to 1",
            "got 7 nothing",
            "deliver d to 1",
            "timeout Some(60000)",
            "got 8 nothing",
            "overdue Consumer(ConsumerId(1))",
            "timeout None",
        ],
    );
}

#[test]
fn a_message_without_body_counts_as_one_of_no_bytes() {
    check(
        plain(),
        "publish a/size=0 b/size=2; count; get 1; count",
        &[
            "ready 2 (2 bytes) held 0 leaving 0 lost 0",
            "got 1 a, 1 wait",
            "ready 1 (2 bytes) held 1 leaving 0 lost 0",
        ],
    );
}

#[test]
fn what_is_held_until_due_leaves_by_its_own_time_whatever_stands_before_it() {
    let rules = Rules { holds_until_due: true, ..dead_letters() };
    check(
        rules,
        "publish a/ttl=100 b/ttl=10 c/ttl=50; timeout; write; stored; evict; at 20; load; at 60; timeout; at 100; load",
        &[
            "timeout Some(10)",
            "written a b c",
            "load b",
            "dead b Due",
            "dead c Due",
            "timeout Some(100)",
            "load a",
            "dead a Due",
        ],
    );
}

#[test]
fn so_many_leave_at_a_time_and_the_rest_waits_where_it_is() {
    let rules = Rules { leaving_max: Some(1), ..dead_letters() };
    check(
        rules,
        "publish a b/ttl=5 c/ttl=5 d; get 1; at 10; count; timeout; get 2; reject a; count; \
         dead_lettered b; dead_lettered a; dead_lettered c; count",
        &[
            "got 1 a, 3 wait",
            "dead b Expired",
            "ready 2 (2 bytes) held 1 leaving 1 lost 0",
            "timeout None",
            "ready 2 (2 bytes) held 0 leaving 2 lost 0",
            "dead a Rejected",
            "dead c Expired",
            "got 2 d, 0 wait",
            "ready 0 (0 bytes) held 1 leaving 0 lost 0",
        ],
    );
    let rules = Rules { leaving_bytes_max: Some(5), ..most(1, Overflow::DropHead) };
    check(
        rules,
        "publish a/size=3 b/size=3 c/size=3 d; count; dead_lettered a; close",
        &[
            "dead a MaxLength",
            "dead b MaxLength",
            "ready 2 (4 bytes) held 0 leaving 2 lost 0",
            "dead c MaxLength",
        ],
    );
}

#[test]
fn who_was_refused_leaves_even_with_the_queue() {
    let rules = Rules { leaving_max: Some(1), ..dead_letters() };
    check(
        rules,
        "publish a b; get 1; get 2; reject a b; close",
        &["got 1 a, 1 wait", "got 2 b, 0 wait", "dead a Rejected", "dead b Rejected"],
    );
}
