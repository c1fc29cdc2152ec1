//! What every host says, held against what TCP allows it to say. Sees each
//! segment as it leaves, before anything can happen to it on the way.

use crate::packet::{ACK, CE, CWR, ECE, FIN, RST, SYN, Segment};

/// One end of a connection, by what it has sent.
#[derive(Clone, Debug, Default)]
struct Half {
    iss: Option<u32>,
    /// SYN-ACKs that the peer has not taken up: cookies differ with time, and
    /// a late copy of a SYN begins another life.
    offers: Vec<Half>,
    /// Behind the SYNs of former lives: one that is late may still be
    /// answered.
    past: Vec<u32>,
    /// Behind the highest sequence number sent.
    end: u32,
    fin: Option<u32>,
    ack: Option<u32>,
    /// Right edge of the window, the furthest ever.
    edge: Option<u32>,
    mss: Option<u16>,
    scale: Option<u8>,
    sack_ok: bool,
    /// Of congestion marks: a SYN asked for them, a SYN-ACK agreed to them.
    asked: bool,
    agreed: bool,
    times: bool,
    last_time: Option<u32>,
    /// Sent anything but a SYN.
    began: bool,
}

impl Half {
    /// The beginnings of this life and those before it.
    fn forget(&mut self) -> Vec<u32> {
        let mut past = std::mem::take(&mut self.past);
        past.extend(self.iss.map(|iss| iss.wrapping_add(1)));
        past
    }
}

#[derive(Clone, Debug)]
struct Pair {
    ends: [(std::net::IpAddr, u16); 2],
    halves: [Half; 2],
}

/// Every connection that was seen.
#[derive(Debug, Default)]
pub struct Observer {
    pairs: Vec<Pair>,
    last: usize,
}

const fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// Fails with the rule unless it holds.
macro_rules! rule {
    ($condition:expr, $rule:literal) => {
        if !$condition {
            return Err($rule);
        }
    };
}

impl Observer {
    /// A host sends a segment.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn sent(&mut self, s: &Segment) -> Result<(), &'static str> {
        let (me, peer) = ((s.src, s.sport), (s.dst, s.dport));
        let known = |p: &Pair| p.ends == [me, peer] || p.ends == [peer, me];
        if !self.pairs.get(self.last).is_some_and(known) {
            self.last = self.pairs.iter().position(known).unwrap_or_else(|| {
                self.pairs.push(Pair {
                    ends: [me, peer],
                    halves: Default::default(),
                });
                self.pairs.len() - 1
            });
        }
        let pair = &mut self.pairs[self.last];
        let [a, b] = &mut pair.halves;
        let (h, p) = if pair.ends[0] == me { (a, b) } else { (b, a) };
        if s.has(SYN) {
            return syn(h, p, s);
        }
        if s.has(RST) {
            return Ok(());
        }
        rule!(s.has(ACK), "every segment but the first has ACK (3.10.7.4)");
        let taken_up = |o: &Half| o.end == s.ack && o.iss != p.iss;
        if let Some(i) = p.offers.iter().position(taken_up) {
            let past = std::mem::take(&mut p.past);
            *p = p.offers.swap_remove(i);
            p.past = past;
        }
        if h.iss.is_none() || p.iss.is_none() {
            // An answer to a connection of long ago.
            return Ok(());
        }
        // A half-open life that an old SYN began, and that nobody takes up,
        // answers what it cannot take.
        let half_open = |o: &Half| o.end == s.seq && o.ack == Some(s.ack);
        if s.len == 0 && s.seq != h.end && h.offers.iter().any(half_open) {
            return Ok(());
        }
        h.began = true;
        congestion(h, p, s)?;
        sequence(h, p, s)?;
        acknowledgement(h, p, s)?;
        window(h, p, s)?;
        options(h, p, s)
    }
}

fn syn(h: &mut Half, p: &mut Half, s: &Segment) -> Result<(), &'static str> {
    rule!(s.len == 0, "no payload on a SYN without fast open");
    rule!(s.ecn == 0, "a SYN is not to be marked (RFC 3168 6.1.1)");
    rule!(s.mss.is_some(), "a SYN has the MSS option (3.7.1, MUST-14)");
    let mut begun = Half {
        iss: Some(s.seq),
        end: s.end(),
        mss: s.mss,
        scale: s.scale,
        sack_ok: s.sack_ok,
        asked: !s.has(ACK) && s.has(ECE) && s.has(CWR),
        agreed: s.has(ACK) && s.has(ECE) && !s.has(CWR),
        times: s.times.is_some(),
        ..Half::default()
    };
    if s.has(ACK) {
        begun.ack = Some(s.ack);
        begun.edge = Some(s.ack.wrapping_add(u32::from(s.window)));
        rule!(
            p.iss.is_none_or(|iss| s.ack == iss.wrapping_add(1)) || p.past.contains(&s.ack),
            "a SYN-ACK acknowledges the SYN (3.10.7.2)"
        );
        rule!(
            !s.sack_ok || p.sack_ok || p.iss.is_none(),
            "SACK is agreed on only when offered (RFC 2018 2)"
        );
        rule!(
            s.scale.is_none() || p.scale.is_some() || p.iss.is_none(),
            "windows are scaled only when offered (RFC 7323 2.2)"
        );
    }
    if h.iss == Some(s.seq) {
        // Again, or as the answer of a simultaneous open.
        if !h.began {
            begun.offers = std::mem::take(&mut h.offers);
            begun.past = std::mem::take(&mut h.past);
            begun.asked |= h.asked;
            begun.agreed |= h.agreed;
            *h = begun;
        }
    } else if s.has(ACK) && h.iss.is_some() {
        if !h.offers.iter().any(|o| o.iss == begun.iss) {
            h.offers.push(begun);
        }
    } else {
        // Another life of the same pair of ends.
        begun.past = h.forget();
        *h = begun;
        if !s.has(ACK) && p.began {
            let past = p.forget();
            *p = Half {
                past,
                ..Half::default()
            };
        }
    }
    Ok(())
}

