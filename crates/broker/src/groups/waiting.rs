//! Requests without an answer, by the token the group knows them by.

use std::collections::HashMap;

use cauce_core::group::{Effect, JoinAnswer, Refusal, Share, Token};
use cauce_core::partition::TopicPartition;

use super::command::Answer;

#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) joins: Answers<JoinAnswer>,
    pub(super) syncs: Answers<Share>,
    pub(super) commits: Answers<Vec<TopicPartition>>,
    pub(super) offset_deletions: Answers<Vec<TopicPartition>>,
    pub(super) deletions: Answers<()>,
}

#[derive(Debug)]
pub(super) struct Answers<T> {
    last: u64,
    by_token: HashMap<Token, Answer<T>, foldhash::fast::RandomState>,
}

impl<T> Default for Answers<T> {
    fn default() -> Answers<T> {
        Answers { last: 0, by_token: HashMap::default() }
    }
}

impl<T> Answers<T> {
    pub(super) fn add(&mut self, done: Answer<T>) -> Token {
        self.last += 1;
        self.by_token.insert(Token(self.last), done);
        Token(self.last)
    }

    fn answer(&mut self, token: Token, answer: Result<T, Refusal>) {
        let done = self.by_token.remove(&token).expect("every token is answered once");
        // Whoever asked may be gone.
        let _ = done.send(answer.map_err(Into::into));
    }
}

impl Waiting {
    /// Takes the effects that are answers, and gives the others back.
    pub(super) fn answer(&mut self, effect: Effect) -> Option<Effect> {
        match effect {
            Effect::Joined { token, answer } => self.joins.answer(token, Ok(answer)),
            Effect::Synced { token, answer } => self.syncs.answer(token, answer),
            Effect::Committed { token, answer } => self.commits.answer(token, answer),
            Effect::OffsetsDeleted { token, answer } => self.offset_deletions.answer(token, answer),
            Effect::Deleted { token, answer } => self.deletions.answer(token, answer),
            other => return Some(other),
        }
        None
    }
}
