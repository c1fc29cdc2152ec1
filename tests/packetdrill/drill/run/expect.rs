//! Packets that the target is to send: which one is meant, and is it right?

use std::time::Duration;

use super::super::ast::{Body, Ecn, Event, Flags, Packet, Segment, TcpOption};
use super::super::wire::{Payload, Tcp};
use super::conn::{relative, show_options};
use super::report::seconds;
use super::{Captured, Result, Runner, Window, failed, icmp};

impl Runner<'_> {
    /// Waits for the packet of `event`; answers when it came.
    pub(super) fn expect(
        &mut self,
        event: &Event,
        packet: &Packet,
        window: Window,
    ) -> Result<Duration> {
        let Body::Tcp(segment) = &packet.body else {
            return self.expect_icmp(event, packet, window);
        };
        // The bytes of the segment may come in several, or as part of one.
        let mut left = Some(segment.clone());
        let mut at = self.target.now();
        while let Some(wanted) = left.take() {
            let mut came = self.next(packet, window, &show_segment(&wanted))?;
            at = came.at;
            let number = self.claim(&mut came, packet, &wanted);
            let Payload::Tcp(tcp) = came.packet.payload.clone() else {
                return Err(self.mismatch(&wanted, window, &came, vec!["no TCP".to_owned()]));
            };
            let conn = &self.conns[&number];
            let (piece, rest) = cut(&tcp, &wanted, |n| conn.out_number(n), self.exact());
            if let Some(rest) = rest {
                let mut more = came.clone();
                more.packet.payload = Payload::Tcp(rest);
                self.captured.push_front(more);
            }
            let (wanted, more) = take_off(&wanted, &piece, |n| conn.out_number(n), self.exact());
            let wrong = self.differences(
                number,
                packet,
                &wanted,
                &piece,
                came.packet.ip.tos,
                came.packet.ip.ttl,
            );
            let early = came.at + window.tolerance < window.from;
            let late = window.to.is_some_and(|to| came.at > to + window.tolerance);
            if !wrong.is_empty() || early || late {
                let mut wrong = wrong;
                if early || late {
                    let when = if early { "too early" } else { "too late" };
                    wrong.push(format!("the time: {when}"));
                }
                return Err(self.mismatch(&wanted, window, &came, wrong));
            }
            self.check_payload(number, &piece)?;
            self.learn(number, &wanted, &piece);
            let text = self.show(&came.packet, Some(number));
            self.table.rewrite(came.row, text);
            self.table.matched(came.row, event.line);
            left = more;
        }
        Ok(at)
    }

    fn exact(&self) -> bool {
        self.script.meta.exact_segments
    }

    /// The next packet that may be meant, as soon as there is one.
    fn next(&mut self, packet: &Packet, window: Window, wanted: &str) -> Result<Captured> {
        let latest = match window.to {
            Some(to) => to + window.tolerance,
            None => window.from + self.patience(),
        };
        let wants = packet.conn.or(self.current);
        loop {
            self.drain();
            let known = packet.conn.is_none_or(|n| self.conns.contains_key(&n));
            let meant = self.captured.iter().position(|c| match c.conn {
                Some(number) => known && Some(number) == wants,
                // Nobody's yet: the beginning of something, or for an unknown
                // port.
                None => packet.conn.is_none() || !known,
            });
            if let Some(i) = meant
                && let Some(captured) = self.captured.remove(i)
            {
                return Ok(captured);
            }
            if self.target.now() > latest {
                return Err(failed(
                    "the packet does not come",
                    format!("{wanted} {}", allowed(window)),
                    format!("nothing by {}", seconds(self.target.now())),
                ));
            }
            self.target.advance(latest + Duration::from_micros(1));
            self.answers()?;
        }
    }

    /// The connection of a packet, which begins one if it is nobody's.
    fn claim(&mut self, came: &mut Captured, packet: &Packet, wanted: &Segment) -> u32 {
        let number = match came.conn {
            Some(number) => number,
            None => {
                let number = self.begin(packet.conn, None);
                if let (Payload::Tcp(tcp), Some(conn)) =
                    (&came.packet.payload, self.conns.get_mut(&number))
                {
                    conn.remote_port = tcp.dst_port;
                    conn.local_port = Some(tcp.src_port);
                }
                // Others of it may wait as well.
                for i in 0..self.captured.len() {
                    self.captured[i].conn = self.owner(&self.captured[i].packet);
                }
                number
            }
        };
        self.current = Some(number);
        came.conn = Some(number);
        if let (Payload::Tcp(tcp), Some(conn)) = (&came.packet.payload, self.conns.get_mut(&number))
            && tcp.flags.has(Flags::SYN)
            && !(conn.out_offset.is_some() && conn.out_number(tcp.seq) == wanted.seq)
        {
            // A cookie, a new connection: its numbers count from here.
            conn.out_offset = Some(tcp.seq.wrapping_sub(wanted.seq));
            conn.out_first = wanted.seq.wrapping_add(1);
            conn.over = false;
        }
        number
    }

    /// What a matched segment teaches about its connection.
    fn learn(&mut self, number: u32, wanted: &Segment, tcp: &Tcp) {
        let Some(conn) = self.conns.get_mut(&number) else {
            return;
        };
        if let (Some(theirs), Some(ours)) = (
            timestamps(&tcp.options),
            wanted.options.as_deref().and_then(timestamps),
        ) {
            conn.learn_ts(ours.0, theirs.0);
        }
        if tcp.flags.has(Flags(Flags::SYN.0 | Flags::ACK.0)) {
            conn.in_first = conn.in_number(tcp.ack);
        }
        if tcp.flags.has(Flags::RST) {
            conn.over = true;
        }
        conn.last_out = Some((tcp.seq, tcp.payload.len() as u32));
    }

    fn differences(
        &self,
        number: u32,
        packet: &Packet,
        wanted: &Segment,
        tcp: &Tcp,
        tos: u8,
        ttl: u8,
    ) -> Vec<String> {
        let conn = &self.conns[&number];
        let mut wrong = Vec::new();
        let mut check = |what: &str, same: bool, expected: String, came: String| {
            if !same {
                wrong.push(format!("{what}: expected {expected}, came {came}"));
            }
        };
        let len = tcp.payload.len() as u32;
        // Where a sender puts PSH on data is its own affair.
        let data = len > 0 || tcp.flags.has(Flags::FIN);
        let unlooked = if data { Flags::PSH } else { Flags::default() };
        let (expected, came) = (wanted.flags.without(unlooked), tcp.flags.without(unlooked));
        check(
            "flags",
            expected == came,
            expected.to_string(),
            came.to_string(),
        );
        let seq = conn.out_number(tcp.seq);
        // A reset to a segment without acknowledgement counts from nothing.
        let bare_reset = tcp.flags.has(Flags::RST) && tcp.seq == wanted.seq;
        check(
            "seq",
            seq == wanted.seq || bare_reset,
            wanted.seq.to_string(),
            seq.to_string(),
        );
        check(
            "length",
            len == wanted.len,
            wanted.len.to_string(),
            len.to_string(),
        );
        if let Some(ack) = wanted.ack {
            let came = conn.in_number(tcp.ack);
            let same = if tcp.flags.has(Flags::ACK) {
                ack == came
            } else {
                tcp.ack == ack
            };
            check("ack", same, ack.to_string(), came.to_string());
        }
        if let Some(win) = wanted.win {
            check("win", win == tcp.win, win.to_string(), tcp.win.to_string());
        }
        if let Some(urg) = wanted.urg {
            check("urg", urg == tcp.urg, urg.to_string(), tcp.urg.to_string());
        }
        if let Some(expected) = &wanted.options {
            let came = relative(&tcp.options, Some(conn));
            let same = expected.len() == came.len()
                && expected.iter().zip(&came).all(|(e, c)| same_option(e, c));
            check("options", same, show_options(expected), show_options(&came));
        }
        if let (Some(tick), Some(expected), Some((came, _))) = (
            self.tick,
            wanted.options.as_deref().and_then(timestamps),
            timestamps(&relative(&tcp.options, Some(conn))),
        ) {
            let (expected, off) = (expected.0, came.abs_diff(expected.0));
            let allowed = self.tolerance.0.as_micros() / tick.as_micros().max(1);
            check(
                "TS val",
                !conn.has_clock() || u128::from(off) <= allowed,
                expected.to_string(),
                came.to_string(),
            );
        }
        let ecn = tos & 3;
        if let Some(mark) = packet.ecn {
            let same = mark.bits().map_or(ecn == 1 || ecn == 2, |b| b == ecn);
            check(
                "ECN",
                same,
                format!("{mark:?}"),
                format!("{:?}", ecn_of(ecn)),
            );
        }
        if let Some(expected) = packet.tos {
            check(
                "tos",
                expected == tos,
                expected.to_string(),
                tos.to_string(),
            );
        }
        if let Some(expected) = packet.ttl {
            check(
                "ttl",
                expected == ttl,
                expected.to_string(),
                ttl.to_string(),
            );
        }
        wrong
    }

    fn mismatch(
        &mut self,
        wanted: &Segment,
        window: Window,
        came: &Captured,
        wrong: Vec<String>,
    ) -> super::Stop {
        let text = self.show(&came.packet, came.conn);
        self.table.rewrite(came.row, text.clone());
        self.table.note(came.row, "this one");
        failed(
            wrong.join("; "),
            format!("{} {}", show_segment(wanted), allowed(window)),
            format!("{text} at {}", seconds(came.at)),
        )
    }

    fn expect_icmp(&mut self, event: &Event, packet: &Packet, window: Window) -> Result<Duration> {
        let Body::Icmp(wanted) = &packet.body else {
            return Ok(window.from);
        };
        let came = self.next(packet, window, body(event))?;
        let (kind, code) = icmp::numbers(wanted, came.packet.ip.src.is_ipv6())?;
        let same = matches!(&came.packet.payload,
            Payload::Icmp(i) if (i.kind, i.code) == (kind, code));
        if same {
            self.table.matched(came.row, event.line);
            return Ok(came.at);
        }
        Err(failed(
            "another packet",
            format!("icmp type {kind} code {code} {}", allowed(window)),
            self.show(&came.packet, came.conn),
        ))
    }
}

