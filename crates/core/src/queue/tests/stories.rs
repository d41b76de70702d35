//! What a queue does, one story at a time.

use super::script::check;
use crate::queue::{Overflow, Rules};

fn plain() -> Rules {
    Rules::default()
}

fn dead_letters() -> Rules {
    Rules {
        dead_letters: true,
        ..plain()
    }
}

fn priorities() -> Rules {
    Rules {
        priority_max: 5,
        ..plain()
    }
}

fn most(length_max: u64, overflow: Overflow) -> Rules {
    Rules {
        length_max: Some(length_max),
        overflow,
        ..dead_letters()
    }
}

#[test]
fn messages_go_to_a_consumer_in_the_order_they_came() {
    check(
        plain(),
        "publish a b; subscribe 1; publish c; count; accept a c b; count; settled",
        &[
            "deliver a to 1",
            "deliver b to 1",
            "deliver c to 1",
            "ready 0 (0 bytes) held 3 leaving 0 lost 0",
            "ready 0 (0 bytes) held 0 leaving 0 lost 0",
            "settled [0..1, 2..3, 1..2]",
        ],
    );
}

#[test]
fn an_empty_publish_leaves_nothing_behind() {
    check(plain(), "subscribe 1; publish; publish a", &["deliver a to 1"]);
}

#[test]
fn without_acks_a_message_is_settled_when_it_goes() {
    check(
        plain(),
        "subscribe 1 no_ack prefetch=1; publish a b; count; settled; write",
        &[
            "deliver a to 1",
            "deliver b to 1",
            "ready 0 (0 bytes) held 0 leaving 0 lost 0",
            "settled [0..2]",
            "written ",
        ],
    );
}

#[test]
fn a_released_message_comes_back_to_its_place_and_says_so() {
    check(
        plain(),
        "publish a b c; subscribe 1 prefetch=1; release a; accept a; accept b; release c; release c",
        &[
            "deliver a to 1",
            "deliver a again to 1",
            "deliver b to 1",
            "deliver c to 1",
            "deliver c again to 1",
            "deliver c again to 1",
        ],
    );
}

#[test]
fn settling_twice_or_what_nobody_holds_does_nothing() {
    check(
        plain(),
        "publish a b; subscribe 1 prefetch=1; accept a a; accept a; reject a; release a; settled; count",
        &[
            "deliver a to 1",
            "deliver b to 1",
            "settled [0..1]",
            "ready 0 (0 bytes) held 1 leaving 0 lost 0",
        ],
    );
}

#[test]
fn consumers_take_turns() {
    check(
        plain(),
        "subscribe 1; subscribe 2; publish a b c d",
        &[
            "deliver a to 1",
            "deliver b to 2",
            "deliver c to 1",
            "deliver d to 2",
        ],
    );
}

#[test]
fn a_full_consumer_is_passed_over_and_then_stands_at_the_end() {
    check(
        plain(),
        "subscribe 1 prefetch=1; subscribe 2; publish a b c; accept a; publish d e",
        &[
            "deliver a to 1",
            "deliver b to 2",
            "deliver c to 2",
            "deliver d to 2",
            "deliver e to 1",
        ],
    );
}

#[test]
fn the_consumer_with_the_highest_priority_goes_first_while_it_has_room() {
    check(
        plain(),
        "subscribe 1; subscribe 2 priority=5 prefetch=1; publish a b; accept a; publish c",
        &["deliver a to 2", "deliver b to 1", "deliver c to 2"],
    );
}

#[test]
fn a_single_active_consumer_hands_over_when_it_leaves() {
    let rules = Rules {
        single_active_consumer: true,
        ..plain()
    };
    check(
        rules,
        "subscribe 1 prefetch=1; subscribe 2; publish a b c; unsubscribe 1; release a; subscribe 3; publish d",
        &[
            "deliver a to 1",
            "deliver b to 2",
            "deliver c to 2",
            "deliver a again to 2",
            "deliver d to 2",
        ],
    );
}

#[test]
fn an_exclusive_consumer_wants_to_be_alone() {
    check(
        plain(),
        "subscribe 1 exclusive; subscribe 2; unsubscribe 1; subscribe 3; subscribe 4 exclusive",
        &[
            "the queue has an exclusive consumer",
            "the queue has consumers, so none can be exclusive",
        ],
    );
}

#[test]
fn what_a_consumer_holds_outlives_its_subscription() {
    check(
        plain(),
        "subscribe 1; publish a b; unsubscribe 1; accept a; release b; count; subscribe 2",
        &[
            "deliver a to 1",
            "deliver b to 1",
            "ready 1 (1 bytes) held 0 leaving 0 lost 0",
            "deliver b again to 2",
        ],
    );
}

#[test]
fn a_window_opens_as_messages_leave_for_the_client() {
    check(
        plain(),
        "subscribe 1 window=2 no_ack; publish a b c d; sent 1 1; sent 1 1; publish e; sent 1 2",
        &[
            "deliver a to 1",
            "deliver b to 1",
            "deliver c to 1",
            "deliver d to 1",
            "deliver e to 1",
        ],
    );
}