/// RFC 3168 section 6.1: what may be marked, and by whom.
fn congestion(h: &Half, p: &Half, s: &Segment) -> Result<(), &'static str> {
    rule!(s.ecn != CE, "hosts do not mark (RFC 3168 5)");
    if s.ecn == 0 {
        return Ok(());
    }
    let agreed = (h.asked && p.agreed) || (p.asked && h.agreed);
    rule!(agreed, "marks were agreed on (RFC 3168 6.1.1)");
    rule!(s.len > 0, "only data may be marked (RFC 3168 6.1.4)");
    rule!(
        s.seq == h.end,
        "what is sent again is not to be marked (RFC 3168 6.1.5)"
    );
    Ok(())
}

/// RFC 9293 sections 3.4 and 3.7.1.
fn sequence(h: &mut Half, p: &Half, s: &Segment) -> Result<(), &'static str> {
    rule!(!before(h.end, s.seq), "sequence numbers leave no gap (3.4)");
    if let Some(fin) = h.fin {
        rule!(
            !before(fin, s.end()),
            "nothing is sent behind the FIN (3.6)"
        );
    }
    if s.has(FIN) {
        rule!(
            h.fin.is_none_or(|fin| fin == s.end()),
            "the FIN stays where it is (3.6)"
        );
        h.fin = Some(s.end());
    }
    if s.len > 0
        && let Some(mss) = p.mss
    {
        let options = s.header as u32 - 20;
        // A peer that offers less than any path needs is not obeyed.
        rule!(
            s.len + options <= u32::from(mss.max(88)),
            "a segment is no larger than the peer's MSS (3.7.1, RFC 6691)"
        );
    }
    if before(h.end, s.end()) {
        let beyond = p.edge.is_some_and(|edge| before(edge, s.end()));
        rule!(!beyond, "nothing is sent beyond the window (3.8.6)");
        h.end = s.end();
    }
    Ok(())
}

/// RFC 9293 section 3.10.7.4: RCV.NXT.
fn acknowledgement(h: &mut Half, p: &Half, s: &Segment) -> Result<(), &'static str> {
    if let Some(ack) = h.ack {
        rule!(!before(s.ack, ack), "acknowledgements do not go back (3.4)");
    }
    rule!(
        !before(p.end, s.ack),
        "only what was sent is acknowledged (3.4)"
    );
    h.ack = Some(s.ack);
    Ok(())
}

/// RFC 9293 section 3.8.6.
fn window(h: &mut Half, p: &Half, s: &Segment) -> Result<(), &'static str> {
    let shift = match (h.scale, p.scale) {
        (Some(shift), Some(_)) => u32::from(shift.min(14)),
        _ => 0,
    };
    let edge = s.ack.wrapping_add(u32::from(s.window) << shift);
    if let Some(before_edge) = h.edge {
        // RFC 7323 section 2.4: as far as the unit makes it.
        let slack = (1 << shift) - 1;
        rule!(
            !before(edge.wrapping_add(slack), before_edge),
            "the window does not shrink (3.8.6, SHLD-14)"
        );
        if before(edge, before_edge) {
            return Ok(());
        }
    }
    h.edge = Some(edge);
    Ok(())
}

/// RFC 7323 section 3.2, RFC 2018 sections 2 and 3, RFC 2883.
fn options(h: &mut Half, p: &Half, s: &Segment) -> Result<(), &'static str> {
    if h.times && p.times {
        let Some((val, _)) = s.times else {
            return Err("timestamps are on every segment (RFC 7323 3.2)");
        };
        rule!(
            h.last_time.is_none_or(|last| !before(val, last)),
            "the timestamp clock does not go back (RFC 7323 5.4)"
        );
        h.last_time = Some(val);
    } else {
        rule!(
            s.times.is_none(),
            "timestamps were agreed on (RFC 7323 3.2)"
        );
    }
    rule!(
        s.blocks().is_empty() || (p.sack_ok && h.sack_ok),
        "SACK was agreed on (RFC 2018 2)"
    );
    for (i, (left, right)) in s.blocks().iter().enumerate() {
        rule!(before(*left, *right), "a SACK block has two edges");
        rule!(!before(p.end, *right), "SACK of what was never sent");
        let second = s.blocks().get(1);
        let inside = second.is_some_and(|b| !before(*left, b.0) && !before(b.1, *right));
        let duplicate = i == 0 && (!before(s.ack, *right) || inside);
        rule!(
            duplicate || before(s.ack, *left),
            "SACK blocks lie beyond the acknowledgement (RFC 2018 3)"
        );
    }
    Ok(())
}
