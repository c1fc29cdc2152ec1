//! Two connections without engines, so that one stage of TCP can be called,
//! and timed, without the others.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fullbore::frame::{PACKET_START, Packet, Pool, Region};
use fullbore::tcp::{Config, Connection, Ports, Setup};
use fullbore::time::Instant;
use fullbore::wire::eth::Mac;
use fullbore::wire::tcp::{Header, SeqNumber};
use fullbore::wire::template::{Path, Template};

/// Payload of a full segment, in bytes: MTU 1500, no timestamps.
pub const SEGMENT: usize = 1460;
/// Segments that are sent, and handled, at once.
pub const BATCH: usize = 32;

const CLIENT: u8 = 1;
const SERVER: u8 = 2;
const ROUND_TRIP: Duration = Duration::from_micros(100);

/// A segment that has arrived: its payload lies in the receiver's pool.
pub struct Arrived {
    header: Header,
    payload: Packet,
}

impl Arrived {
    /// Gives its memory back: it was lost on the way to `end`.
    pub fn drop_at(self, end: &mut End) {
        end.pool.free(self.payload);
    }
}

/// One end.
pub struct End {
    /// The machine.
    pub conn: Connection,
    /// Its packets.
    pub pool: Pool,
    /// The headers below TCP.
    pub template: Template,
}

impl End {
    /// Hands the machine a segment.
    #[inline]
    pub fn handle(&mut self, now: Instant, segment: Arrived) {
        let Arrived { header, payload } = segment;
        self.conn
            .handle_segment(now, &mut self.pool, &header, false, payload);
    }

    /// What an application does that has been told: takes the events, reads
    /// all there is and looks at each byte no closer than the stack did.
    #[inline]
    pub fn read(&mut self) -> usize {
        while self.conn.poll_event().is_some() {}
        let mut total = 0;
        while let Some(n) = self.conn.recv_chunk(&self.pool).map(<[u8]>::len) {
            self.conn.recv_consume(&mut self.pool, n);
            total += n;
        }
        total
    }

    /// Polls and completes what the machine sends, and lets it vanish: how
    /// many packets.
    #[inline]
    pub fn send_to_nobody(&mut self, now: Instant) -> usize {
        let mut sent = 0;
        while let Some(desc) = self.conn.poll_transmit(now, &mut self.pool, &self.template) {
            self.pool.complete(desc);
            sent += 1;
        }
        sent
    }

    /// Polls what the machine sends, into packets of the other end.
    pub fn send_to(&mut self, now: Instant, to: &mut Pool, out: &mut Vec<Arrived>) {
        while let Some(desc) = self.conn.poll_transmit(now, &mut self.pool, &self.template) {
            let segment = &self.pool.tx_bytes(&desc)[self.template.len()..];
            // The machine sends valid headers, and both pools are large.
            if let Ok((header, at)) = Header::parse(segment)
                && let Some(mut payload) = to.alloc()
            {
                let bytes = &segment[at..];
                payload.set_range(PACKET_START, bytes.len() as u16);
                to.bytes_mut(&mut payload).copy_from_slice(bytes);
                out.push(Arrived { header, payload });
            }
            self.pool.complete(desc);
        }
    }
}

/// Two ends with a connection between them.
pub struct Joined {
    /// The present.
    pub now: Instant,
    /// The one that sends data.
    pub client: End,
    /// The one that receives.
    pub server: End,
    config: Arc<Config>,
    block: Vec<u8>,
}

fn end(config: &Arc<Config>, me: u8, peer: u8, now: Instant) -> Result<End, String> {
    let ip = |n| IpAddr::from([10, 0, 0, n]);
    let path = Path {
        src_mac: Mac([2, 0, 0, 0, 0, me]),
        dst_mac: Mac([2, 0, 0, 0, 0, peer]),
        vlan: None,
        src: ip(me),
        dst: ip(peer),
        ttl: 64,
        tos: 0,
    };
    let template = Template::new(&path, 6).map_err(|e| e.to_string())?;
    let conn = Connection::connect(&setup(config, &template, now));
    Ok(End {
        conn,
        pool: Pool::new(Region::anonymous(1024, 2048)),
        template,
    })
}

fn setup<'a>(config: &'a Arc<Config>, template: &Template, now: Instant) -> Setup<'a> {
    Setup {
        config,
        ports: Ports {
            local: 4000,
            remote: 80,
        },
        iss: SeqNumber(1_000_000),
        ts_offset: 0,
        mss: SEGMENT as u16,
        chunk: SEGMENT as u16,
        headroom: template.len() as u16,
        now,
    }
}

