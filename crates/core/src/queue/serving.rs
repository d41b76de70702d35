//! Handing out: the head of the line, to whoever waited longest for it.

use super::{Delivery, Effect, Effects, Held, Holder, Queue, WaitingGet, window_units};

impl Queue {
    /// After any change: who can be served, what has expired, what is too much, what must be loaded.
    pub(super) fn move_on(&mut self, now_ms: i64, out: &mut Effects) {
        self.let_go_of_due(now_ms, out);
        self.serve(now_ms, out);
        self.expire_head(now_ms, out);
        self.drop_overflow(out);
        self.want_head(out);
    }

    /// Newcomers get one chance to be taken before they can expire: a message may live zero milliseconds.
    pub(super) fn serve_newcomers(&mut self, base: u64, now_ms: i64, out: &mut Effects) {
        self.exempt_from = base;
        self.serve(now_ms, out);
        self.exempt_from = u64::MAX;
        self.move_on(now_ms, out);
    }

    /// Hands out waiting messages while somebody can take them and they are at hand.
    fn serve(&mut self, now_ms: i64, out: &mut Effects) {
        while !self.gets.is_empty() || self.consumers.anyone_waiting() {
            let fresh = self.expire_head(now_ms, out);
            // A stray may belong before the head, so nobody is served until it has found its place.
            if !fresh || !self.strays.is_empty() {
                return;
            }
            let served = match self.line.first() {
                None => self.answer_empty(out),
                Some(head) => self.window.contains(head) && self.serve_head(now_ms, out),
            };
            if !served {
                return;
            }
        }
    }

    pub(super) fn answer_empty(&mut self, out: &mut Effects) -> bool {
        let Some(WaitingGet { token, .. }) = self.gets.pop_front() else {
            return false;
        };
        out.push(Effect::Got { token, delivery: None, ready: 0 });
        true
    }

    fn serve_head(&mut self, now_ms: i64, out: &mut Effects) -> bool {
        if let Some(WaitingGet { token, no_ack }) = self.gets.pop_front() {
            let delivery = Some(self.hand_out(Holder::Getter(token), no_ack, now_ms, out));
            let ready = self.ready_count();
            out.push(Effect::Got { token, delivery, ready });
            return true;
        }
        let Some((to, no_ack)) = self.consumers.take_next() else {
            return false;
        };
        let delivery = self.hand_out(Holder::Consumer(to), no_ack, now_ms, out);
        let units = window_units(delivery.block.body_bytes(delivery.index));
        if units > 1 {
            self.consumers.took_more(to, units - 1);
        }
        out.push(Effect::Deliver { to, no_ack, delivery });
        true
    }

    /// Takes the head, which is in memory, out of the line.
    fn hand_out(&mut self, by: Holder, no_ack: bool, now_ms: i64, out: &mut Effects) -> Delivery {
        let offset = self.line.pop_first().expect("the caller saw a head");
        let (block, index) = self.window.focus(offset).expect("the caller saw it in memory");
        let (block, index) = (block.clone(), index);
        self.no_longer_ready(block.body_bytes(index));
        let returns = match self.returns.is_empty() {
            true => 0,
            false => self.returns.get(&offset).copied().unwrap_or(0),
        };
        let redelivered = returns > 0 || self.given_out_before.contains(offset);
        if no_ack {
            self.finish(offset..offset + 1, out);
        } else {
            self.held.insert(offset, Held { by, since_ms: now_ms });
        }
        Delivery { offset, redelivered, returns, block, index }
    }

    /// The size of a message that just left the line. A lost message's size was an estimate.
    pub(super) fn no_longer_ready(&mut self, body_bytes: u64) {
        self.ready_bytes = match self.line.is_empty() {
            true => 0,
            false => self.ready_bytes.saturating_sub(body_bytes),
        };
    }
}
