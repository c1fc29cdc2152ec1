//! The neighbour table: which Ethernet address an IP address on the link has
//! (RFC 826; RFC 4861, section 7.3).
//!
//! In own mode the table asks the neighbours itself; in shared mode it mirrors
//! the kernel's and asks the kernel to ask.
//!
//! What it believes, in own mode:
//! - an answer counts only while its question is open;
//! - a question for one of our addresses may create an entry, within a rate
//!   limit, since the asker is about to talk to us; an announcement never does;
//! - an address that is known is never replaced by a claim. A differing claim
//!   makes the table ask the old address, directly; only if that stays silent
//!   is the question put to everybody.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use siphasher::sip::SipHasher13;

use super::kernel::NeighbourState;
use super::limit::RateLimit;
use crate::time::Instant;
use crate::wire::eth::Mac;

/// Entries kept in own mode; as many as Linux keeps by default.
pub const CAPACITY: usize = 1024;
/// Entries mirrored from the kernel.
pub const KERNEL_CAPACITY: usize = 16_384;
/// Questions open at one time.
pub const PENDING: usize = 64;
/// How often a question is put (RFC 4861, section 10: `MAX_MULTICAST_SOLICIT`
/// and `MAX_UNICAST_SOLICIT`).
const TRIES: u8 = 3;
/// Time between two questions (RFC 4861: `RETRANS_TIMER`).
const RETRY: Duration = Duration::from_secs(1);
/// For how long a neighbour that did not answer is not asked again.
const FAILED_HOLD: Duration = Duration::from_secs(2);
/// Half of the mean time that an answer is good for (RFC 4861:
/// `REACHABLE_TIME`); the actual time is spread from one to three of these.
const REACHABLE_HALF: Duration = Duration::from_secs(15);
/// In shared mode, how often the kernel is asked to check a neighbour.
const KERNEL_CHECK: Duration = Duration::from_secs(30);
/// Entries made a second because somebody asked for us, and their burst.
const CREATE_RATE: (u32, u32) = (50, 100);

/// What is known about a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Asked, not answered yet; no address.
    Incomplete,
    /// Answered not long ago.
    Reachable,
    /// Known, but for long not confirmed; used until shown wrong.
    Stale,
    /// Known and being asked directly.
    Probe,
    /// Did not answer; no address.
    Failed,
}

/// The answer of [`Neighbours::resolve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Use this address, and look it up again no later than `refresh`.
    Known {
        /// The neighbour's Ethernet address.
        mac: Mac,
        /// When to look it up again.
        refresh: Instant,
    },
    /// The question is open, or cannot be put yet since too many are.
    Pending,
    /// The neighbour does not answer.
    Failed,
}

/// A question to put to the link, or to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solicit {
    /// Whose Ethernet address is wanted.
    pub target: IpAddr,
    /// To whom the question goes; `None`: everybody.
    pub to: Option<Mac>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    mac: Mac,
    state: State,
    /// Reachable: until when. Incomplete, Probe: when to ask again. Failed:
    /// until when. Stale: not before when to have the kernel check.
    deadline: Instant,
    tries: u8,
    /// Wanted by us, not made because somebody asked for us.
    wanted: bool,
    used: Instant,
}

/// A keyed hash, so that nobody can choose addresses that collide.
#[derive(Clone, Debug)]
pub(super) struct Keyed(pub(super) u64);

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;
    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, !self.0.rotate_left(29))
    }
}

/// The table.
#[derive(Debug)]
pub struct Neighbours {
    entries: HashMap<IpAddr, Entry, Keyed>,
    /// The entries with an open question.
    pending: Vec<IpAddr>,
    solicits: VecDeque<Solicit>,
    capacity: usize,
    /// Mirrors the kernel's table.
    mirror: bool,
    create: RateLimit,
    generation: u64,
}

impl Neighbours {
    /// An empty table: of our own, or a mirror of the kernel's. `seed` keys
    /// its hash.
    #[must_use]
    pub fn new(mirror: bool, seed: u64) -> Self {
        Self {
            entries: HashMap::with_hasher(Keyed(seed)),
            pending: Vec::with_capacity(PENDING),
            solicits: VecDeque::with_capacity(PENDING),
            capacity: if mirror { KERNEL_CAPACITY } else { CAPACITY },
            mirror,
            create: RateLimit::new(CREATE_RATE.0, CREATE_RATE.1),
            generation: 0,
        }
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Changes whenever a lookup of a neighbour that was looked up before may
    /// answer otherwise.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// What is known about `ip`.
    #[must_use]
    pub fn state(&self, ip: IpAddr) -> Option<(State, Mac)> {
        self.entries.get(&ip).map(|e| (e.state, e.mac))
    }

    /// Whether there is an entry for `ip`.
    #[must_use]
    pub fn knows(&self, ip: IpAddr) -> bool {
        self.entries.contains_key(&ip)
    }

    /// Forgets everything: the link went down or became another one.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.pending.clear();
        self.solicits.clear();
        self.generation += 1;
    }

