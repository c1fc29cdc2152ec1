//! From connections with something to send to the frames that leave.

use std::collections::VecDeque;

use super::Stack;
use super::flow::{Phase, Route, Slot};
use super::iface::Path;
use crate::frame::{Pool, TxDesc};
use crate::time::Instant;
use crate::transport::Reason;

use std::time::Duration;

/// When a route that has gone is looked up again.
const LOST_ROUTE_RETRY: Duration = Duration::from_millis(500);

/// What [`Stack::transmit`] left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    /// The connection has more to send.
    More,
    /// What the connection had is sent; what is to be done behind that has not
    /// been: [`Stack::transmit`] is to be called for it again.
    Sent,
    /// It has nothing to send now; its next deadline is this.
    Idle(Option<Instant>),
    /// It is forgotten.
    Gone,
}

/// What [`send`] has sent of a connection.
enum Sent {
    /// What the budget allows for.
    Part,
    /// All that had not been sent before.
    New,
    /// All that there is to be sent.
    All,
}

/// Appends what the connection has to send to `tx`, if it has a route. See
/// [`Stack::transmit`].
#[inline(always)]
fn send(
    slot: &mut Slot,
    now: Instant,
    pool: &mut Pool,
    budget: usize,
    tx: &mut VecDeque<TxDesc>,
    hurry: bool,
) -> Sent {
    let Some(route) = &slot.route else {
        return Sent::All;
    };
    // New data in trains, behind a first segment that may be more.
    let mut left = budget;
    while left > 0 {
        let sent = slot.conn.poll_train(now, pool, &route.template, left, tx);
        left -= sent;
        if left == 0 {
            break;
        }
        left -= 1;
        match slot.conn.poll_transmit(now, pool, &route.template) {
            Some(desc) => {
                tx.push_back(desc);
                if hurry && !slot.conn.has_unsent() {
                    return Sent::New;
                }
            }
            None => return Sent::All,
        }
    }
    Sent::Part
}

impl Stack {
    /// The next connection that may have something to send. To be given to
    /// [`transmit`](Self::transmit).
    #[inline]
    pub fn poll_output(&mut self) -> Option<u32> {
        self.output.pop_front()
    }

    /// As [`poll_output`](Self::poll_output), of a connection with a little new data.
    /// Others, which have none or are in the middle of a stream, go to the end of
    /// the queue: a stream is better sent in one piece.
    #[inline]
    pub fn poll_answer(&mut self) -> Option<u32> {
        for _ in 0..self.output.len() {
            let index = self.output.pop_front()?;
            if self
                .flows
                .at(index)
                .is_some_and(|s| s.conn.has_short_unsent())
            {
                return Some(index);
            }
            self.output.push_back(index);
        }
        None
    }

    /// The connections that [`poll_output`](Self::poll_output) is going to answer.
    #[inline]
    pub fn queued(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        self.output.iter().copied()
    }

    /// Whether a connection may have something to send or to tell.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.output.is_empty() || !self.events.is_empty() || !self.held_acks.is_empty()
    }

    /// Sends the acknowledgements that waited for more of a stream, of which
    /// nothing has come since: to be called once between receiving and sending.
    #[inline]
    pub fn hurry_acks(&mut self) {
        while let Some((index, unacked)) = self.held_acks.pop() {
            if let Some(slot) = self.flows.at_mut(index)
                && slot.conn.hurry_ack(unacked)
            {
                self.touch(index);
            }
        }
    }

    /// Appends up to `budget` segments of the connection at `index` to `tx`.
    /// One with more to send goes to the end of the queue. With `hurry` what it
    /// has goes before the rest of the work for it is done.
    #[inline]
    pub fn transmit(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        index: u32,
        budget: usize,
        tx: &mut VecDeque<TxDesc>,
        hurry: bool,
    ) -> Left {
        let generation = self.iface.generation() as u32;
        let Some(slot) = self.flows.at_mut(index) else {
            return Left::Gone;
        };
        let good = |r: &Route| r.generation == generation && now < r.refresh;
        let sent = if slot.route.as_ref().is_some_and(good) {
            send(slot, now, pool, budget, tx, hurry)
        } else {
            self.send_anew(now, pool, index, budget, tx, hurry)
        };
        match sent {
            Sent::Part => {
                self.output.push_back(index);
                Left::More
            }
            Sent::New => Left::Sent,
            Sent::All => self.sent_all(now, pool, index),
        }
    }

    /// As [`send`], of a connection whose route is to be looked up first.
    #[cold]
    #[inline(never)]
    fn send_anew(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        index: u32,
        budget: usize,
        tx: &mut VecDeque<TxDesc>,
        hurry: bool,
    ) -> Sent {
        self.find_route(now, index);
        match self.flows.at_mut(index) {
            Some(slot) => send(slot, now, pool, budget, tx, hurry),
            None => Sent::All,
        }
    }

    fn sent_all(&mut self, now: Instant, pool: &mut Pool, index: u32) -> Left {
        let Some(slot) = self.flows.at_mut(index) else {
            return Left::Gone;
        };
        slot.in_output = false;
        if slot.phase == Phase::Over && slot.route.is_none() && slot.conn.is_closed() {
            // Its reset has nowhere to go.
            self.forget(pool, index);
            return Left::Gone;
        }
        if slot.is_done() {
            self.forget(pool, index);
            return Left::Gone;
        }
        if let Some(unacked) = slot.conn.waiting_ack() {
            self.held_acks.push((index, unacked));
        }
        let next = slot.conn.poll_timeout();
        if slot.conn.has_room_to_tell() && !slot.in_events {
            slot.in_events = true;
            self.events.push_back(index);
        }
        self.note_rest(now, index);
        Left::Idle(next)
    }

    /// Looks for the route of the connection at `index`, or has the connection wait
    /// for one.
    #[cold]
    fn find_route(&mut self, now: Instant, index: u32) {
        let Some(slot) = self.flows.at_mut(index) else {
            return;
        };
        let tuple = slot.tuple;
        let path = self.iface.path(now, Some(tuple.local), tuple.remote);
        // Looking may itself have changed the table.
        let generation = self.iface.generation() as u32;
        match (path, &mut slot.route) {
            (Path::Ready(mut ready), _) => slot.set_route(Route {
                template: {
                    let protocol = slot.conn.transport().protocol();
                    ready.template.set_protocol(protocol.number());
                    ready.template
                },
                generation,
                refresh: ready.refresh,
            }),
            // The old way serves until there is a new one.
            (Path::Resolving | Path::NoRoute(_), Some(route)) => {
                route.generation = generation;
                route.refresh = now + LOST_ROUTE_RETRY;
            }
            (Path::Resolving, None) => {
                if !slot.in_waiting {
                    slot.in_waiting = true;
                    self.waiting.push(index);
                }
            }
            (Path::NoRoute(_), None) => {
                slot.failed = slot.failed.or(Some(Reason::Unreachable));
                self.touch(index);
            }
        }
    }

    /// Has connections that wait for a route look again if anything about
    /// routes has changed.
    pub fn retry_routes(&mut self) {
        let generation = self.iface.generation();
        if generation == self.seen_generation {
            return;
        }
        self.seen_generation = generation;
        for index in std::mem::take(&mut self.waiting) {
            if let Some(slot) = self.flows.at_mut(index) {
                slot.in_waiting = false;
                self.touch(index);
            }
        }
    }
}
