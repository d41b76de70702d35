//! Who gets which message, and when it comes back.

use super::script::{check, plain, priorities};
use crate::queue::Rules;

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
            "deliver c again (2) to 1",
        ],
    );
}

#[test]
fn settling_twice_or_what_nobody_holds_does_nothing() {
    check(
        plain(),
        "publish a b; subscribe 1 prefetch=1; accept a a; accept a; reject a; release a; settled; count",
        &["deliver a to 1", "deliver b to 1", "settled [0..1]", "ready 0 (0 bytes) held 1 leaving 0 lost 0"],
    );
}

#[test]
fn consumers_take_turns() {
    check(
        plain(),
        "subscribe 1; subscribe 2; publish a b c d",
        &["deliver a to 1", "deliver b to 2", "deliver c to 1", "deliver d to 2"],
    );
}

#[test]
fn a_full_consumer_is_passed_over_and_then_stands_at_the_end() {
    check(
        plain(),
        "subscribe 1 prefetch=1; subscribe 2; publish a b c; accept a; publish d e",
        &["deliver a to 1", "deliver b to 2", "deliver c to 2", "deliver d to 2", "deliver e to 1"],
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
    let rules = Rules { single_active_consumer: true, ..plain() };
    check(
        rules,
        "subscribe 1 prefetch=1; subscribe 2; publish a b c; unsubscribe 1; release a; subscribe 3; publish d",
        &["deliver a to 1", "deliver b to 2", "deliver c to 2", "deliver a again to 2", "deliver d to 2"],
    );
}

#[test]
fn where_consumers_take_turns_none_is_exclusive() {
    let rules = Rules { single_active_consumer: true, ..plain() };
    check(
        rules,
        "subscribe 1 exclusive; subscribe 2; publish a",
        &["the queue serves one consumer after another, so none can be exclusive", "deliver a to 2"],
    );
}

#[test]
fn an_exclusive_consumer_wants_to_be_alone() {
    check(
        plain(),
        "subscribe 1 exclusive; subscribe 2; unsubscribe 1; subscribe 3; subscribe 4 exclusive",
        &["the queue has an exclusive consumer", "the queue has consumers, so none can be exclusive"],
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
        &["deliver a to 1", "deliver b to 1", "deliver c to 1", "deliver d to 1", "deliver e to 1"],
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
