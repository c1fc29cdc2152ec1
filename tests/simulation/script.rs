//! What the two ends of a connection are to do.

use std::time::Duration;

use crate::rng::Rng;

/// How an end writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// As much as is taken, in calls of any size.
    Bulk,
    /// A byte a call.
    Bytes,
    /// Into frames of its own.
    Frames,
    /// All of these.
    Mixed,
}

/// How an end reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    Eager,
    /// A byte a call.
    Bytes,
    /// Parts of what there is.
    Parts,
    /// The frames themselves, which it keeps for a while.
    Frames,
    Mixed,
}

/// How an end ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Its stream ends behind what it has to say.
    Shutdown,
    /// It ends its stream when the peer has ended its own.
    AfterPeer,
    /// It closes once all is said and heard.
    Close,
    /// It closes when all is said, and wants to hear no more.
    CloseUnread,
    /// It aborts after so many bytes, heard and said.
    AbortAt(usize),
    /// It aborts after some time.
    AbortAfter(Duration),
}

/// One end.
#[derive(Clone, Debug)]
pub struct Side {
    /// Bytes to say.
    pub total: usize,
    pub write: Write,
    pub read: Read,
    pub finish: Finish,
    /// Pauses: one in so many calls, for up to so long.
    pub write_pause: (u64, Duration),
    pub read_pause: (u64, Duration),
    /// It says nothing before the peer's stream has ended.
    pub answers: bool,
    /// How long it keeps frames.
    pub keep: Duration,
}

/// One connection.
#[derive(Clone, Debug)]
pub struct Dialog {
    pub client: usize,
    pub server: usize,
    /// Over uTP, not TCP.
    pub utp: bool,
    /// When it is opened.
    pub at: Duration,
    /// The listener does not want it.
    pub refused: bool,
    /// Both ends open, each from the port that the other opens to: the
    /// simultaneous open of RFC 9293 section 3.5, figure 7.
    pub mutual: bool,
    /// The client's end, and the server's.
    pub sides: [Side; 2],
}

impl Side {
    pub fn draw(rng: &mut Rng, most: u64, rude: bool) -> Self {
        let total = rng.skewed(most) as usize;
        let small = total < 1500;
        let write = match rng.below(8) {
            0 if small => Write::Bytes,
            1 | 2 => Write::Frames,
            3 => Write::Mixed,
            _ => Write::Bulk,
        };
        let read = match rng.below(10) {
            0 => Read::Bytes,
            1 => Read::Parts,
            2 => Read::Frames,
            3 => Read::Mixed,
            _ => Read::Eager,
        };
        let finish = match rng.below(12) {
            0 if rude => Finish::AbortAt(rng.below(total as u64 * 2 + 1) as usize),
            1 if rude => Finish::AbortAfter(rng.skewed_time(Duration::from_secs(20))),
            2 if rude => Finish::CloseUnread,
            3 | 4 => Finish::Close,
            5 => Finish::AfterPeer,
            _ => Finish::Shutdown,
        };
        let pause = |rng: &mut Rng| match rng.below(8) {
            0 => (4, Duration::from_millis(3)),
            1 => (16, Duration::from_millis(50)),
            2 => (64, Duration::from_secs(2)),
            3 if rng.one_in(4) => (40, Duration::from_secs(90)),
            _ => (0, Duration::ZERO),
        };
        Self {
            total,
            write,
            read,
            finish,
            write_pause: pause(rng),
            read_pause: pause(rng),
            answers: false,
            keep: rng.skewed_time(Duration::from_millis(200)),
        }
    }

    /// Whether this end may leave before everything was said and heard.
    pub const fn is_rude(&self) -> bool {
        matches!(
            self.finish,
            Finish::AbortAt(_) | Finish::AbortAfter(_) | Finish::CloseUnread
        )
    }
}

impl Dialog {
    pub fn draw(rng: &mut Rng, (client, server): (usize, usize), most: u64, rude: bool) -> Self {
        let server_rude = rude && rng.one_in(2);
        let mut sides = [
            Side::draw(rng, most, rude),
            Side::draw(rng, most, server_rude),
        ];
        // A question and its answer.
        if rng.one_in(5) && sides[0].finish == Finish::Shutdown {
            sides[1].answers = true;
        }
        // Two that wait for each other would wait for ever.
        if sides[1].finish == Finish::AfterPeer || sides[1].answers {
            let first = &mut sides[0].finish;
            if matches!(first, Finish::AfterPeer | Finish::Close) {
                *first = Finish::Shutdown;
            }
        }
        if sides[0].finish == Finish::AfterPeer || sides[0].finish == Finish::Close {
            let second = &mut sides[1].finish;
            if matches!(second, Finish::AfterPeer | Finish::Close) {
                *second = Finish::Shutdown;
            }
        }
        Self {
            client,
            server,
            utp: false,
            at: rng.skewed_time(Duration::from_secs(5)),
            refused: rude && rng.one_in(40),
            mutual: false,
            sides,
        }
    }
}
