//! Flushes that wait until a test lets them go on.

use std::thread::{self, ThreadId};

use parking_lot::{Condvar, Mutex};

/// What every flush passes through.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_held: bool,
    /// Those that wait.
    waiting: usize,
    /// How many of them may go on.
    let_through: usize,
    /// Who flushes several things as one, and so has passed already.
    inside: Vec<ThreadId>,
}

/// The way through the gate, for as long as it is kept.
pub(super) struct Pass<'a> {
    gate: &'a Gate,
    is_first: bool,
}

impl Gate {
    pub(super) fn hold(&self) {
        self.state.lock().is_held = true;
    }

    pub(super) fn open(&self) {
        self.state.lock().is_held = false;
        self.changed.notify_all();
    }

    /// Lets one of those that wait go on; false if none does.
    pub(super) fn let_one_through(&self) -> bool {
        let mut state = self.state.lock();
        let has_waiting = state.waiting > state.let_through;
        if has_waiting {
            state.let_through += 1;
            self.changed.notify_all();
        }
        has_waiting
    }

    /// Whether a flush waits that nobody has let through.
    pub(super) fn holds_one(&self) -> bool {
        let state = self.state.lock();
        state.waiting > state.let_through
    }

    pub(super) fn pass(&self) -> Pass<'_> {
        let mut state = self.state.lock();
        let me = thread::current().id();
        let is_first = !state.inside.contains(&me);
        if is_first {
            state.waiting += 1;
            while state.is_held && state.let_through == 0 {
                self.changed.wait(&mut state);
            }
            state.waiting -= 1;
            state.let_through = state.let_through.saturating_sub(1);
            state.inside.push(me);
        }
        Pass { gate: self, is_first }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.is_first {
            let me = thread::current().id();
            self.gate.state.lock().inside.retain(|other| *other != me);
        }
    }
}
