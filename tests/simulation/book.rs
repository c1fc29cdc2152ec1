//! What both ends of every connection have done: how each is held against
//! the other.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use fullbore::engine::Reason;
use fullbore::time::Instant;

use crate::handshake::Handshakes;
use crate::plan::{Plan, START};
use crate::script::{Dialog, Finish};

/// One end of a dialog.
#[derive(Clone, Debug)]
pub struct End {
    pub established: bool,
    /// Bytes that the connection has taken.
    pub said: usize,
    /// Bytes that the application has seen.
    pub heard: usize,
    /// It has ended its stream.
    pub shut: bool,
    /// It has heard the end of the peer's.
    pub eof: bool,
    /// It would write if it could.
    pub wants: bool,
    /// Something was put right by force: the application's patience ended.
    pub put_down: bool,
    pub gone: Option<(Reason, Instant)>,
    /// When anything of the above changed last.
    pub moved: Instant,
}

/// A dialog's two ends: the client's and the server's.
#[derive(Clone, Debug)]
pub struct Entry {
    pub ends: [End; 2],
    pub opened: Option<Instant>,
    /// From where.
    pub local: Option<SocketAddr>,
}

pub struct Book {
    pub plan: Rc<Plan>,
    pub entries: Vec<Entry>,
    /// The dialogs opened from an address and port, one after the other.
    ports: HashMap<SocketAddr, Vec<usize>>,
    /// Readers of each host that do not read now, and since when all do.
    unwilling: Vec<(usize, Instant)>,
    pub failure: Option<String>,
    pub stopping: bool,
}

impl Book {
    pub fn new(plan: Rc<Plan>) -> Self {
        let end = End {
            established: false,
            said: 0,
            heard: 0,
            shut: false,
            eof: false,
            wants: false,
            put_down: false,
            gone: None,
            moved: START,
        };
        let entry = Entry {
            ends: [end.clone(), end],
            opened: None,
            local: None,
        };
        Self {
            entries: vec![entry; plan.dialogs.len()],
            ports: HashMap::new(),
            unwilling: vec![(0, START); plan.hosts.len()],
            failure: None,
            stopping: false,
            plan,
        }
    }

    pub fn fail(&mut self, what: String) {
        self.failure.get_or_insert(what);
    }

    pub fn dialog(&self, dialog: usize) -> &Dialog {
        &self.plan.dialogs[dialog]
    }

    pub fn end(&mut self, now: Instant, dialog: usize, side: usize) -> &mut End {
        let end = &mut self.entries[dialog].ends[side];
        end.moved = now;
        end
    }

    /// A client has opened a dialog from `local`.
    pub fn open(&mut self, now: Instant, dialog: usize, local: SocketAddr) {
        let entry = &mut self.entries[dialog];
        (entry.opened, entry.local) = (Some(now), Some(local));
        self.end(now, dialog, 0);
        // Over uTP the port that it came to tells.
        if !self.plan.dialogs[dialog].utp {
            self.ports.entry(local).or_default().push(dialog);
        }
    }

    /// The dialog that a server's new connection belongs to. A server that
    /// slept may take up one that its client has given up since, and whose port
    /// has gone to another: not to one that is not established yet.
    pub fn accepted(&self, peer: SocketAddr) -> Option<usize> {
        let opened = self.ports.get(&peer)?.iter().rev();
        opened
            .copied()
            .find(|d| self.entries[*d].ends[0].established)
    }

    pub fn not_willing(&mut self, host: usize) {
        self.unwilling[host].0 += 1;
    }

    pub fn willing(&mut self, now: Instant, host: usize) {
        let (count, since) = &mut self.unwilling[host];
        *count = count.saturating_sub(1);
        *since = now;
    }

    /// Since when all readers of a host have read what there was.
    pub fn willing_since(&self, now: Instant, host: usize) -> Instant {
        match self.unwilling[host] {
            (0, since) => since,
            _ => now,
        }
    }

    /// Whether everything was opened and has ended.
    pub fn is_done(&self) -> bool {
        let over = |(e, d): (&Entry, &Dialog)| {
            let open = |end: &End| (end.established || d.mutual) && end.gone.is_none();
            e.opened.is_some() && e.ends[0].gone.is_some() && !open(&e.ends[1])
        };
        self.entries.iter().zip(&self.plan.dialogs).all(over)
    }

    /// Whether one end waits for something that the other, or the stack, owes
    /// it; and since when nothing of it has moved.
    pub fn pending(&self, dialog: usize) -> Option<Instant> {
        let e = &self.entries[dialog];
        e.opened?;
        let [c, s] = &e.ends;
        let moved = c.moved.max(s.moved);
        if c.gone.is_some() && (s.gone.is_some() || !s.established) {
            return None;
        }
        if c.gone.is_some() || s.gone.is_some() {
            return Some(moved);
        }
        if !c.established || !s.established {
            return Some(moved);
        }
        let owed =
            |from: &End, to: &End| from.said > to.heard || from.wants || (from.shut && !to.eof);
        let over = c.shut && s.shut && c.eof && s.eof;
        (owed(c, s) || owed(s, c) || over).then_some(moved)
    }

