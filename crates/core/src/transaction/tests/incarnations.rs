//! Who a producer is, and who is fenced.

use super::script::check;

const CONCURRENT: &str = "another change of this transactional id is under way";
const FENCED: &str = "a newer incarnation of this producer exists";

#[test]
fn ids_are_given_out_only_once_reserved_and_whoever_is_early_waits() {
    check(
        "hold; init a; init b; persist",
        &["reserve ids", "persist a Empty 0/0 []", "persist b Empty 1/0 []"],
    );
}

#[test]
fn ids_that_were_reserved_are_not_given_out_again_after_a_restart() {
    check("init a; restart; init b", &["1 is 0/0", "2 is 1000/0"]);
}

#[test]
fn a_new_incarnation_has_the_same_id_and_the_next_epoch() {
    let fenced = format!("3 {FENCED}");
    check("init a; init a; add a 0/0 t; add a 0/1 t", &["1 is 0/0", "2 is 0/1", &fenced, "4 added"]);
}

#[test]
fn a_new_incarnation_first_aborts_what_the_old_one_left_open() {
    let concurrent = format!("3 {CONCURRENT}");
    let fenced = format!("4 {FENCED}");
    check(
        "init a; add a 0/0 t; init a; commit a 0/0; init a; show a",
        &["1 is 0/0", "2 added", &concurrent, "Abort 0/2 in t", &fenced, "5 is 0/3", "Empty 0/3 []"],
    );
}

#[test]
fn the_old_incarnation_is_fenced_by_the_newer_rules_too() {
    let concurrent = format!("3 {CONCURRENT}");
    let fenced = |token: u32| format!("{token} {FENCED}");
    check(
        "init a; add a 0/0 t v2; init a; abort a 0/0 v2; commit a 0/0 v2; add a 0/0 t v2",
        &["1 is 0/0", "2 added", &concurrent, "Abort 0/2 in t", &fenced(4), &fenced(5), &fenced(6)],
    );
}

#[test]
fn at_the_last_epoch_the_old_incarnation_is_fenced_as_well() {
    let concurrent = format!("1 {CONCURRENT}");
    let fenced = format!("2 {FENCED}");
    check(
        "given a 5/32766 Ongoing t v2; init a; abort a 5/32766 v2; init a",
        &[&concurrent, "Abort 5/32767 in t", &fenced, "3 is 0/0"],
    );
}

#[test]
fn a_producer_that_goes_on_says_who_it_was() {
    check("init a; init a expect=0/0; init a expect=0/1", &["1 is 0/0", "2 is 0/1", "3 is 0/2"]);
}

#[test]
fn a_producer_that_missed_the_answer_gets_it_again() {
    let fenced = format!("5 {FENCED}");
    check(
        "init a; init a expect=0/0; init a expect=0/0; init a; init a expect=0/0",
        &["1 is 0/0", "2 is 0/1", "3 is 0/1", "4 is 0/2", &fenced],
    );
}

#[test]
fn a_producer_that_says_it_was_somebody_else_is_fenced() {
    let fenced = |token: u32| format!("{token} {FENCED}");
    check(
        "init a; init a expect=9/0; init a; init a expect=0/0",
        &["1 is 0/0", &fenced(2), "3 is 0/1", &fenced(4)],
    );
}

#[test]
fn a_fenced_producer_cannot_abort_its_successor_s_transaction() {
    let fenced = format!("4 {FENCED}");
    check(
        "init a; init a; add a 0/1 t; init a expect=0/0; commit a 0/1",
        &["1 is 0/0", "2 is 0/1", "3 added", &fenced, "5 ended, now 0/1", "Commit 0/1 in t"],
    );
}

#[test]
fn a_producer_that_was_forgotten_starts_as_a_new_one() {
    check("init a expect=9/3", &["1 is 0/0"]);
}

#[test]
fn when_the_epochs_are_used_up_a_new_incarnation_has_a_new_id() {
    let fenced = format!("3 {FENCED}");
    check(
        "given a 5/32766 Empty; init a expect=5/32766; init a expect=5/32766; init a expect=5/3; show a",
        &["1 is 0/0", "2 is 0/0", &fenced, "Empty 0/0 []"],
    );
}

#[test]
fn the_last_epochs_can_all_be_used() {
    check("given a 5/32765 Empty; init a; init a", &["1 is 5/32766", "2 is 0/0"]);
}

#[test]
fn an_end_that_was_missed_is_found_when_the_producer_goes_on() {
    check(
        "init a; add a 0/0 t v2; commit a 0/0 v2; init a expect=0/0",
        &["1 is 0/0", "2 added", "3 ended, now 0/1", "Commit 0/1 in t", "4 is 0/1"],
    );
}
