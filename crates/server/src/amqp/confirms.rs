//! Publisher confirms of one channel: which publishes are safe, told in as few frames as can be.

use std::collections::VecDeque;

/// What to tell the publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Confirm {
    Ack { sequence: u64, multiple: bool },
    Nack { sequence: u64 },
}

#[derive(Debug, Clone, Copy)]
enum Publish {
    /// Queues that have not answered.
    Waiting {
        queues: u32,
        refused: bool,
    },
    Done {
        refused: bool,
    },
    Told,
}

#[derive(Debug)]
pub(super) struct Confirms {
    /// The sequence number at the front of `publishes`.
    front: u64,
    publishes: VecDeque<Publish>,
    /// Something is done and not told.
    news: bool,
    /// Whoever tells it knows that there is news.
    announced: bool,
}

impl Confirms {
    pub(super) fn new() -> Confirms {
        Confirms { front: 1, publishes: VecDeque::new(), news: false, announced: false }
    }

    /// The number of the next publish, which went to so many queues.
    pub(super) fn published(&mut self, queues: u32) -> u64 {
        self.publishes.push_back(match queues {
            0 => Publish::Done { refused: false },
            _ => Publish::Waiting { queues, refused: false },
        });
        self.news |= queues == 0;
        self.front + self.publishes.len() as u64 - 1
    }

    pub(super) fn answered(&mut self, sequence: u64, taken: bool) {
        let Some(at) = sequence.checked_sub(self.front) else {
            return;
        };
        let Some(publish) = self.publishes.get_mut(at as usize) else {
            return;
        };
        if let Publish::Waiting { queues, refused } = publish {
            *queues -= 1;
            *refused |= !taken;
            if *queues == 0 {
                *publish = Publish::Done { refused: *refused };
                self.news = true;
            }
        }
    }

    /// Whether there is something to tell, and nobody asked this since it was last told.
    pub(super) fn has_first_news(&mut self) -> bool {
        self.news && !std::mem::replace(&mut self.announced, true)
    }

    /// Everything that can be told now: one cumulative ack for the front, the rest one by one.
    pub(super) fn tell(&mut self, mut say: impl FnMut(Confirm)) {
        self.announced = false;
        if !std::mem::take(&mut self.news) {
            return;
        }
        let mut acked: Option<(u64, u64)> = None;
        while let Some(publish) = self.publishes.front() {
            match publish {
                Publish::Waiting { .. } => break,
                Publish::Told => {}
                Publish::Done { refused: false } => {
                    acked = Some((self.front, acked.map_or(1, |(_, count)| count + 1)));
                }
                Publish::Done { refused: true } => {
                    say_acked(&mut acked, &mut say);
                    say(Confirm::Nack { sequence: self.front });
                }
            }
            self.publishes.pop_front();
            self.front += 1;
        }
        say_acked(&mut acked, &mut say);
        for (publish, sequence) in self.publishes.iter_mut().zip(self.front..) {
            if let Publish::Done { refused } = *publish {
                *publish = Publish::Told;
                say(if refused {
                    Confirm::Nack { sequence }
                } else {
                    Confirm::Ack { sequence, multiple: false }
                });
            }
        }
    }
}

fn say_acked(acked: &mut Option<(u64, u64)>, say: &mut impl FnMut(Confirm)) {
    if let Some((sequence, count)) = acked.take() {
        say(Confirm::Ack { sequence, multiple: count > 1 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(queues: &[u32], answers: &[(u64, bool)], expected: &[Confirm]) {
        let mut confirms = Confirms::new();
        for &queues in queues {
            confirms.published(queues);
        }
        for &(sequence, taken) in answers {
            confirms.answered(sequence, taken);
        }
        let mut told = Vec::new();
        confirms.tell(|confirm| told.push(confirm));
        assert_eq!(told, expected);
        confirms.tell(|confirm| panic!("told twice: {confirm:?}"));
    }

    #[test]
    fn answers_at_the_front_are_told_together_and_later_ones_alone() {
        use Confirm::*;
        check(&[1, 1, 1], &[(1, true), (2, true)], &[Ack { sequence: 2, multiple: true }]);
        check(&[1, 1, 1], &[(3, true)], &[Ack { sequence: 3, multiple: false }]);
        check(&[0], &[], &[Ack { sequence: 1, multiple: false }]);
        check(&[2], &[(1, true)], &[]);
        check(&[2], &[(1, true), (1, true)], &[Ack { sequence: 1, multiple: false }]);
    }

    #[test]
    fn a_publish_that_any_queue_refused_is_nacked_alone() {
        use Confirm::*;
        check(
            &[2, 1],
            &[(1, false), (1, true), (2, true)],
            &[Nack { sequence: 1 }, Ack { sequence: 2, multiple: false }],
        );
    }
}