    /// Holds the end of each dialog against what was to happen.
    ///
    /// # Errors
    /// What should not have been.
    pub fn judge(&self, handshakes: &Handshakes) -> Result<(), String> {
        for dialog in 0..self.entries.len() {
            self.judge_one(dialog, handshakes)
                .map_err(|what| format!("dialog {dialog}: {what}: {:?}", self.entries[dialog]))?;
        }
        Ok(())
    }

    fn judge_one(&self, dialog: usize, handshakes: &Handshakes) -> Result<(), String> {
        let d = self.dialog(dialog);
        let hosts = [d.client, d.server];
        let pristine = self.plan.is_pristine(hosts);
        let harsh = if d.utp {
            self.plan.is_harsh_for_utp(hosts)
        } else {
            self.plan.is_harsh(hosts)
        };
        let e = &self.entries[dialog];
        let stopped = self.plan.stop_after.is_some();
        // Two that open to each other may miss each other.
        let missed = d.mutual && !(e.ends[0].established && e.ends[1].established);
        for me in [0, 1] {
            let (end, peer) = (&e.ends[me], &e.ends[1 - me]);
            let Some((reason, gone)) = end.gone else {
                if me == 0 && !stopped {
                    return Err("never ended".into());
                }
                continue;
            };
            let finish = d.sides[me].finish;
            let fine = missed && reason != Reason::Finished
                || match reason {
                    Reason::Finished => {
                        self.finished(dialog, me)?;
                        true
                    }
                    Reason::Aborted => {
                        matches!(finish, Finish::AbortAt(_) | Finish::AbortAfter(_))
                            || finish == Finish::CloseUnread
                            || end.put_down
                            || stopped
                    }
                    // Somebody was gone before: that this is rightly so shows there.
                    Reason::Reset => peer.gone.is_some() || !peer.established || stopped,
                    Reason::TimedOut => {
                        let before = peer.gone.is_some_and(|(r, _)| r != Reason::Finished);
                        if d.utp && (self.is_unheard(dialog, me) || !end.established) {
                            // Over uTP a listener refuses in silence.
                            let all_heard = end.established;
                            all_heard || !pristine || self.is_full(dialog)
                        } else if !end.established && !missed && !stopped {
                            self.excused(dialog, gone, handshakes)
                                .map_err(|why| format!("the handshake timed out: {why}"))?;
                            continue;
                        } else {
                            harsh || before || stopped
                        }
                    }
                    Reason::Unreachable => !pristine || stopped,
                    // Nobody listens.
                    Reason::Refused => stopped || !self.plan.hosts[d.server].away.is_empty(),
                };
            if !fine {
                return Err(format!("the {} ended as {reason:?}", NAMES[me]));
            }
        }
        Ok(())
    }

    /// Whether an end that gave up has said and heard all, and was heard, so
    /// that the last acknowledgements alone can have been lost while its peer
    /// still lingered.
    fn is_unheard(&self, dialog: usize, me: usize) -> bool {
        let ends = &self.entries[dialog].ends;
        let (end, peer) = (&ends[me], &ends[1 - me]);
        let finished = peer.gone.is_some_and(|(r, _)| r == Reason::Finished);
        finished && end.shut && end.eof && peer.eof && peer.heard == end.said
    }

    /// Whether a server may have no place for one connection more.
    fn is_full(&self, dialog: usize) -> bool {
        let server = &self.plan.hosts[self.dialog(dialog).server];
        server.backlog < 64 || server.max_flows < 64
    }

    /// A handshake that timed out must have met with nothing but bad luck.
    fn excused(&self, dialog: usize, gone: Instant, handshakes: &Handshakes) -> Result<(), String> {
        let (d, e) = (self.dialog(dialog), &self.entries[dialog]);
        let (Some(opened), Some(local)) = (e.opened, e.local) else {
            return Err("it was never opened".into());
        };
        let host = &self.plan.hosts[d.client];
        let tcp = &host.tcp;
        let max_rto = tcp.user_timeout.is_none().then_some(tcp.max_rto);
        let within = Duration::from_millis(u64::from(host.engines > 1));
        let reliable = self.plan.is_pristine([d.client, d.server]);
        handshakes.excuse(local, (opened, gone), max_rto, within, reliable)
    }

    /// An end that finished has said all, and what it said has arrived.
    fn finished(&self, dialog: usize, me: usize) -> Result<(), String> {
        let d = self.dialog(dialog);
        let (end, peer) = (
            &self.entries[dialog].ends[me],
            &self.entries[dialog].ends[1 - me],
        );
        if self.plan.stop_after.is_some() {
            return Ok(());
        }
        let left_early = |side: usize| d.sides[side].is_rude() || d.refused;
        if end.said != d.sides[me].total && !left_early(me) {
            return Err(format!("the {} finished before it said all", NAMES[me]));
        }
        if !left_early(me) && (!end.eof || end.heard != d.sides[1 - me].total) {
            return Err(format!("the {} finished before it heard all", NAMES[me]));
        }
        let deaf = left_early(1 - me) || peer.put_down || peer.gone.is_none();
        // A reset from a peer that has forgotten takes what was not read.
        let robbed = peer.gone.is_some_and(|(r, _)| r != Reason::Finished);
        if peer.heard != end.said && !deaf && !robbed {
            return Err(format!("the {} was not heard to the end", NAMES[me]));
        }
        Ok(())
    }
}

pub const NAMES: [&str; 2] = ["client", "server"];