impl Joined {
    /// A fresh connection whose window is open for a batch and more.
    ///
    /// # Errors
    /// When the handshake fails.
    pub fn new() -> Result<Self, String> {
        let config = Arc::new(Config {
            // A batch fits from the start, also when half of it is lost.
            initial_window: 4 * BATCH as u32,
            timestamps: false,
            nodelay: true,
            // Nobody looks after those that wait.
            ack_segments: 2,
            ..Config::default()
        });
        let now = Instant::from_millis(1000);
        let mut joined = Self {
            now,
            client: end(&config, CLIENT, SERVER, now)?,
            server: end(&config, SERVER, CLIENT, now)?,
            config,
            block: vec![0x5a; BATCH * SEGMENT],
        };
        joined.connect()?;
        Ok(joined)
    }

    /// Drops the connection and makes another.
    ///
    /// # Errors
    /// When the handshake fails.
    pub fn connect(&mut self) -> Result<(), String> {
        let (client, server) = (&mut self.client, &mut self.server);
        client.conn.release(&mut client.pool);
        server.conn.release(&mut server.pool);
        client.conn = Connection::connect(&setup(&self.config, &client.template, self.now));
        let mut arrived = Vec::new();
        client.send_to(self.now, &mut server.pool, &mut arrived);
        let syn = arrived.pop().ok_or("no SYN was sent")?;
        let mut answer = setup(&self.config, &server.template, self.now);
        (answer.ports.local, answer.ports.remote) = (80, 4000);
        server.conn = Connection::accept(&answer, &syn.header);
        server.pool.free(syn.payload);
        self.now += ROUND_TRIP;
        server.send_to(self.now, &mut client.pool, &mut arrived);
        for segment in arrived.drain(..) {
            client.handle(self.now, segment);
        }
        client.send_to(self.now, &mut server.pool, &mut arrived);
        for segment in arrived.drain(..) {
            server.handle(self.now, segment);
        }
        server.send_to_nobody(self.now);
        client.read();
        server.read();
        if !client.conn.state().can_send() || !server.conn.state().can_receive() {
            return Err("the handshake failed".to_owned());
        }
        Ok(())
    }

    /// The client sends a batch of full segments: as they arrive.
    ///
    /// # Errors
    /// When it does not send all of it.
    pub fn batch(&mut self) -> Result<Vec<Arrived>, String> {
        let mut arrived = Vec::with_capacity(BATCH);
        let client = &mut self.client;
        client.conn.send(&mut client.pool, &self.block);
        client.send_to(self.now, &mut self.server.pool, &mut arrived);
        self.now += ROUND_TRIP;
        if arrived.len() != BATCH {
            return Err(format!("{} segments instead of {BATCH}", arrived.len()));
        }
        Ok(arrived)
    }

    /// Takes what the server has to say to the client, until both are silent.
    pub fn settle(&mut self) {
        let mut arrived = Vec::new();
        loop {
            self.server
                .send_to(self.now, &mut self.client.pool, &mut arrived);
            let silent = arrived.is_empty();
            for segment in arrived.drain(..) {
                self.client.handle(self.now, segment);
            }
            self.client.read();
            self.client
                .send_to(self.now, &mut self.server.pool, &mut arrived);
            if silent && arrived.is_empty() {
                return;
            }
            for segment in arrived.drain(..) {
                self.server.handle(self.now, segment);
            }
            self.server.read();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_arrives_whole_in_any_order() {
        let mut joined = Joined::new().unwrap();
        for swapped in [false, true] {
            let mut batch = joined.batch().unwrap();
            if swapped {
                batch.reverse();
            }
            let now = joined.now;
            for segment in batch {
                joined.server.handle(now, segment);
            }
            assert_eq!(joined.server.read(), BATCH * SEGMENT);
            joined.settle();
            assert_eq!(joined.client.pool.ledger().outstanding(), 0);
            assert_eq!(joined.server.pool.ledger().outstanding(), 0);
        }
    }

    #[test]
    fn what_was_lost_is_sent_again() {
        for _ in 0..2 {
            let mut joined = Joined::new().unwrap();
            let mut batch = joined.batch().unwrap();
            let now = joined.now;
            for segment in batch.drain(BATCH / 2..) {
                joined.server.handle(now, segment);
            }
            for segment in batch {
                segment.drop_at(&mut joined.server);
            }
            joined.settle();
            let counters = joined.client.conn.counters();
            assert_eq!(counters.retransmits, BATCH as u64 / 2);
            joined.connect().unwrap();
        }
    }
}