    /// Looks a neighbour up to send to it, and asks for it where needed.
    pub fn resolve(&mut self, now: Instant, ip: IpAddr) -> Lookup {
        if !self.entries.contains_key(&ip) {
            if self.pending.len() >= PENDING || !self.make_room(true) {
                return Lookup::Pending;
            }
            self.entries.insert(
                ip,
                Entry {
                    mac: Mac::ZERO,
                    state: State::Failed,
                    deadline: Instant::ZERO,
                    tries: 0,
                    wanted: true,
                    used: now,
                },
            );
        }
        let Some(e) = self.entries.get_mut(&ip) else {
            return Lookup::Pending;
        };
        e.used = now;
        e.wanted = true;
        let room = self.pending.len() < PENDING;
        if e.state == State::Reachable && now >= e.deadline {
            e.state = State::Stale;
            e.deadline = Instant::ZERO;
        }
        match e.state {
            State::Stale if self.mirror => {
                if now >= e.deadline {
                    e.deadline = now + KERNEL_CHECK;
                    ask(&mut self.solicits, ip, None);
                }
            }
            State::Stale if room => self.open(now, ip, State::Probe),
            State::Failed if now < e.deadline => return Lookup::Failed,
            State::Failed if room => {
                self.open(now, ip, State::Incomplete);
                return Lookup::Pending;
            }
            State::Failed | State::Incomplete => return Lookup::Pending,
            State::Reachable | State::Stale | State::Probe => {}
        }
        let Some(e) = self.entries.get(&ip) else {
            return Lookup::Pending;
        };
        let soon = now + RETRY;
        let late = now + KERNEL_CHECK;
        Lookup::Known {
            mac: e.mac,
            refresh: match e.state {
                State::Reachable => e.deadline.clamp(soon, late),
                State::Stale if self.mirror => late,
                _ => soon,
            },
        }
    }

    /// Takes an answer, or an announcement, that `ip` is at `mac`.
    /// `solicited`: it was addressed to us alone, as answers are.
    pub fn answer(&mut self, now: Instant, ip: IpAddr, mac: Mac, solicited: bool) {
        if self.mirror || !mac.is_unicast() {
            return;
        }
        let until = now + self.reachable_time(now, ip);
        let Some(e) = self.entries.get_mut(&ip) else {
            return;
        };
        match e.state {
            State::Incomplete if solicited => {
                e.mac = mac;
                self.close(ip, State::Reachable, until);
            }
            State::Probe if solicited && e.mac == mac => {
                self.close(ip, State::Reachable, until);
            }
            // Late, but asked for.
            State::Failed if solicited && e.tries > 0 && now < e.deadline => {
                e.mac = mac;
                self.close(ip, State::Stale, Instant::ZERO);
            }
            State::Reachable | State::Stale if e.mac != mac => self.doubt(now, ip),
            _ => {}
        }
    }

    /// Somebody at `mac` who says to be `ip` asked for one of our addresses.
    /// The caller has checked that `ip` may be on the link.
    pub fn asked_by(&mut self, now: Instant, ip: IpAddr, mac: Mac) {
        if self.mirror || !mac.is_unicast() {
            return;
        }
        match self.entries.get_mut(&ip) {
            None => {
                if self.create.take(now) && self.make_room(false) {
                    self.entries.insert(
                        ip,
                        Entry {
                            mac,
                            state: State::Stale,
                            deadline: Instant::ZERO,
                            tries: 0,
                            wanted: false,
                            used: now,
                        },
                    );
                    self.note_stranger();
                }
            }
            Some(e) => match e.state {
                State::Incomplete | State::Failed => {
                    e.mac = mac;
                    self.close(ip, State::Stale, Instant::ZERO);
                }
                State::Reachable | State::Stale if e.mac != mac => self.doubt(now, ip),
                State::Reachable | State::Stale | State::Probe => {}
            },
        }
    }

    /// Takes what the kernel says about `ip` (shared mode).
    pub fn mirror(&mut self, now: Instant, ip: IpAddr, news: NeighbourState) {
        if !self.mirror {
            return;
        }
        let (mac, state, deadline) = match news {
            NeighbourState::Reachable(mac) => (mac, State::Reachable, Instant::FAR),
            NeighbourState::Stale(mac) => (mac, State::Stale, Instant::ZERO),
            NeighbourState::Failed => (Mac::ZERO, State::Failed, now + FAILED_HOLD),
            // An open question stays open: the kernel will be asked again.
            NeighbourState::Gone => {
                if !self.pending.contains(&ip)
                    && let Some(e) = self.entries.remove(&ip)
                {
                    self.generation += u64::from(e.wanted);
                }
                return;
            }
        };
        match self.entries.get_mut(&ip) {
            Some(e) => {
                let changed = e.mac != mac
                    || (e.state == State::Incomplete)
                    || (e.state == State::Failed) != (state == State::Failed);
                let checked = if e.state == State::Stale && state == State::Stale {
                    e.deadline
                } else {
                    deadline
                };
                e.mac = mac;
                e.state = state;
                e.deadline = checked;
                self.pending.retain(|p| *p != ip);
                self.generation += u64::from(changed && e.wanted);
            }
            None if state == State::Failed => {}
            None => {
                if self.make_room(false) {
                    self.entries.insert(
                        ip,
                        Entry {
                            mac,
                            state,
                            deadline,
                            tries: 0,
                            wanted: false,
                            used: now,
                        },
                    );
                    self.note_stranger();
                }
            }
        }
    }

