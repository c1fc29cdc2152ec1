//! A connection in any state, in either role, against whatever may arrive,
//! whatever the application does, however the time goes and with as few frames
//! as there may be.

use std::time::Duration;

use fullbore::congestion::Algorithm;
use fullbore::tcp::cookie::{Decoded, Offer};
use fullbore::tcp::{Config, Connection, Ecn, State};
use fullbore::time::Instant;
use fullbore::wire::tcp::{Flags, Header, Options, SackBlocks, SeqNumber, Timestamps};

use super::end::{End, MSS};
use super::input::Input;

/// Actions taken from one input.
const STEPS: usize = 300;
/// Deadlines after which a connection without a peer has to have given up.
const DEADLINES: usize = 400;

pub fn run(data: &[u8]) {
    let mut i = Input::new(data);
    let mut world = World::new(&mut i);
    for _ in 0..STEPS {
        if i.is_empty() {
            break;
        }
        world.step(&mut i);
        world.end.settle(world.now);
    }
    world.wind_down();
}

pub fn config(i: &mut Input<'_>) -> Config {
    let with = i.u8();
    let sizes = i.u8();
    Config {
        ecn: i.pick(&[Ecn::Accept, Ecn::Request, Ecn::Off]),
        congestion: match with >> 6 {
            0 => Algorithm::Reno,
            1 => Algorithm::Westwood,
            _ => Algorithm::Cubic,
        },
        sack: with & 1 != 0,
        timestamps: with & 2 != 0,
        window_scaling: with & 4 != 0,
        nodelay: with & 8 != 0,
        keepalive: (with & 16 != 0).then_some(Duration::from_secs(10)),
        user_timeout: (with & 32 != 0).then_some(Duration::from_secs(40)),
        recv_buffer: 2048 << (sizes & 15).min(12),
        send_buffer: 2048 << (sizes >> 4).min(12),
        ..Config::default()
    }
}

struct World {
    end: End,
    now: Instant,
    /// The timestamp that the peer sent last.
    ts: u32,
}

impl World {
    fn new(i: &mut Input<'_>) -> Self {
        let config = config(i);
        let how = i.u8();
        let iss = SeqNumber(if how & 0x80 != 0 {
            u32::MAX - 3000
        } else {
            i.u32()
        });
        let chunks = if how & 0x40 != 0 { 24 } else { 128 };
        let mut end = End::new(config, 1, 2, iss, chunks);
        let now = Instant::from_millis(10_000);
        let mut world = match how & 3 {
            0 => {
                end.connect(now);
                Self { end, now, ts: 0 }
            }
            1 | 2 => {
                let syn = syn(i);
                end.accept(now, &syn);
                let ts = syn.options.timestamps.map_or(0, |t| t.val);
                Self { end, now, ts }
            }
            _ => Self::from_cookie(end, now, i),
        };
        world.end.settle(now);
        if how & 4 != 0 {
            world.shake_hands(i);
        }
        world
    }

    fn from_cookie(mut end: End, now: Instant, i: &mut Input<'_>) -> Self {
        let with = i.u8();
        let cookie = Decoded {
            mss: i.u16(),
            window_scale: (with & 1 != 0).then(|| i.u8()),
            sack_permitted: with & 2 != 0,
            ecn: with & 8 != 0,
            ts_offset: (with & 4 != 0).then_some(1 << 5),
        };
        let ack = Header {
            src_port: 2,
            dst_port: 1,
            seq: SeqNumber(i.u32()),
            ack: end.iss + 1,
            flags: Flags::ACK,
            window: i.u16(),
            options: Options {
                timestamps: (with & 4 != 0).then_some(Timestamps { val: 5, ecr: 5 }),
                ..Options::default()
            },
            ..Header::default()
        };
        end.conn = Some(Connection::accept_cookie(&end.setup(now), &ack, &cookie));
        end.irs = Some(ack.seq - 1);
        // What the SYN-ACK with the cookie promised.
        let promised = u16::try_from(end.config.recv_buffer).unwrap_or(u16::MAX);
        end.edge = Some(ack.seq + u32::from(promised));
        end.nxt = end.iss + 1;
        end.shift = Offer::new(&end.config, MSS).window_scale.unwrap_or(0);
        end.segment(now, &ack, 0, false);
        Self { end, now, ts: 5 }
    }

