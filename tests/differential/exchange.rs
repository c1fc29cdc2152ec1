//! One exchange: a connection is brought to a state, a segment is injected,
//! and the answers are written down so that two hosts' can be compared.

mod describe;

use std::time::Duration;

use crate::case::{AckAt, Case, Inject, Opts, SeqAt, Start};
use crate::host::{Host, Standing};
use crate::segment::{ACK, FIN, Names, PSH, SYN, Segment};

/// The peer's initial sequence number.
const IRS: u32 = 0x1000_0000;
/// Stands for the host's initial sequence number where there is none.
const NO_ISS: u32 = 0x5000_0000;
/// First value of the peer's timestamp clock; it ticks with each segment.
const TS_START: u32 = 1000;
const TS_STEP: u32 = 10;
/// The peer's window shift and window field.
const SHIFT: u8 = 2;
pub const WINDOW: u16 = 10_000;
/// Payload of the peer's and the host's full segments.
pub const MSS: u16 = 1000;
/// How long an answer that has to come may take, on a machine with much else
/// to do.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long answers are collected at least: more than an acknowledgement is
/// delayed.
pub const COLLECT: Duration = Duration::from_millis(100);
/// Numbers this close to the right edge are written relative to it.
const NEAR_EDGE: i32 = 5000;

/// What came of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub answers: Vec<String>,
    /// Of each answer what two different hosts may choose for themselves, and
    /// one host may not choose twice in different ways.
    pub rest: Vec<String>,
    pub standing: Standing,
}

impl Outcome {
    /// Everything, for two runs of the same host.
    pub fn in_full(&self) -> String {
        format!("{self} ({})", self.rest.join("; "))
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for answer in &self.answers {
            write!(f, "{answer}; ")?;
        }
        write!(f, "{}", self.standing)
    }
}

/// Runs `case` against `host`, collecting answers for `collect`.
///
/// # Errors
/// What did not come while the connection was brought to its state.
pub fn run(host: &mut dyn Host, case: &Case, collect: Duration) -> Result<Outcome, String> {
    let mut peer = Peer::new(host, case.plain);
    peer.bring_to(case.start)?;
    peer.settle();
    let before = peer.clone_view();
    peer.inject(&case.inject);
    let (mut answers, mut rest) = (Vec::new(), Vec::new());
    let mut left = collect;
    while let Some(segment) = peer.host.receive(left) {
        answers.push(peer.describe(&segment, &before));
        let Segment {
            window, ttl, tos, ..
        } = segment;
        rest.push(format!("win={window} ttl={ttl} tos={tos}"));
        if answers.len() > 20 {
            break;
        }
        left = collect;
    }
    let mut standing = peer.host.standing();
    // How much fills a window is each host's own affair.
    if case.start == Start::WindowFull {
        standing.readable = standing
            .readable
            .saturating_sub(before.rcv.wrapping_sub(IRS + 1) as usize);
    }
    Ok(Outcome {
        answers,
        rest,
        standing,
    })
}

/// What the peer knows of the host.
#[derive(Clone, Copy)]
struct View {
    /// The host's initial sequence number.
    iss: u32,
    /// Behind the last sequence number that the host has sent.
    nxt: u32,
    /// What the peer has acknowledged.
    una: u32,
    /// What the host expects next.
    rcv: u32,
    /// Right edge of the host's window.
    edge: u32,
    /// The host's shift.
    shift: u8,
    /// The host's last timestamp.
    ts: u32,
}

struct Peer<'a> {
    host: &'a mut dyn Host,
    view: View,
    /// The peer's next sequence number.
    seq: u32,
    clock: u32,
    /// Neither timestamps nor any other option but the segment size.
    plain: bool,
}

impl<'a> Peer<'a> {
    fn new(host: &'a mut dyn Host, plain: bool) -> Self {
        let view = View {
            iss: NO_ISS,
            nxt: NO_ISS + 1,
            una: NO_ISS + 1,
            rcv: IRS + 1,
            edge: IRS + 30_000,
            shift: 0,
            ts: 0,
        };
        Self {
            host,
            view,
            seq: IRS,
            clock: TS_START,
            plain,
        }
    }

    const fn clone_view(&self) -> View {
        self.view
    }