/// Only that part of `tcp` that `wanted` asks for, and the rest of it.
fn cut(
    tcp: &Tcp,
    wanted: &Segment,
    number: impl Fn(u32) -> u32,
    exact: bool,
) -> (Tcp, Option<Tcp>) {
    let len = tcp.payload.len();
    let take = wanted.len as usize;
    let begins = number(tcp.seq) == wanted.seq && take > 0 && len > 0;
    let fin_later = len == take && tcp.flags.has(Flags::FIN) && !wanted.flags.has(Flags::FIN);
    if exact || !begins || !(len > take || fin_later) {
        return (tcp.clone(), None);
    }
    let mut piece = tcp.clone();
    piece.payload.truncate(take);
    piece.flags = piece.flags.without(Flags::FIN).without(Flags::PSH);
    let mut rest = tcp.clone();
    rest.payload.drain(..take);
    rest.seq = rest.seq.wrapping_add(take as u32);
    (piece, Some(rest))
}

/// What of `wanted` the piece `tcp` has to be, and what is to come yet.
fn take_off(
    wanted: &Segment,
    tcp: &Tcp,
    number: impl Fn(u32) -> u32,
    exact: bool,
) -> (Segment, Option<Segment>) {
    let len = tcp.payload.len() as u32;
    let begins = number(tcp.seq) == wanted.seq && len > 0;
    let fin_later = len == wanted.len && wanted.flags.has(Flags::FIN) && !tcp.flags.has(Flags::FIN);
    if exact || !begins || !(len < wanted.len || fin_later) {
        return (wanted.clone(), None);
    }
    let mut now = wanted.clone();
    now.len = len;
    now.flags = now.flags.without(Flags::FIN);
    let mut later = wanted.clone();
    later.len -= len;
    later.seq = later.seq.wrapping_add(len);
    (now, Some(later))
}

