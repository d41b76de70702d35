//! Messages of transactions: in their places from the start, seen after the commit.

use super::script::{check, dead_letters, most, plain, priorities};
use crate::queue::Overflow;

#[test]
fn nobody_sees_what_a_transaction_brings_before_its_commit() {
    check(
        plain(),
        "publish a; prepare 7 b c; publish d; subscribe 1 prefetch=2; count; write; commit 7; accept a d; count",
        &[
            "deliver a to 1",
            "deliver d to 1",
            "ready 0 (0 bytes) held 2 leaving 0 lost 0",
            "written a b c d",
            "deliver b to 1",
            "deliver c to 1",
            "ready 0 (0 bytes) held 2 leaving 0 lost 0",
        ],
    );
}

#[test]
fn what_a_transaction_brings_stands_where_it_came() {
    check(
        plain(),
        "prepare 1 a; publish b; prepare 2 c; commit 2; commit 1; subscribe 1",
        &["deliver a to 1", "deliver b to 1", "deliver c to 1"],
    );
    check(
        priorities(),
        "prepare 1 a b/p3 c/p3; publish d/p2; commit 1; subscribe 1",
        &["deliver b to 1", "deliver c to 1", "deliver d to 1", "deliver a to 1"],
    );
}

#[test]
fn a_commit_that_nothing_was_prepared_for_does_nothing() {
    check(plain(), "prepare 1 a; commit 1; commit 1; commit 2; subscribe 1", &["deliver a to 1"]);
}

#[test]
fn prepared_messages_can_be_let_go_of_and_come_back() {
    check(
        plain(),
        "prepare 1 a b/transient; prepare 2 c; write; stored; evict; commit 2; commit 1; subscribe 1; load; count",
        &[
            "written a c",
            "load c",
            "deliver a to 1",
            "deliver b to 1",
            "deliver c to 1",
            "ready 0 (0 bytes) held 3 leaving 0 lost 0",
        ],
    );
}

#[test]
fn a_purge_spares_what_is_not_committed() {
    check(plain(), "publish a; prepare 1 b; purge; commit 1; subscribe 1", &["purged 1", "deliver b to 1"]);
}

#[test]
fn a_full_queue_refuses_at_once_and_says_so_to_dead_letters_at_the_commit() {
    check(
        most(2, Overflow::RejectPublishDeadLetter),
        "publish a; prepare 1 b c; publish d; commit 1; count",
        &[
            "refused c",
            "refused d",
            "dead d refused",
            "dead c refused",
            "ready 2 (2 bytes) held 0 leaving 0 lost 0",
        ],
    );
}

#[test]
fn the_oldest_make_room_at_the_commit() {
    check(
        most(2, Overflow::DropHead),
        "publish a; prepare 1 b c; count; commit 1; count",
        &[
            "ready 1 (1 bytes) held 0 leaving 0 lost 0",
            "dead a MaxLength",
            "ready 2 (2 bytes) held 0 leaving 1 lost 0",
        ],
    );
}

#[test]
fn what_expired_before_the_commit_is_not_handed_out_after_it() {
    check(
        dead_letters(),
        "prepare 1 a/ttl=5; at 10; commit 1; subscribe 1; count",
        &["dead a Expired", "ready 0 (0 bytes) held 0 leaving 1 lost 0"],
    );
}