    /// An entry came that nobody here has asked for. That matters only to those
    /// who could not ask since too many questions were open; without this
    /// distinction strangers could have everybody look up paths all the time.
    fn note_stranger(&mut self) {
        self.generation += u64::from(self.pending.len() >= PENDING);
    }

    /// Forgets all mirrored entries but open questions, before the kernel's
    /// whole table is taken anew.
    pub fn mirror_reset(&mut self) {
        self.entries.retain(|_, e| e.state == State::Incomplete);
        self.generation += 1;
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.pending
            .iter()
            .filter_map(|ip| self.entries.get(ip))
            .map(|e| e.deadline)
            .min()
    }

    /// Asks again where no answer came, and gives up where none will.
    pub fn handle_timeout(&mut self, now: Instant) {
        let mut at = 0;
        while let Some(&ip) = self.pending.get(at) {
            let Some(e) = self.entries.get_mut(&ip) else {
                self.pending.swap_remove(at);
                continue;
            };
            at += 1;
            if now < e.deadline {
                continue;
            }
            if e.tries < TRIES {
                e.tries += 1;
                e.deadline = now + RETRY;
                let to = (e.state == State::Probe).then_some(e.mac);
                ask(&mut self.solicits, ip, to);
            } else if e.state == State::Probe {
                // Whoever has the address now may answer.
                e.state = State::Incomplete;
                e.mac = Mac::ZERO;
                e.tries = 1;
                e.deadline = now + RETRY;
                self.generation += u64::from(e.wanted);
                ask(&mut self.solicits, ip, None);
            } else {
                self.close(ip, State::Failed, now + FAILED_HOLD);
                at -= 1;
            }
        }
    }

    /// The next question to put.
    pub fn poll_solicit(&mut self) -> Option<Solicit> {
        self.solicits.pop_front()
    }

    /// Puts a question back that could not be put now.
    pub fn unpoll_solicit(&mut self, solicit: Solicit) {
        self.solicits.push_front(solicit);
    }

    /// A claim contradicts what is known: asks the known address.
    fn doubt(&mut self, now: Instant, ip: IpAddr) {
        if self.pending.len() < PENDING {
            self.open(now, ip, State::Probe);
        }
    }

    fn open(&mut self, now: Instant, ip: IpAddr, state: State) {
        let Some(e) = self.entries.get_mut(&ip) else {
            return;
        };
        e.state = state;
        e.tries = 1;
        e.deadline = now + RETRY;
        let to = (state == State::Probe).then_some(e.mac);
        ask(&mut self.solicits, ip, to);
        if !self.pending.contains(&ip) {
            self.pending.push(ip);
        }
    }

    fn close(&mut self, ip: IpAddr, state: State, deadline: Instant) {
        if let Some(e) = self.entries.get_mut(&ip) {
            // A confirmed probe changes nothing for those who use the entry; a
            // question less makes room for another.
            let confirmed = e.state == State::Probe && state == State::Reachable;
            let room = self.pending.len() >= PENDING;
            self.generation += u64::from(e.wanted && !confirmed || room);
            e.state = state;
            e.deadline = deadline;
            if state == State::Failed {
                e.mac = Mac::ZERO;
            }
        }
        self.pending.retain(|p| *p != ip);
    }

    /// Makes room for one more entry: the one that is least missed goes.
    /// Entries that nobody here wanted go first, and never push out others.
    fn make_room(&mut self, wanted: bool) -> bool {
        if self.entries.len() < self.capacity {
            return true;
        }
        let victim = self
            .entries
            .iter()
            .filter(|(_, e)| !matches!(e.state, State::Incomplete | State::Probe))
            .filter(|(_, e)| wanted || !e.wanted)
            .min_by_key(|(_, e)| (e.wanted && e.state != State::Failed, e.used))
            .map(|(ip, _)| *ip);
        victim.is_some_and(|ip| self.entries.remove(&ip).is_some())
    }

    /// From half to one and a half times 30 seconds (RFC 4861, section 6.3.2).
    fn reachable_time(&self, now: Instant, ip: IpAddr) -> Duration {
        let mut hasher = self.entries.hasher().build_hasher();
        hasher.write_u64(now.as_nanos());
        let spread = hasher.finish() ^ self.entries.hasher().hash_one(ip);
        REACHABLE_HALF + REACHABLE_HALF * ((spread % 2048) as u32) / 1024
    }
}

fn ask(solicits: &mut VecDeque<Solicit>, target: IpAddr, to: Option<Mac>) {
    // Nobody takes them: the next try will put the question again.
    if solicits.len() < PENDING {
        solicits.push_back(Solicit { target, to });
    }
}

#[cfg(test)]
#[path = "neigh_tests.rs"]
mod tests;