    /// Takes note of a segment from the host.
    fn note(&mut self, s: &Segment) {
        let v = &mut self.view;
        if s.flags & SYN != 0 {
            v.iss = s.seq;
            v.nxt = s.seq + 1;
            v.una = s.seq;
            for (kind, data) in s.options() {
                if kind == 3 && !self.plain {
                    v.shift = data[0];
                }
            }
        }
        let end = s.seq.wrapping_add(s.seq_len());
        if (end.wrapping_sub(v.nxt) as i32) > 0 {
            v.nxt = end;
        }
        if s.flags & ACK != 0 {
            v.rcv = s.ack;
            let shift = if s.flags & SYN != 0 { 0 } else { v.shift };
            v.edge = s.ack.wrapping_add(u32::from(s.window) << shift);
        }
        if let Some((value, _)) = s.timestamps() {
            v.ts = value;
        }
    }

    /// The next segment from the host, which has to have `flags`.
    fn expect(&mut self, flags: u8) -> Result<Segment, String> {
        loop {
            let Some(s) = self.host.receive(PATIENCE) else {
                return Err(format!("no {} came", Names(flags)));
            };
            self.note(&s);
            if s.flags & !PSH == flags {
                return Ok(s);
            }
            // An update of the window, say.
            if s.flags & !PSH != ACK || !s.payload.is_empty() {
                let (got, want) = (Names(s.flags), Names(flags));
                return Err(format!("{got} came instead of {want}"));
            }
        }
    }

    /// Takes what the host has sent of its own accord.
    fn settle(&mut self) {
        while let Some(s) = self.host.receive(Duration::from_millis(1)) {
            self.note(&s);
        }
    }

    fn timestamps(&mut self, value: u32, echo: u32) -> Vec<u8> {
        let mut options = vec![1, 1, 8, 10];
        options.extend(value.to_be_bytes());
        options.extend(echo.to_be_bytes());
        options
    }

    /// A segment with the connection's options, from where the peer is.
    fn segment(&mut self, flags: u8, payload: usize) -> Segment {
        let (dst_port, src_port) = self.host.ports();
        self.clock += TS_STEP;
        let options = if self.plain {
            Vec::new()
        } else {
            self.timestamps(self.clock, self.view.ts)
        };
        Segment {
            v6: self.host.v6(),
            src_port,
            dst_port,
            seq: self.seq,
            ack: if flags & ACK != 0 { self.view.nxt } else { 0 },
            flags,
            window: WINDOW,
            options,
            payload: vec![b'p'; payload],
            ..Segment::default()
        }
    }

    /// Sends what comes next in the peer's stream.
    fn say(&mut self, flags: u8, payload: usize) {
        let s = self.segment(flags, payload);
        self.seq = self.seq.wrapping_add(s.seq_len());
        if flags & ACK != 0 {
            self.view.una = s.ack;
        }
        self.host.send(&s.frame());
    }

    fn syn(&mut self, flags: u8) {
        let mut s = self.segment(flags, 0);
        s.options = self.syn_options();
        self.seq = self.seq.wrapping_add(1);
        if flags & ACK != 0 {
            self.view.una = s.ack;
        }
        self.host.send(&s.frame());
    }

    fn syn_options(&mut self) -> Vec<u8> {
        // Timestamps take twelve bytes of each segment.
        let mss = MSS + if self.plain { 0 } else { 12 };
        let [a, b] = mss.to_be_bytes();
        let mut options = vec![2, 4, a, b];
        if !self.plain {
            options.extend([4, 2, 8, 10]);
            options.extend(self.clock.to_be_bytes());
            options.extend(self.view.ts.to_be_bytes());
            options.extend([1, 3, 3, SHIFT]);
        }
        options
    }

    /// Up to SYN-RECEIVED.
    fn half_open(&mut self) -> Result<(), String> {
        self.host.listen();
        self.syn(SYN);
        self.expect(SYN | ACK).map(drop)
    }

    fn establish(&mut self, round_trip: Duration) -> Result<(), String> {
        self.half_open()?;
        if !round_trip.is_zero() && self.host.receive(round_trip).is_some() {
            return Err("something came during the handshake".into());
        }
        self.say(ACK, 0);
        if self.host.accept(PATIENCE) {
            Ok(())
        } else {
            Err("nothing to accept".into())
        }
    }

    /// Up to FIN-WAIT-1.
    fn finish_host(&mut self) -> Result<(), String> {
        self.host.shutdown();
        self.expect(FIN | ACK).map(drop)
    }

    fn finish_peer(&mut self) -> Result<(), String> {
        self.say(FIN | ACK, 0);
        self.expect(ACK).map(drop)
    }

