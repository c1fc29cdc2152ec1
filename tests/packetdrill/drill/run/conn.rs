//! Connections of a script: whose packets are whose, and what the script's
//! numbers are on the wire.

use std::collections::HashMap;

use super::super::ast::{Body, Ecn, Event, Flags, Packet, TcpOption};
use super::super::wire::{self, Ip, Payload, Tcp};
use super::{DEFAULT_PORT, Result, Runner, Stop, failed};

/// Remote ports count from here, by the connection's number.
const REMOTE_PORTS: u16 = 40_000;

/// A connection that the script speaks of.
#[derive(Clone, Debug)]
pub struct Conn {
    pub remote_port: u16,
    /// Known from the beginning unless the target chooses it.
    pub local_port: Option<u16>,
    /// What is added to the script's numbers of the target's direction; known
    /// once its SYN was seen.
    pub out_offset: Option<u32>,
    /// The same for the peer's direction.
    pub in_offset: u32,
    /// The script's number of the first payload byte, for either direction.
    pub out_first: u32,
    pub in_first: u32,
    /// The peer's SYN has been sent.
    in_begun: bool,
    /// The first TSval of the script, and what it was.
    ts_first: Option<(u32, u32)>,
    ts: HashMap<u32, u32>,
    last_win: u16,
    /// The script has closed its descriptor, or there was a reset.
    pub over: bool,
    /// On the wire: the first number and payload length of the last segment
    /// that the target sent.
    pub last_out: Option<(u32, u32)>,
}

impl Conn {
    pub fn new(number: u32, secret: u32, local_port: Option<u16>) -> Self {
        Self {
            remote_port: REMOTE_PORTS + number as u16,
            local_port,
            out_offset: None,
            in_offset: secret.wrapping_mul(number | 1).wrapping_add(number << 16),
            out_first: 1,
            in_first: 1,
            in_begun: false,
            ts_first: None,
            ts: HashMap::new(),
            last_win: u16::MAX,
            over: false,
            last_out: None,
        }
    }

    /// A number of the target's direction, as the script counts.
    pub fn out_number(&self, live: u32) -> u32 {
        live.wrapping_sub(self.out_offset.unwrap_or(0))
    }

    /// The same, to the wire.
    fn out_live(&self, script: u32) -> u32 {
        script.wrapping_add(self.out_offset.unwrap_or(0))
    }

    /// A number of the peer's direction, as the script counts.
    pub fn in_number(&self, live: u32) -> u32 {
        live.wrapping_sub(self.in_offset)
    }

    /// The script calls this TSval of the target so.
    pub fn learn_ts(&mut self, script: u32, live: u32) {
        self.ts_first.get_or_insert((script, live));
        self.ts.insert(script, live);
    }

    /// Whether the script has named a TSval of the target.
    pub fn has_clock(&self) -> bool {
        self.ts_first.is_some()
    }

    /// The TSval of the target that the script echoes: one it has named, or
    /// else one that as many ticks lie between. Zero is zero.
    fn echoed(&self, script: u32) -> u32 {
        match (script, self.ts.get(&script), self.ts_first) {
            (0, None, _) | (_, None, None) => script,
            (_, Some(live), _) => *live,
            (_, None, Some((first, live))) => live.wrapping_add(script.wrapping_sub(first)),
        }
    }

    /// A TSval of the target, as the script counts.
    pub fn ts_number(&self, live: u32) -> u32 {
        self.ts_first.map_or(live, |(script, first)| {
            script.wrapping_add(live.wrapping_sub(first))
        })
    }
}

/// The payload byte at this distance from the first of a stream. Both ends
/// send these, so that a byte in the wrong place shows.
pub fn stream_byte(at: u32) -> u8 {
    (at.wrapping_mul(31) ^ (at >> 8).wrapping_mul(7)) as u8
}

/// `len` bytes of a stream.
pub fn stream(at: u32, len: u32) -> Vec<u8> {
    (0..len).map(|i| stream_byte(at.wrapping_add(i))).collect()
}