    /// The peer does its part of the handshake.
    fn shake_hands(&mut self, i: &mut Input<'_>) {
        let mut h = Header {
            ack: self.end.iss + 1,
            ..syn(i)
        };
        h.flags = match self.end.state() {
            State::SynSent => {
                self.ts = h.options.timestamps.map_or(0, |t| t.val);
                Flags::SYN | Flags::ACK
            }
            State::SynReceived => {
                h.seq = self.end.rcv_nxt();
                h.options.timestamps = Some(Timestamps {
                    val: self.ts,
                    ecr: self.end.ts_sent,
                });
                Flags::ACK
            }
            _ => return,
        };
        self.end.segment(self.now, &h, 0, false);
        self.end.settle(self.now);
    }

    fn step(&mut self, i: &mut Input<'_>) {
        let op = i.u8();
        let (end, now) = (&mut self.end, self.now);
        match op % 32 {
            0..=9 => self.any_segment(i),
            10..=13 => self.next_segment(i),
            14 | 15 => end.write(usize::from(i.u16())),
            16 => end.write_frame(usize::from(i.u16() % (MSS + 1))),
            17 => {
                end.read(usize::from(i.u16()));
            }
            18 => {
                end.take();
            }
            19 => end.give_back(),
            20 if op >= 128 => end.shutdown(),
            21 if op >= 128 => end.close(now),
            22 if op >= 192 => end.abort(),
            20..=23 => end.complete(i.below(8)),
            24 => {
                end.slow = i.bool();
                if !end.slow {
                    end.complete(usize::MAX);
                }
            }
            25 => end.hog(i.below(16)),
            26 => end.unhog(),
            27 => {
                let quoted = near(i, &[end.una(), end.nxt]);
                let mss = i.u16();
                if let Some(conn) = &mut end.conn {
                    if op & 32 != 0 {
                        conn.handle_path_mtu(self.now, mss, quoted);
                    } else {
                        conn.handle_unreachable(&mut end.pool, quoted);
                    }
                }
            }
            28 => {
                if let Some(conn) = &mut end.conn {
                    conn.set_nodelay(op & 32 != 0);
                }
            }
            29 => {
                self.now += Duration::from_micros(u64::from(i.u16()) << (op >> 5));
                self.end.timeout(self.now);
            }
            _ => {
                let next = self.end.next_timeout().unwrap_or(now);
                self.now = now.max(next);
                self.end.timeout(self.now);
            }
        }
    }

    /// A segment that may be anything, mostly near what counts.
    fn any_segment(&mut self, i: &mut Input<'_>) {
        let end = &self.end;
        let (rcv, wnd) = (end.rcv_nxt(), end.rcv_wnd());
        let rcv = [rcv, rcv, rcv + wnd, rcv + wnd / 2];
        let snd = [end.una(), end.nxt, end.nxt, end.iss];
        let flags = match i.below(12) {
            0 => Flags(i.u8()),
            1 | 2 => Flags::ACK | Flags::FIN,
            3 => Flags::RST | Flags::ACK,
            4 => Flags::SYN | Flags(i.u8() & 0xd0),
            5 => Flags::ACK | Flags(i.u8() & 0xc0),
            _ => Flags::ACK,
        };
        let seq = near(i, &rcv);
        let ack = near(i, &snd);
        let with = i.u8();
        let mut sack = SackBlocks::default();
        for _ in 0..with & 3 {
            sack.push(near(i, &snd), near(i, &snd));
        }
        let h = Header {
            src_port: 2,
            dst_port: 1,
            seq,
            ack,
            flags,
            window: self.window(i),
            urgent: 0,
            options: Options {
                mss: (with & 4 != 0).then(|| i.u16()),
                window_scale: (with & 8 != 0).then(|| i.u8()),
                sack_permitted: with & 8 != 0,
                timestamps: (with & 16 == 0).then(|| self.timestamps(i, with)),
                sack,
            },
        };
        let len = i.pick(&[0, 0, 0, 1, 10, 536, 1448, 1460]);
        self.end.segment(self.now, &h, len, with & 128 != 0);
    }