#[test]
fn get_takes_one_or_says_there_is_none() {
    check(
        plain(),
        "get 1; publish a b; get 2; get 3 no_ack; get 4; release a; get 5; count",
        &[
            "got 1 nothing",
            "got 2 a, 1 wait",
            "got 3 b, 0 wait",
            "got 4 nothing",
            "got 5 a again, 0 wait",
            "ready 0 (0 bytes) held 1 leaving 0 lost 0",
        ],
    );
}

#[test]
fn purge_drops_what_waits_and_spares_what_is_held() {
    check(
        plain(),
        "publish a b c/size=5; get 1; purge; count; settled; write; purge",
        &[
            "got 1 a, 2 wait",
            "purged 2",
            "ready 0 (0 bytes) held 1 leaving 0 lost 0",
            "settled [1..3]",
            "written a",
            "purged 0",
        ],
    );
}

#[test]
fn close_ends_subscriptions_and_gets() {
    check(
        plain(),
        "publish a b c; write; stored; subscribe 1 prefetch=1; subscribe 2 window=0; accept a; close; close; accept b; count",
        &[
            "written a b c",
            "deliver a to 1",
            "deliver b to 1",
            "cancel 1",
            "cancel 2",
            "ready 1 (1 bytes) held 0 leaving 0 lost 0",
        ],
    );
}

#[test]
fn the_shorter_of_two_lifetimes_counts_and_only_the_head_expires() {
    let rules = Rules {
        message_ttl_ms: Some(100),
        ..dead_letters()
    };
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
    check(
        plain(),
        "publish a/ttl=5 b; at 10; get 1; settled",
        &["got 1 b, 0 wait", "settled [0..1]"],
    );
}

#[test]
fn a_queue_that_nobody_uses_says_so() {
    let rules = Rules {
        expires_ms: Some(100),
        ..plain()
    };
    check(
        rules,
        "timeout; at 50; touch; at 149; get 1; at 248; subscribe 1; timeout; at 1000; unsubscribe 1; at 1099; at 1100",
        &["timeout Some(100)", "got 1 nothing", "timeout None", "unused"],
    );
}

#[test]
fn an_auto_delete_queue_goes_with_its_last_consumer() {
    let rules = Rules {
        auto_delete: true,
        ..plain()
    };
    check(
        rules,
        "at 10; unsubscribe 9; subscribe 1; subscribe 2; unsubscribe 1; unsubscribe 2",
        &["unused"],
    );
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
        &[
            "dead a MaxLength",
            "deliver b to 1",
            "dead c MaxLength",
            "deliver b again to 1",
        ],
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
        &[
            "refused b",
            "dead b refused",
            "ready 1 (1 bytes) held 0 leaving 0 lost 0",
        ],
    );
}

#[test]
fn bytes_are_limited_too() {
    let rules = |overflow| Rules {
        length_bytes_max: Some(10),
        overflow,
        ..plain()
    };
    check(
        rules(Overflow::DropHead),
        "publish a/size=4 b/size=4 c/size=4; count; publish d/size=11; count",
        &[
            "ready 2 (8 bytes) held 0 leaving 0 lost 0",
            "ready 0 (0 bytes) held 0 leaving 0 lost 0",
        ],
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
    check(
        plain(),
        "publish a; get 1; reject a; settled",
        &["got 1 a, 0 wait", "settled [0..1]"],
    );
}

#[test]
fn past_the_delivery_limit_a_message_leaves() {
    let rules = Rules {
        delivery_limit: Some(2),
        ..dead_letters()
    };
    check(
        rules,
        "publish a; subscribe 1; release a; release a; release a",
        &[
            "deliver a to 1",
            "deliver a again to 1",
            "deliver a again to 1",
            "dead a DeliveryLimit",
        ],
    );
}

#[test]
fn urgent_messages_overtake() {
    check(
        priorities(),
        "publish a b/p3 c/p9 d/p5 e/p3; get 1; release c; subscribe 1; count",
        &[
            "got 1 c, 4 wait",
            "deliver c again to 1",
            "deliver d to 1",
            "deliver b to 1",
            "deliver e to 1",
            "deliver a to 1",
            "ready 0 (0 bytes) held 5 leaving 0 lost 0",
        ],
    );
}

#[test]
fn holding_too_long_is_noticed_once_a_sweep() {
    let rules = Rules {
        consumer_timeout_ms: Some(100_000),
        ..plain()
    };
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
        &[
            "written a b",
            "written ",
            "deliver a to 1",
            "deliver b to 1",
            "deliver c to 1",
            "deliver d to 1",
        ],
    );
}

#[test]
fn a_get_waits_for_the_head_to_be_loaded() {
    let start = "publish a; publish b; write; stored; evict; get 1; get 2;";
    let loads = ["written a b", "got 1 a, 1 wait", "load b"];
    check(
        plain(),
        &format!("{start} load"),
        &[&loads[..], &["got 2 b, 0 wait"]].concat(),
    );
    check(
        plain(),
        &format!("{start} purge; load"),
        &[&loads[..], &["purged 1", "got 2 nothing"]].concat(),
    );
    check(
        plain(),
        &format!("{start} close"),
        &[&loads[..], &["got 2 nothing"]].concat(),
    );
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