impl Runner<'_> {
    /// The number of the connection that a captured packet belongs to.
    pub(super) fn owner(&self, packet: &wire::Packet) -> Option<u32> {
        let Payload::Tcp(tcp) = &packet.payload else {
            return None;
        };
        let owner = self
            .conns
            .iter()
            .find(|(_, c)| c.remote_port == tcp.dst_port && c.local_port == Some(tcp.src_port));
        owner.map(|(n, _)| *n)
    }

    /// A connection that begins now; it becomes the current one.
    pub(super) fn begin(&mut self, number: Option<u32>, local_port: Option<u16>) -> u32 {
        let number = number.unwrap_or_else(|| self.conns.keys().last().map_or(1, |n| n + 1));
        let conn = Conn::new(number, self.secret, local_port);
        self.conns.insert(number, conn);
        self.current = Some(number);
        number
    }

    /// The connection of a packet that the peer sends.
    fn incoming(&mut self, packet: &Packet, flags: Flags) -> u32 {
        let port = self.files.listening_port().unwrap_or(DEFAULT_PORT);
        if let Some(number) = packet.conn {
            if self.conns.contains_key(&number) {
                self.current = Some(number);
                return number;
            }
            return self.begin(Some(number), Some(port));
        }
        let syn = flags.has(Flags::SYN) && !flags.has(Flags::ACK);
        match self.current {
            Some(number) if !(syn && self.conns[&number].over) => number,
            _ => self.begin(None, Some(port)),
        }
    }

    /// The peer sends a packet.
    pub(super) fn send(&mut self, event: &Event, packet: &Packet) -> Result<()> {
        let ends = self.target.ends();
        let tos = match (packet.tos, packet.ecn.and_then(Ecn::bits)) {
            (tos, Some(ecn)) => tos.unwrap_or(0) & !3 | ecn,
            (tos, None) => tos.unwrap_or(0),
        };
        let ip = Ip {
            src: ends.remote,
            dst: ends.local,
            tos,
            ttl: packet.ttl.unwrap_or(64),
        };
        let payload = match &packet.body {
            Body::Tcp(segment) => {
                let number = self.incoming(packet, segment.flags);
                let conn = self.conns.get_mut(&number).expect("it was just looked up");
                let syn = segment.flags.has(Flags::SYN);
                // Later ones are not to be believed; if one is, the answer
                // tells.
                if syn && !std::mem::replace(&mut conn.in_begun, true) {
                    conn.in_first = segment.seq.wrapping_add(1);
                }
                if segment.flags.has(Flags::RST) {
                    conn.over = true;
                }
                conn.last_win = segment.win.unwrap_or(conn.last_win);
                let live = |n: u32| n.wrapping_add(conn.in_offset);
                let options = segment.options.iter().flatten().map(|o| match o {
                    TcpOption::Timestamps { val, ecr } => TcpOption::Timestamps {
                        val: *val,
                        ecr: conn.echoed(*ecr),
                    },
                    TcpOption::Sack(blocks) => TcpOption::Sack(
                        blocks
                            .iter()
                            .map(|(l, r)| (conn.out_live(*l), conn.out_live(*r)))
                            .collect(),
                    ),
                    other => other.clone(),
                });
                // A SYN's own number comes before its payload.
                let payload_at = segment.seq.wrapping_add(u32::from(syn));
                let first = payload_at.wrapping_sub(conn.in_first);
                Payload::Tcp(Tcp {
                    src_port: conn.remote_port,
                    dst_port: conn.local_port.unwrap_or(DEFAULT_PORT),
                    seq: live(segment.seq),
                    ack: segment.ack.map_or(0, |n| conn.out_live(n)),
                    flags: segment.flags,
                    win: conn.last_win,
                    urg: segment.urg.unwrap_or(0),
                    options: options.collect(),
                    payload: stream(first, segment.len),
                })
            }
            Body::Icmp(icmp) => Payload::Icmp(self.icmp(packet, icmp, &ip)?),
        };
        self.table
            .did(self.target.now(), event.line, event_text(event));
        for payload in fit(payload, self.mtu, ip.src.is_ipv6()) {
            let bytes = wire::Packet { ip, payload }.emit();
            let bytes = bytes.map_err(|e| Stop::Unsupported(e.to_string()))?;
            self.target.inject(&bytes);
        }
        Ok(())
    }

    /// A packet in the script's notation, with its numbers if it is known
    /// whose it is.
    pub(super) fn show(&self, packet: &wire::Packet, conn: Option<u32>) -> String {
        let tcp = match &packet.payload {
            Payload::Tcp(tcp) => tcp,
            Payload::Icmp(icmp) => return format!("icmp type {} code {}", icmp.kind, icmp.code),
        };
        let conn = conn.and_then(|n| self.conns.get(&n));
        let out = |n| conn.map_or(n, |c| c.out_number(n));
        let len = tcp.payload.len() as u32;
        let mut text = String::new();
        if packet.ip.tos & 3 != 0 {
            text.push_str(["", "[ect1] ", "[ect0] ", "[ce] "][usize::from(packet.ip.tos & 3)]);
        }
        let seq = out(tcp.seq);
        let end = seq.wrapping_add(len);
        text.push_str(&format!("{} {seq}:{end}({len})", tcp.flags));
        if tcp.flags.has(Flags::ACK) {
            let ack = conn.map_or(tcp.ack, |c| c.in_number(tcp.ack));
            text.push_str(&format!(" ack {ack}"));
        }
        text.push_str(&format!(" win {}", tcp.win));
        let options = relative(&tcp.options, conn);
        if !options.is_empty() {
            text.push_str(&format!(" <{}>", show_options(&options)));
        }
        text
    }

    /// Fails unless the payload is that of the stream.
    pub(super) fn check_payload(&self, number: u32, tcp: &Tcp) -> Result<()> {
        let conn = &self.conns[&number];
        let first = conn.out_number(tcp.seq).wrapping_sub(conn.out_first);
        let wrong = |(i, b): &(usize, &u8)| **b != stream_byte(first.wrapping_add(*i as u32));
        match tcp.payload.iter().enumerate().find(wrong) {
            None => Ok(()),
            Some((i, byte)) => Err(failed(
                format!(
                    "byte {} of the stream is wrong",
                    first.wrapping_add(i as u32)
                ),
                format!("{:#04x}", stream_byte(first.wrapping_add(i as u32))),
                format!("{byte:#04x}"),
            )),
        }
    }
}

