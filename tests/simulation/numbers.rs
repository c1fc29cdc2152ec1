//! What every host says over uTP, held against what BEP 29 allows it to say.
//! Sees each packet as it leaves, before anything can happen to it on the way.

use crate::datagram::{DATA, Datagram, FIN, RESET, STATE, SYN};

/// A number of one end: what it stands for.
#[derive(Clone, Copy, Debug)]
struct Sent {
    len: u32,
    digest: u64,
    fin: bool,
    /// Bytes up to its end.
    end: u64,
}

/// One end of a connection, by what it has sent.
#[derive(Clone, Debug, Default)]
struct Half {
    /// The number of its first packet with payload, once it has said so.
    first: Option<u16>,
    /// The same of other lives, which late copies of the SYN began.
    offers: Vec<u16>,
    sent: Vec<Sent>,
    fin: bool,
    /// How many packets of the peer it has acknowledged.
    acked: Option<usize>,
    /// The furthest that its window has ever reached, in the peer's bytes.
    edge: u64,
}

impl Half {
    fn bytes(&self, packets: usize) -> u64 {
        let last = packets.checked_sub(1).and_then(|i| self.sent.get(i));
        last.map_or(0, |sent| sent.end)
    }

    /// How many packets are before the one with this number, if that is one
    /// that was sent or the next.
    fn place(&self, seq: u16) -> Option<usize> {
        let next = self.first?.wrapping_add(self.sent.len() as u16);
        let back = usize::from(next.wrapping_sub(seq));
        (back < 0x8000).then(|| self.sent.len().checked_sub(back))?
    }
}

#[derive(Clone, Debug)]
struct Pair {
    /// Who connects, to whom, and with which id.
    ends: [std::net::SocketAddr; 2],
    id: u16,
    syn: u16,
    halves: [Half; 2],
}

/// Every connection that was seen.
#[derive(Debug, Default)]
pub struct Numbers {
    pairs: Vec<Pair>,
    last: usize,
}

/// Fails with the rule unless it holds.
macro_rules! rule {
    ($condition:expr, $rule:literal) => {
        if !$condition {
            return Err($rule);
        }
    };
}

impl Numbers {
    /// A host sends a packet.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn sent(&mut self, d: &Datagram) -> Result<(), &'static str> {
        rule!(
            d.sack.len().is_multiple_of(4),
            "a selective acknowledgement is a multiple of four bytes"
        );
        if d.kind == SYN {
            return self.syn(d);
        }
        if d.kind == RESET {
            rule!(d.len == 0, "a RESET carries no payload");
            return Ok(());
        }
        let side = |p: &Pair| {
            if p.ends == [d.src, d.dst] && d.id == p.id.wrapping_add(1) {
                Some(0)
            } else if p.ends == [d.dst, d.src] && d.id == p.id {
                Some(1)
            } else {
                None
            }
        };
        let known = |p: &Pair| side(p).is_some();
        if !self.pairs.get(self.last).is_some_and(known) {
            let found = self.pairs.iter().rposition(known);
            self.last = found.ok_or("packets are of a connection that was begun")?;
        }
        let pair = &mut self.pairs[self.last];
        let me = side(pair).unwrap_or_default();
        let syn = pair.syn;
        let [a, b] = &mut pair.halves;
        let (h, p) = if me == 0 { (a, b) } else { (b, a) };
        // To a SYN that is late a listener gives an answer of its own.
        let offer = me == 1 && d.kind == STATE && d.ack == syn && d.sack.is_empty();
        if offer && h.first.is_some() && h.place(d.seq) != Some(h.sent.len()) {
            h.offers.push(d.seq);
            return Ok(());
        }
        if me == 1 && h.first.is_none() {
            rule!(
                d.kind == STATE && d.ack == syn,
                "the first packet of who accepts acknowledges the SYN"
            );
            h.first = Some(d.seq);
        }
        rule!(
            me == 0 || d.kind == STATE || p.acked.is_some(),
            "an unproven peer gets no payload"
        );
        number(h, p, d)?;
        acknowledgement(h, p, d)
    }

    fn syn(&mut self, d: &Datagram) -> Result<(), &'static str> {
        rule!(d.len == 0 && d.sack.is_empty(), "a SYN is a header alone");
        let again = |p: &Pair| p.ends == [d.src, d.dst] && p.id == d.id;
        let known = self.pairs.iter().rfind(|p| again(p));
        if known.is_some_and(|p| p.syn == d.seq) {
            return Ok(());
        }
        let mut halves = [Half::default(), Half::default()];
        halves[0].first = Some(d.seq.wrapping_add(1));
        halves[0].edge = u64::from(d.window);
        self.pairs.push(Pair {
            ends: [d.src, d.dst],
            id: d.id,
            syn: d.seq,
            halves,
        });
        Ok(())
    }
}

/// What the packet's number stands for.
fn number(h: &mut Half, p: &Half, d: &Datagram) -> Result<(), &'static str> {
    let place = h.place(d.seq).ok_or("numbers leave no gap")?;
    if d.kind == STATE {
        rule!(d.len == 0, "a STATE carries no payload");
        rule!(place == h.sent.len(), "a STATE has the next number");
        return Ok(());
    }
    let fin = d.kind == FIN;
    rule!(d.kind == DATA || d.len == 0, "a FIN carries no payload");
    rule!(fin || d.len > 0, "DATA carries payload");
    if let Some(before) = h.sent.get(place) {
        rule!(
            (before.len, before.digest, before.fin) == (d.len, d.digest, fin),
            "a number stands for its payload for ever"
        );
        return Ok(());
    }
    rule!(!h.fin, "nothing is sent behind the FIN");
    let begin = h.bytes(h.sent.len());
    rule!(
        fin || begin <= p.edge,
        "no more than a packet is sent beyond the window"
    );
    h.fin |= fin;
    h.sent.push(Sent {
        len: d.len,
        digest: d.digest,
        fin,
        end: begin + u64::from(d.len),
    });
    Ok(())
}

/// What the packet says of the peer's.
fn acknowledgement(h: &mut Half, p: &mut Half, d: &Datagram) -> Result<(), &'static str> {
    if p.first.is_none() {
        return Ok(());
    }
    let next = d.ack.wrapping_add(1);
    if p.sent.is_empty() && p.offers.contains(&next) {
        // That life is taken up.
        (p.first, h.acked) = (Some(next), None);
    }
    let before = h.acked.unwrap_or(0);
    // A keepalive repeats the one before.
    let repeats = p.place(d.ack.wrapping_add(2)) == Some(before);
    if d.kind == STATE && repeats && d.sack.is_empty() {
        return Ok(());
    }
    let acked = p.place(d.ack.wrapping_add(1));
    let acked = acked.ok_or("only what was sent is acknowledged")?;
    rule!(acked >= before, "acknowledgements do not go back");
    h.acked = Some(acked);
    let mut bits = (0..d.sack.len() * 8).filter(|i| d.sack[i / 8] & 1 << (i % 8) != 0);
    rule!(
        d.sack.is_empty() || bits.clone().next().is_some(),
        "a selective acknowledgement says something"
    );
    rule!(
        bits.all(|i| acked + 1 + i < p.sent.len()),
        "only what was sent is acknowledged selectively"
    );
    h.edge = h.edge.max(p.bytes(acked) + u64::from(d.window));
    Ok(())
}