    fn bring_to(&mut self, start: Start) -> Result<(), String> {
        let at_once = Duration::ZERO;
        match start {
            Start::Closed => {}
            Start::Listen => self.host.listen(),
            Start::SynSent => {
                self.host.connect();
                self.expect(SYN)?;
            }
            Start::SynReceived => self.half_open()?,
            Start::SynReceivedBoth => {
                self.host.connect();
                self.expect(SYN)?;
                self.syn(SYN);
                self.expect(SYN | ACK)?;
            }
            Start::Established => self.establish(at_once)?,
            Start::Connected => {
                self.host.connect();
                self.expect(SYN)?;
                self.syn(SYN | ACK);
                self.expect(ACK)?;
            }
            Start::InFlight => {
                // Long enough for no probe to come meanwhile.
                self.establish(Duration::from_millis(70))?;
                self.host.write(3 * usize::from(MSS));
                for _ in 0..3 {
                    self.expect(ACK)?;
                }
            }
            Start::Hole => {
                self.establish(at_once)?;
                self.seq += 1000;
                self.say(ACK, 500);
                self.seq -= 1500;
                self.expect(ACK)?;
            }
            Start::Received => {
                self.establish(at_once)?;
                self.say(ACK, 1000);
                self.expect(ACK)?;
            }
            Start::WindowFull => self.fill_window()?,
            Start::FinWait1 => {
                self.establish(at_once)?;
                self.finish_host()?;
            }
            Start::FinWait1Closed => {
                self.establish(at_once)?;
                self.host.close();
                self.expect(FIN | ACK)?;
            }
            Start::FinWait2 => {
                self.establish(at_once)?;
                self.finish_host()?;
                self.say(ACK, 0);
            }
            Start::FinWait2Closed => {
                self.establish(at_once)?;
                self.host.close();
                self.expect(FIN | ACK)?;
                self.say(ACK, 0);
            }
            Start::Closing => {
                self.establish(at_once)?;
                self.finish_host()?;
                self.view.nxt -= 1;
                self.finish_peer()?;
                self.view.nxt += 1;
            }
            Start::TimeWait => {
                self.establish(at_once)?;
                self.finish_host()?;
                self.say(ACK, 0);
                self.finish_peer()?;
            }
            Start::CloseWait => {
                self.establish(at_once)?;
                self.finish_peer()?;
            }
            Start::LastAck => {
                self.establish(at_once)?;
                self.finish_peer()?;
                self.finish_host()?;
            }
        }
        Ok(())
    }

    /// Sends until the host's window is shut, since nothing is read.
    fn fill_window(&mut self) -> Result<(), String> {
        self.establish(Duration::ZERO)?;
        for _ in 0..400 {
            let room = self.view.edge.wrapping_sub(self.seq) as i32;
            if room <= 0 {
                return Ok(());
            }
            self.say(ACK, (room as usize).min(usize::from(MSS)));
            self.expect(ACK)?;
        }
        Err("the window does not fill".into())
    }

    fn inject(&mut self, i: &Inject) {
        let mut s = self.segment(i.flags, i.payload);
        let v = self.view;
        s.seq = self.place(i.seq);
        if i.flags & ACK != 0 {
            s.ack = self.mark(i.ack);
        }
        s.window = i.window;
        if i.flags & crate::segment::URG != 0 {
            s.urgent = 1;
        }
        s.bad_checksum = i.bad_checksum;
        s.offset = i.offset;
        match &i.options {
            Opts::Agreed => {}
            Opts::None => s.options.clear(),
            Opts::Syn => s.options = self.syn_options(),
            Opts::Timestamps(value, echo) => {
                let (value, echo) = (
                    self.clock.wrapping_add_signed(*value),
                    v.ts.wrapping_add_signed(*echo),
                );
                s.options = self.timestamps(value, echo);
            }
            Opts::Sack(blocks) => {
                let mut option = vec![1, 1, 5, (2 + 8 * blocks.len()) as u8];
                for (left, right) in blocks {
                    option.extend(self.mark(*left).to_be_bytes());
                    option.extend(self.mark(*right).to_be_bytes());
                }
                s.options.extend(option);
            }
            Opts::More(bytes) => s.options.extend(bytes),
            Opts::Raw(bytes) => s.options.clone_from(bytes),
        }
        self.host.send(&s.frame());
    }

    fn place(&self, at: SeqAt) -> u32 {
        match at {
            SeqAt::Next(n) => self.view.rcv.wrapping_add_signed(n),
            SeqAt::Edge(n) => self.view.edge.wrapping_add_signed(n),
        }
    }

    fn mark(&self, at: AckAt) -> u32 {
        match at {
            AckAt::Una(n) => self.view.una.wrapping_add_signed(n),
            AckAt::Next(n) => self.view.nxt.wrapping_add_signed(n),
        }
    }
}
