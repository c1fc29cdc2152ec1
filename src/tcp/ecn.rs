//! Explicit congestion notification (RFC 3168, as RFC 8311 updates it): marks
//! in place of losses.
//!
//! Data that is sent for the first time carries ECT(0). ECT(1) is left to the
//! experiments of RFC 8311, and so are marks on SYNs, pure acknowledgements
//! and retransmissions. The answer to a mark is the milder back-off of
//! RFC 8511.
//!
//! Left out: RFC 3168 section 6.1.2 has a sender with a window of one segment
//! that is marked wait for a time-out. The window stays at one segment here,
//! as it does in Linux.

use super::connection::Connection;
use super::send::Segment;
use crate::wire::tcp::{Flags, Header, SeqNumber};

/// Whether connections use congestion marks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Ecn {
    /// No.
    Off,
    /// When the peer asks for it.
    #[default]
    Accept,
    /// Those that we open ask for it too.
    Request,
}

/// Not-ECT and ECT(0) in the IP header (RFC 3168 section 5).
const NOT_ECT: u8 = 0;
const ECT_0: u8 = 2;

/// What makes a SYN one that asks for ECN (RFC 3168 section 6.1.1).
pub(super) const SETUP: Flags = Flags(Flags::ECE.0 | Flags::CWR.0);

/// What was agreed on, and what is under way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct EcnState {
    /// The last SYN that we have sent asked.
    asked: bool,
    /// A SYN of ours did not ask, though one before did: the peer may have
    /// seen either, so our data is not to be marked.
    doubtful: bool,
    /// A SYN that asked was refused, which may be for that alone.
    refused: bool,
    /// Marks on the peer's data are to be echoed.
    receive: bool,
    /// Our data may be marked, and echoes count.
    send: bool,
    /// The segment in hand came marked.
    pub marked: bool,
    /// A mark has come: ECE goes out until the peer's CWR.
    echo: bool,
    /// The window was reduced: the next new data says so.
    cwr: bool,
    /// Behind the data that said so: echoes before its acknowledgement are of
    /// the marks that it answered.
    told: Option<SeqNumber>,
}

impl EcnState {
    /// Flags of a SYN that is sent for the first time, or `again`: then it
    /// asks no more (RFC 3168 section 6.1.1.1).
    pub fn syn_flags(&mut self, how: Ecn, again: bool) -> Flags {
        let asks = how == Ecn::Request && !again;
        self.doubtful |= self.asked && !asks;
        self.asked |= asks;
        if asks { SETUP } else { Flags::NONE }
    }

    /// Flags of a SYN-ACK beside those two.
    pub fn syn_ack_flags(&self) -> Flags {
        if self.receive {
            Flags::ECE
        } else {
            Flags::NONE
        }
    }

    /// What the peer's SYN or SYN-ACK says.
    pub fn negotiate(&mut self, how: Ecn, flags: Flags) {
        if flags.contains(Flags::ACK) {
            // With both flags it is a reflection by one that knows neither.
            let agreed = flags.contains(Flags::ECE) && !flags.contains(Flags::CWR);
            self.receive = agreed && self.asked;
            self.send = self.receive && !self.doubtful;
        } else {
            self.receive = how != Ecn::Off && flags.contains(SETUP);
            self.send = self.receive;
        }
    }

    /// Does without congestion marks.
    pub fn forgo(&mut self) {
        self.receive = false;
        self.send = false;
    }

    /// Our SYN was refused. Whether to try once more without asking.
    pub fn retry_plain(&mut self) -> bool {
        let retry = self.asked && !self.doubtful && !self.refused;
        self.refused |= retry;
        retry
    }

    /// Transmissions of our SYN that a refusal caused, not a loss.
    pub fn needless_syns(&self) -> u8 {
        u8::from(self.refused)
    }

    /// Whether both directions may be marked.
    pub const fn is_on(&self) -> bool {
        self.receive && self.send
    }

    /// Whether `flags` echo a mark. On a SYN-ACK the flag is an agreement.
    pub const fn is_echo(&self, flags: Flags) -> bool {
        self.send && flags.contains(Flags::ECE) && !flags.contains(Flags::SYN)
    }

    /// Whether an echo is of a mark that nothing was done about yet.
    pub const fn is_news(&self) -> bool {
        !self.cwr && self.told.is_none()
    }

    /// The window was reduced, for whatever reason.
    pub fn reduced(&mut self) {
        self.cwr = self.send;
    }

    /// The reduction was a mistake.
    pub fn not_reduced(&mut self) {
        self.cwr = false;
    }

    /// What is before `una` was acknowledged.
    pub fn acked(&mut self, una: SeqNumber) {
        if self.told.is_some_and(|at| una.ge(at)) {
            self.told = None;
        }
    }

    /// The IP header's ECN bits for segment `s`, and what its TCP header says.
    #[inline]
    pub fn data_marks(&self, s: &Segment) -> (u8, Flags) {
        if !self.send || s.sent > 0 || s.len == 0 {
            (NOT_ECT, Flags::NONE)
        } else if self.cwr {
            (ECT_0, Flags::CWR)
        } else {
            (ECT_0, Flags::NONE)
        }
    }

    /// The IP header's ECN bits for new data that says nothing of marks; `None`
    /// if it has to.
    pub fn train_mark(&self) -> Option<u8> {
        (!self.cwr).then_some(if self.send { ECT_0 } else { NOT_ECT })
    }

    /// New data up to `end` went out, with the flag if one was due.
    pub fn sent(&mut self, end: SeqNumber, flags: Flags) {
        if flags.contains(Flags::CWR) {
            self.cwr = false;
            self.told = Some(end);
        }
    }

    /// The flag of every segment that is not a SYN or a reset.
    #[inline]
    pub const fn echo_flag(&self) -> Flags {
        if self.echo { Flags::ECE } else { Flags::NONE }
    }
}

impl Connection {
    /// Payload inside the window has arrived (RFC 3168 section 6.1.3).
    #[inline]
    pub(super) fn note_marks(&mut self, h: &Header) {
        if !self.ecn.receive {
            return;
        }
        if h.flags.contains(Flags::CWR) {
            // The peer may have as little as one segment in flight.
            self.ecn.echo = false;
            self.ack.now = true;
        }
        if self.ecn.marked {
            self.counters.rare().marks_received += 1;
            self.ack.now |= !self.ecn.echo;
            self.ecn.echo = true;
        }
    }
}