/// Whether the target's option is the one of the script. Its clock is its own.
fn same_option(expected: &TcpOption, came: &TcpOption) -> bool {
    match (expected, came) {
        (TcpOption::Timestamps { ecr: a, .. }, TcpOption::Timestamps { ecr: b, .. }) => a == b,
        (a, b) => a == b,
    }
}

fn timestamps(options: &[TcpOption]) -> Option<(u32, u32)> {
    options.iter().find_map(|o| match o {
        TcpOption::Timestamps { val, ecr } => Some((*val, *ecr)),
        _ => None,
    })
}

fn ecn_of(bits: u8) -> Ecn {
    [Ecn::None, Ecn::Ect1, Ecn::Ect0, Ecn::Ce][usize::from(bits & 3)]
}

fn allowed(window: Window) -> String {
    match window.to {
        None => "at any time".to_owned(),
        Some(to) => {
            let from = window.from.saturating_sub(window.tolerance);
            format!(
                "from {} to {}",
                seconds(from),
                seconds(to + window.tolerance)
            )
        }
    }
}

fn body(event: &Event) -> &str {
    let at = event.text.find('>').map_or(0, |i| i + 1);
    event.text[at..].trim()
}

fn show_segment(segment: &Segment) -> String {
    let end = segment.seq.wrapping_add(segment.len);
    let mut text = format!("{} {}:{end}({})", segment.flags, segment.seq, segment.len);
    if let Some(ack) = segment.ack {
        text.push_str(&format!(" ack {ack}"));
    }
    if let Some(win) = segment.win {
        text.push_str(&format!(" win {win}"));
    }
    match &segment.options {
        None => text.push_str(" <...>"),
        Some(options) if options.is_empty() => {}
        Some(options) => text.push_str(&format!(" <{}>", show_options(options))),
    }
    text
}