    /// The next payload, acknowledging everything.
    fn next_segment(&mut self, i: &mut Input<'_>) {
        let with = i.u8();
        let h = Header {
            src_port: 2,
            dst_port: 1,
            seq: self.end.rcv_nxt(),
            ack: self.end.nxt,
            flags: if with & 7 == 7 {
                Flags::ACK | Flags::FIN
            } else {
                Flags::ACK
            },
            window: self.window(i),
            urgent: 0,
            options: Options {
                timestamps: Some(Timestamps {
                    val: self.ts,
                    ecr: self.end.ts_sent,
                }),
                ..Options::default()
            },
        };
        let len = [0, 1, 700, 1448][usize::from(with >> 6)];
        self.end.segment(self.now, &h, len, false);
    }

    fn window(&self, i: &mut Input<'_>) -> u16 {
        match i.u8() {
            0 => 0,
            1 => 1,
            2 => 7,
            3 => i.u16(),
            n => u16::from(n) << 8 | 0xff,
        }
    }

    fn timestamps(&mut self, i: &mut Input<'_>, with: u8) -> Timestamps {
        if with & 32 != 0 {
            self.ts = self.ts.wrapping_add(u32::from(i.u8()));
        }
        let val = if with & 64 != 0 {
            self.ts.wrapping_sub(u32::from(i.u16()) << (with & 15))
        } else {
            self.ts
        };
        let ecr = match i.u8() {
            0 => i.u32(),
            n => self.end.ts_sent.wrapping_sub(u32::from(n >> 4)),
        };
        Timestamps { val, ecr }
    }

    /// The peer is gone, and the application waits: what is owed is given up
    /// in the end, and every frame comes back.
    fn wind_down(mut self) {
        self.end.slow = false;
        self.end.complete(usize::MAX);
        self.end.unhog();
        self.end.settle(self.now);
        for n in 0.. {
            let Some(next) = self.end.next_timeout() else {
                break;
            };
            assert!(n < DEADLINES, "it never gives up: {:?}", self.end.conn);
            self.now = self.now.max(next);
            self.end.timeout(self.now);
            self.end.settle(self.now);
        }
        self.end.finish();
    }
}

fn syn(i: &mut Input<'_>) -> Header {
    let with = i.u8();
    Header {
        src_port: 2,
        dst_port: 1,
        seq: SeqNumber(i.u32()),
        flags: Flags::SYN | Flags(if with & 32 != 0 { 0xc0 } else { 0 }),
        window: i.u16(),
        options: Options {
            mss: (with & 1 != 0).then(|| i.u16()),
            window_scale: (with & 2 != 0).then(|| i.u8()),
            sack_permitted: with & 4 != 0,
            timestamps: (with & 8 != 0).then(|| Timestamps {
                val: i.u32(),
                ecr: 0,
            }),
            ..Options::default()
        },
        ..Header::default()
    }
}

/// A number near one of `edges`.
fn near(i: &mut Input<'_>, edges: &[SeqNumber]) -> SeqNumber {
    let choice = usize::from(i.u8());
    let edge = edges[choice % edges.len()];
    match choice / edges.len() % 16 {
        0..=3 => edge,
        4 => edge + 1,
        5 => edge - 1,
        6 => edge + 2,
        7 => edge - 100,
        8 => edge + 1448,
        9 => edge - 1448,
        10 => edge + u32::from(i.u16()),
        11 => edge - u32::from(i.u16()),
        12 => edge + (1 << 20),
        13 => edge + (1 << 31),
        14 => edge - (1 << 30),
        _ => SeqNumber(i.u32()),
    }
}
