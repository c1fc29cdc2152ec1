//! Messages and their answers between two engines, and nothing else: what is in
//! front of an answer, to be counted.

use std::collections::VecDeque;
use std::hint::black_box;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use fullbore::engine::sim::Host;
use fullbore::engine::{Application, Context, Engine, Flow, Reason};
use fullbore::frame::{Packet, Pool, TxDesc};
use fullbore::link::Link;
use fullbore::time::Instant;

use super::Wire;

const PORT: u16 = 7;
/// Addresses of the two ends: who asks, who answers.
const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];
/// Bytes of a message.
const MESSAGE: usize = 64;
/// Time from a message to its answer.
const STEP: Duration = Duration::from_micros(3);

/// A wire whose two moments a trace of instructions can be cut at: a frame is
/// there, and the answer is about to go.
struct Marked(Wire);

#[inline(never)]
fn frame_is_there(n: usize) -> usize {
    black_box(n)
}

#[inline(never)]
fn answer_goes(n: usize) -> usize {
    // Not the same as the one above, which would be put in its place.
    !black_box(!n)
}

impl Link for Marked {
    fn receive(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        out: &mut Vec<Packet>,
        max: usize,
    ) -> usize {
        let n = self.0.receive(now, pool, out, max);
        frame_is_there(n)
    }

    fn transmit(&mut self, now: Instant, pool: &mut Pool, queue: &mut VecDeque<TxDesc>) {
        if answer_goes(queue.len()) > 0 {
            self.0.transmit(now, pool, queue);
        }
    }

    fn wait(&mut self, timeout: Duration, wakers: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.0.wait(timeout, wakers)
    }
}

/// Both ends: says a message for each that it hears, and one who asks the
/// first.
struct Talker {
    asks: bool,
    heard: u64,
    got: usize,
    closed: bool,
}

impl Talker {
    fn say(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        self.closed |= cx.send(flow, &[0x5a; MESSAGE]) < MESSAGE;
    }
}

impl Application for Talker {
    type Message = ();

    fn start(&mut self, cx: &mut Context<'_, ()>) {
        let server = SocketAddr::from((ADDRESSES[1], PORT));
        if self.asks {
            self.closed |= cx.connect(server).is_err();
        } else {
            self.closed |= cx.listen(server, 1).is_err();
        }
    }

    fn accept(&mut self, _: &mut Context<'_, ()>, _: Flow, _: SocketAddr, _: SocketAddr) -> bool {
        true
    }

    fn connected(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        self.say(cx, flow);
    }

    fn readable(&mut self, cx: &mut Context<'_, ()>, flow: Flow) {
        self.got += cx.recv_each(flow, <[u8]>::len);
        while self.got >= MESSAGE {
            self.got -= MESSAGE;
            self.heard += 1;
            self.say(cx, flow);
        }
    }

    fn writable(&mut self, _: &mut Context<'_, ()>, _: Flow) {}

    fn closed(&mut self, _: &mut Context<'_, ()>, _: Flow, _: Reason) {
        self.closed = true;
    }
}

/// Two engines that exchange messages.
pub struct Messages {
    now: Instant,
    ends: [Engine<Marked, Talker>; 2],
}

impl Messages {
    /// Two engines with their usual settings on a wire.
    ///
    /// # Errors
    /// When there are no file descriptors left.
    pub fn new() -> Result<Self, String> {
        let (near, far) = Wire::pair();
        let end = |n: usize, link| -> Result<_, String> {
            let prefix = format!("{}/24", ADDRESSES[n]).parse();
            let host = Host::new(prefix.map_err(|_| "no address")?);
            let talker = Talker {
                asks: n == 0,
                heard: 0,
                got: 0,
                closed: false,
            };
            let engine = host.build(Marked(link), talker);
            engine.map_err(|e: io::Error| e.to_string())
        };
        Ok(Self {
            now: Instant::from_millis(1000),
            ends: [end(0, near)?, end(1, far)?],
        })
    }

    /// Goes on until each end has heard `n` more messages.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn exchange(&mut self, n: u64) -> Result<(), String> {
        let until = self.ends[0].app().heard + n;
        while self.ends[0].app().heard < until {
            for end in &mut self.ends {
                end.turn(self.now);
                self.now += STEP;
            }
            if self.ends.iter().any(|end| end.app().closed) {
                return Err("the connection between the engines failed".to_owned());
            }
        }
        Ok(())
    }
}