/// A segment in as many packets as it takes: scripts for a kernel that receives
/// several as one have segments of any length.
fn fit(payload: Payload, mtu: u16, v6: bool) -> Vec<Payload> {
    let Payload::Tcp(tcp) = payload else {
        return vec![payload];
    };
    let headers = if v6 { 40 } else { 20 } + wire::tcp_header(&tcp).len();
    let most = usize::from(mtu).saturating_sub(headers).max(1);
    if tcp.payload.len() <= most {
        return vec![Payload::Tcp(tcp)];
    }
    let last = (tcp.payload.len() - 1) / most;
    let piece = |(i, bytes): (usize, &[u8])| {
        let at_end = Flags(Flags::FIN.0 | Flags::PSH.0);
        Payload::Tcp(Tcp {
            seq: tcp.seq.wrapping_add((i * most) as u32),
            flags: if i == last {
                tcp.flags
            } else {
                tcp.flags.without(at_end)
            },
            payload: bytes.to_vec(),
            ..tcp.clone()
        })
    };
    tcp.payload.chunks(most).enumerate().map(piece).collect()
}

/// Options of the target's, in the script's numbers.
pub fn relative(options: &[TcpOption], conn: Option<&Conn>) -> Vec<TcpOption> {
    let Some(conn) = conn else {
        return options.to_vec();
    };
    let one = |option: &TcpOption| match option {
        TcpOption::Sack(blocks) => TcpOption::Sack(
            blocks
                .iter()
                .map(|(l, r)| (conn.in_number(*l), conn.in_number(*r)))
                .collect(),
        ),
        TcpOption::Timestamps { val, ecr } => TcpOption::Timestamps {
            val: conn.ts_number(*val),
            ecr: *ecr,
        },
        other => other.clone(),
    };
    options.iter().map(one).collect()
}

/// Options as scripts write them.
pub fn show_options(options: &[TcpOption]) -> String {
    let one = |option: &TcpOption| match option {
        TcpOption::Eol => "eol".to_owned(),
        TcpOption::Nop => "nop".to_owned(),
        TcpOption::Mss(mss) => format!("mss {mss}"),
        TcpOption::WindowScale(shift) => format!("wscale {shift}"),
        TcpOption::SackPermitted => "sackOK".to_owned(),
        TcpOption::Sack(blocks) => {
            let blocks = blocks.iter().map(|(l, r)| format!(" {l}:{r}"));
            format!("sack{}", blocks.collect::<String>())
        }
        TcpOption::Timestamps { val, ecr } => format!("TS val {val} ecr {ecr}"),
        TcpOption::Other { kind, data } => format!("kind {kind}, {} bytes", data.len()),
        TcpOption::Raw(bytes) => format!("raw {} bytes", bytes.len()),
    };
    options.iter().map(one).collect::<Vec<_>>().join(",")
}

/// An event without its time.
fn event_text(event: &Event) -> String {
    let at = event.text.find(['<', '>', '`', '%']);
    let at = at.unwrap_or_else(|| event.text.find(' ').map_or(0, |i| i + 1));
    event.text[at..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_to_the_wire_and_back() {
        let mut conn = Conn::new(1, 0xffff_fff0, None);
        conn.out_offset = Some(0xffff_ff00);
        assert_eq!(conn.out_number(conn.out_live(1000)), 1000);
        assert_eq!(conn.in_number(7u32.wrapping_add(conn.in_offset)), 7);
    }

    #[test]
    fn echoes_are_translated() {
        let mut conn = Conn::new(1, 1, None);
        assert_eq!(conn.echoed(55), 55, "nothing is known");
        conn.learn_ts(100, 9000);
        conn.learn_ts(400, 9150);
        assert_eq!((conn.echoed(100), conn.echoed(400)), (9000, 9150));
        assert_eq!(conn.echoed(120), 9020, "not named: the distance counts");
        assert_eq!(conn.echoed(99), 8999);
        assert_eq!(conn.echoed(0), 0);
        assert_eq!(conn.ts_number(9050), 150);
    }

    #[test]
    fn large_segments_go_in_parts() {
        let tcp = Tcp {
            src_port: 1,
            dst_port: 2,
            seq: 10,
            ack: 0,
            flags: Flags(Flags::ACK.0 | Flags::FIN.0),
            win: 1,
            urg: 0,
            options: Vec::new(),
            payload: stream(0, 3000),
        };
        let parts = fit(Payload::Tcp(tcp), 1500, false);
        let shape = |p: &Payload| match p {
            Payload::Tcp(t) => (t.seq, t.payload.len(), t.flags.has(Flags::FIN)),
            Payload::Icmp(_) => panic!("no TCP"),
        };
        let shapes: Vec<_> = parts.iter().map(shape).collect();
        assert_eq!(
            shapes,
            [(10, 1460, false), (1470, 1460, false), (2930, 80, true)]
        );
    }
}
