//! Random runs in virtual time: clients that join, crash, come back, commit and stay away, over a log that
//! fails and restarts, against what the log says and what clients were told.

use proptest::prelude::*;

use super::simulation::Simulation;
use crate::group::*;

#[derive(Debug, Clone)]
pub(super) enum Op {
    /// The client does what a good one would do next.
    Act(usize),
    /// It asks again what it is waiting for.
    Repeat(usize),
    Crash(usize),
    Leave(usize),
    /// An administrator removes it by its instance.
    Expel(usize),
    Commit(usize),
    /// Within a transaction, as the client or as nobody.
    CommitWithin {
        producer: i64,
        client: Option<usize>,
    },
    End {
        producer: i64,
        committed: bool,
    },
    /// By somebody who is no member.
    CommitFromOutside,
    /// Other protocols, or other metadata.
    ChangeMind(usize),
    Forget(i32),
    TopicGone,
    Delete,
    Pass(i64),
    Persist {
        stored: bool,
    },
    /// So many of the writes under way made it.
    Restart {
        stored: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let client = || 0..super::simulation::CLIENTS;
    let producer = || 0i64..2;
    prop_oneof![
        30 => client().prop_map(Op::Act),
        2 => client().prop_map(Op::Repeat),
        2 => client().prop_map(Op::Crash),
        2 => client().prop_map(Op::Leave),
        1 => client().prop_map(Op::Expel),
        6 => client().prop_map(Op::Commit),
        2 => (producer(), prop::option::of(client()))
            .prop_map(|(producer, client)| Op::CommitWithin { producer, client }),
        2 => (producer(), any::<bool>()).prop_map(|(producer, committed)| Op::End { producer, committed }),
        1 => Just(Op::CommitFromOutside),
        1 => client().prop_map(Op::ChangeMind),
        1 => (0..4).prop_map(Op::Forget),
        1 => prop::bool::weighted(0.2).prop_map(|gone| if gone { Op::TopicGone } else { Op::Forget(0) }),
        1 => Just(Op::Delete),
        8 => prop_oneof![1i64..500, 1000i64..8000, 8000i64..90_000].prop_map(Op::Pass),
        14 => prop::bool::weighted(0.97).prop_map(|stored| Op::Persist { stored }),
        1 => (0usize..4).prop_map(|stored| Op::Restart { stored }),
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    (prop_oneof![Just(0i64), Just(1_000)], 3usize..8, prop_oneof![Just(40_000i64), Just(i64::MAX / 4)])
        .prop_map(|(initial_delay_ms, members_max, offsets_retention_ms)| Rules {
            initial_delay_ms,
            members_max,
            offsets_retention_ms,
            empty_kept_ms: 20_000,
            ..Rules::default()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn every_partition_has_one_owner_and_every_request_one_answer(
        rules in rules(),
        ops in prop::collection::vec(op(), 0..150),
    ) {
        let mut simulation = Simulation::new(rules);
        for op in ops {
            simulation.step(op);
        }
        simulation.settle();
    }
}
