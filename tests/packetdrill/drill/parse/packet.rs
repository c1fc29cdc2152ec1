//! Packets: flags, sequence ranges, options, ICMP.

use super::super::ast::{Action, Body, Direction, Ecn, Flags, Icmp, Packet, Segment, TcpOption};
use super::{Parser, Result};

impl Parser<'_> {
    pub(super) fn packet(&mut self, direction: Direction) -> Result<Action> {
        self.scan.expect(match direction {
            Direction::In => "<",
            Direction::Out => ">",
        })?;
        let mut packet = Packet {
            direction,
            conn: None,
            ecn: None,
            tos: None,
            ttl: None,
            body: Body::Icmp(Icmp {
                kind: String::new(),
                code: None,
                mtu: None,
                quoted: None,
            }),
        };
        self.scan.blank();
        while self.scan.take("[") {
            self.ip_info(&mut packet, ']')?;
        }
        if self.scan.take("(") {
            self.ip_info(&mut packet, ')')?;
        }
        let word = self
            .scan
            .until(|c| c.is_whitespace() || c == ':' || c == '(');
        packet.body = match word {
            "icmp" | "icmpv6" => Body::Icmp(self.icmp()?),
            "udp" | "udplite" | "sctp" | "raw" | "ipv4" | "ipv6" | "gre" | "mpls" => {
                return Err(self.scan.unsupported(format!("{word} packets")));
            }
            flags => {
                let flags = self.flags(flags)?;
                Body::Tcp(self.segment(flags)?)
            }
        };
        Ok(Action::Packet(packet))
    }

    /// What stands in brackets before a packet.
    fn ip_info(&mut self, packet: &mut Packet, close: char) -> Result<()> {
        loop {
            self.scan.blank();
            match self.scan.word() {
                "conn" => packet.conn = Some(self.scan.number()?),
                "noecn" => packet.ecn = Some(Ecn::None),
                "ect0" => packet.ecn = Some(Ecn::Ect0),
                "ect1" => packet.ecn = Some(Ecn::Ect1),
                "ect01" => packet.ecn = Some(Ecn::Ect01),
                "ce" => packet.ecn = Some(Ecn::Ce),
                "ecn" => continue,
                "tos" | "tclass" => packet.tos = Some(self.scan.number()?),
                "ttl" | "hlim" => packet.ttl = Some(self.scan.number()?),
                "flowlabel" => return Err(self.scan.unsupported("flow labels")),
                word => return Err(self.scan.error(format!("unknown mark `{word}`"))),
            }
            self.scan.blank();
            if !self.scan.take(",") {
                break;
            }
        }
        self.scan.expect(&close.to_string())?;
        self.scan.blank();
        Ok(())
    }

    fn flags(&self, letters: &str) -> Result<Flags> {
        let mut flags = Flags::default();
        for letter in letters.chars() {
            flags.0 |= match letter {
                'F' => Flags::FIN,
                'S' => Flags::SYN,
                'R' => Flags::RST,
                'P' => Flags::PSH,
                '.' => Flags::ACK,
                'U' => Flags::URG,
                'E' => Flags::ECE,
                'W' | 'C' => Flags::CWR,
                'A' | 'N' => Flags::AE,
                '-' => Flags::default(),
                _ => return Err(self.scan.error(format!("unknown flags `{letters}`"))),
            }
            .0;
        }
        if letters.is_empty() {
            return Err(self.scan.error("expected flags"));
        }
        Ok(flags)
    }

    fn segment(&mut self, flags: Flags) -> Result<Segment> {
        let (seq, len) = self.range()?;
        let mut segment = Segment {
            flags,
            seq,
            len,
            ack: None,
            win: None,
            urg: None,
            options: Some(Vec::new()),
        };
        loop {
            let begin = self.scan.at();
            self.scan.blank();
            if self.scan.take("{") {
                return Err(self.scan.unsupported("rewritten headers"));
            }
            if self.scan.take("<") {
                segment.options = self.tcp_options()?;
                if self.scan.take_after_blank("{") {
                    return Err(self.scan.unsupported("rewritten headers"));
                }
                return Ok(segment);
            }
            match self.scan.word() {
                "ack" => segment.ack = Some(self.scan.number()?),
                "win" => segment.win = Some(self.scan.number()?),
                "urg" => segment.urg = Some(self.scan.number()?),
                _ => {
                    self.scan.rewind(begin);
                    return Ok(segment);
                }
            }
        }
    }

    /// `first:last(length)`: first and length.
    fn range(&mut self) -> Result<(u32, u32)> {
        let first: u32 = self.scan.number()?;
        self.scan.expect(":")?;
        let last: u32 = self.scan.number()?;
        self.scan.expect("(")?;
        let len: u32 = self.scan.number()?;
        self.scan.expect(")")?;
        if last.wrapping_sub(first) != len {
            return Err(self
                .scan
                .error(format!("{first}:{last} are not {len} bytes")));
        }
        Ok((first, len))
    }

    fn tcp_options(&mut self) -> Result<Option<Vec<TcpOption>>> {
        let mut options = Vec::new();
        self.scan.blank();
        if self.scan.take("...") {
            self.scan.expect(">")?;
            return Ok(None);
        }
        loop {
            self.scan.blank();
            options.push(match self.scan.word() {
                "nop" => TcpOption::Nop,
                "eol" => TcpOption::Eol,
                "mss" => TcpOption::Mss(self.scan.number()?),
                "wscale" => TcpOption::WindowScale(self.scan.number()?),
                "sackOK" => TcpOption::SackPermitted,
                "sack" => TcpOption::Sack(self.sack_blocks()?),
                "TS" => {
                    self.scan.expect("val")?;
                    let val = self.scan.number()?;
                    self.scan.expect("ecr")?;
                    let ecr = self.scan.number()?;
                    TcpOption::Timestamps { val, ecr }
                }
                "raw" => TcpOption::Raw(self.raw_bytes()?),
                "" => return Err(self.scan.error("expected an option")),
                name => return Err(self.scan.unsupported(format!("option {name}"))),
            });
            self.scan.blank();
            if !self.scan.take(",") {
                break;
            }
        }
        self.scan.expect(">")?;
        Ok(Some(options))
    }

    /// Two hexadecimal digits for each byte.
    fn raw_bytes(&mut self) -> Result<Vec<u8>> {
        self.scan.blank();
        let digits = self.scan.word();
        let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(byte).collect();
        bytes
            .filter(|b| !b.is_empty())
            .ok_or_else(|| self.scan.error("expected bytes in hexadecimal"))
    }

    fn sack_blocks(&mut self) -> Result<Vec<(u32, u32)>> {
        let mut blocks = Vec::new();
        self.scan.blank();
        while self.scan.peek().is_some_and(|c| c.is_ascii_digit()) {
            let left = self.scan.number()?;
            self.scan.expect(":")?;
            blocks.push((left, self.scan.number()?));
            self.scan.blank();
        }
        Ok(blocks)
    }

    /// `icmp TYPE [CODE] [mtu N] [[first:last(length)]]`.
    fn icmp(&mut self) -> Result<Icmp> {
        self.scan.blank();
        let mut icmp = Icmp {
            kind: self.scan.word().to_owned(),
            code: None,
            mtu: None,
            quoted: None,
        };
        loop {
            let begin = self.scan.at();
            self.scan.blank();
            if self.scan.take("[") {
                self.scan.blank();
                if self.scan.peek().is_some_and(|c| c.is_ascii_digit()) {
                    icmp.quoted = Some(self.range()?);
                } else {
                    return Err(self.scan.unsupported("quotes of other than TCP"));
                }
                self.scan.expect("]")?;
                return Ok(icmp);
            }
            match self.scan.word() {
                "mtu" => icmp.mtu = Some(self.scan.number()?),
                word if word.starts_with(|c: char| c.is_ascii_lowercase())
                    && icmp.code.is_none() =>
                {
                    icmp.code = Some(word.to_owned());
                }
                _ => {
                    self.scan.rewind(begin);
                    return Ok(icmp);
                }
            }
        }
    }
}
