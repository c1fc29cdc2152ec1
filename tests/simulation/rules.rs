//! What must hold of every engine after every turn.

use fullbore::engine::{Engine, Flow, Turn, Wheel};
use fullbore::stack::conn::Conn;
use fullbore::tcp::State;
use fullbore::time::Instant;

use crate::app::Peer;
use crate::nic::Nic;

const STATES: [State; 10] = [
    State::SynSent,
    State::SynReceived,
    State::Established,
    State::FinWait1,
    State::FinWait2,
    State::CloseWait,
    State::Closing,
    State::LastAck,
    State::TimeWait,
    State::Closed,
];

/// The arrows of RFC 9293 section 3.3.2, figure 5, with those to CLOSED that
/// its text adds (resets, aborts, time-outs).
const fn arrows(from: State) -> &'static [State] {
    use State as S;
    match from {
        S::SynSent => &[S::SynReceived, S::Established, S::Closed],
        S::SynReceived => &[S::Established, S::FinWait1, S::CloseWait, S::Closed],
        S::Established => &[S::FinWait1, S::CloseWait, S::Closed],
        S::FinWait1 => &[S::FinWait2, S::Closing, S::TimeWait, S::Closed],
        S::FinWait2 => &[S::TimeWait, S::Closed],
        S::CloseWait => &[S::LastAck, S::Closed],
        S::Closing => &[S::TimeWait, S::Closed],
        S::LastAck | S::TimeWait => &[S::Closed],
        S::Closed => &[],
    }
}

/// Whether arrows lead from one state to another: a turn may follow several.
pub fn leads(from: State, to: State) -> bool {
    from == to || arrows(from).iter().any(|next| leads(*next, to))
}

/// What is remembered of an engine from turn to turn.
pub struct Memory {
    states: Vec<Option<(Flow, State)>>,
    turns: u64,
}

/// In one of so many turns the whole ledger is read. Frames that leak do not
/// come back: the end of the world sees what falls in between.
const LEDGER: u64 = 64;

impl Memory {
    /// Of an engine that has done nothing yet; `phase` decides which turns are
    /// looked at closely.
    pub const fn new(phase: u64) -> Self {
        Self {
            states: Vec::new(),
            turns: phase % LEDGER,
        }
    }

    /// Holds an engine against the rules; the costly ones only in one of
    /// `sample` turns.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn check(
        &mut self,
        now: Instant,
        engine: &Engine<Nic, Peer>,
        turn: &Turn,
        sample: u64,
    ) -> Result<(), String> {
        self.turns += 1;
        let whole = self.turns.is_multiple_of(sample);
        let stack = engine.stack();
        let mut nearest = Instant::FAR;
        for index in stack.flows.indices() {
            let (Some(slot), Some(flow)) = (stack.flows.at(index), stack.flows.flow(index)) else {
                continue;
            };
            let conn = &slot.conn;
            let broken = |rule: &str| format!("{rule}: {:?} {:#?}", slot.tuple, conn);
            if let Some(conn) = conn.tcp() {
                self.step(flow, conn.state())
                    .map_err(|rule| broken(&rule))?;
            }
            if slot.in_output || slot.in_waiting {
                continue;
            }
            nearest = nearest.min(slot.armed);
            if slot.armed != conn.poll_timeout().unwrap_or(Instant::FAR) {
                return Err(broken("the engine waits for the nearest deadline"));
            }
            if slot.route.is_some() && slot.failed.is_none() {
                match conn {
                    Conn::Tcp(conn) => conn.check_timers(now),
                    Conn::Utp(conn) => conn.check_timers(now),
                }
                .map_err(broken)?;
            }
            if whole {
                match conn {
                    Conn::Tcp(conn) => conn.check(),
                    Conn::Utp(conn) => conn.check(),
                }
                .map_err(broken)?;
            }
        }
        let wakes = turn.next.unwrap_or(Instant::FAR);
        if wakes > nearest.max(now) + Wheel::TICK && !turn.stopped {
            return Err(format!(
                "the engine sleeps until {wakes:?}, past a deadline at {nearest:?}"
            ));
        }
        if self.turns.is_multiple_of(LEDGER) {
            let (ledger, pool) = (engine.ledger(), engine.pool());
            let free = u32::try_from(pool.available()) == Ok(ledger.pool);
            if ledger.total() != pool.region().chunks() || !free {
                return Err(format!("{} frames are free of {ledger}", pool.available()));
            }
        }
        Ok(())
    }

    fn step(&mut self, flow: Flow, state: State) -> Result<(), String> {
        let at = flow.index();
        if self.states.len() <= at {
            self.states.resize(at + 1, None);
        }
        let before = self.states[at].replace((flow, state));
        match before {
            Some((known, from)) if known == flow && !leads(from, state) => Err(format!(
                "no arrow leads from {from:?} to {state:?} (RFC 9293 3.3.2)"
            )),
            _ => Ok(()),
        }
    }
}

/// The arrows themselves: nothing leads out of CLOSED or back.
pub fn arrows_lead_one_way() -> Result<(), String> {
    for a in STATES {
        for b in STATES {
            if a != b && leads(a, b) && leads(b, a) {
                return Err(format!("{a:?} and {b:?} lead to each other"));
            }
        }
    }
    if leads(State::FinWait2, State::CloseWait) || !leads(State::SynSent, State::TimeWait) {
        return Err("the table of states is wrong".into());
    }
    Ok(())
}
