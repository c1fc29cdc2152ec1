//! Content that comes in small pieces, and a disk that is slow to take it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::block::{AHEAD, FULL};
use super::{ClientApp, Port};
use crate::engine::Transport;
use crate::frame::{Packet, Region};
use crate::time::Instant;
use crate::transfer::client::{GetOptions, Output, Url, Verify};
use crate::transfer::disk::Completion;
use crate::wire::checksum::Sum;

/// One connection that takes everything, and shows one piece at a time.
struct Trickle {
    region: Arc<Region>,
    pieces: VecDeque<Vec<u8>>,
    sent: usize,
    connected: bool,
    stopped: bool,
}

impl Port for Trickle {
    type Flow = u8;

    fn now(&self) -> Instant {
        Instant::from_millis(1)
    }
    fn recv_chunk(&self, _: u8) -> Option<&[u8]> {
        self.pieces.front().map(Vec::as_slice)
    }
    fn recv_consume(&mut self, _: u8, n: usize) {
        let piece = self.pieces.pop_front();
        assert_eq!(piece.map(|p| p.len()), Some(n), "whole pieces");
    }
    fn recv_take(&mut self, _: u8) -> Option<Packet> {
        None
    }
    fn recv_release(&mut self, _: u8, _: usize) {}
    fn send(&mut self, _: u8, data: &[u8]) -> usize {
        self.sent += data.len();
        data.len()
    }
    fn unsent(&self, _: u8) -> usize {
        0
    }
    fn send_room(&self, _: u8) -> usize {
        1 << 20
    }
    fn segment(&self, _: u8) -> usize {
        1448
    }
    fn prepare(&mut self, _: u8) -> Option<Packet> {
        None
    }
    fn send_packet(&mut self, _: u8, packet: Packet, _: Sum) -> Result<(), Packet> {
        Err(packet)
    }
    fn shutdown(&mut self, _: u8) {}
    fn close(&mut self, _: u8) {}
    fn abort(&mut self, _: u8) {}
    fn connect(&mut self, _: Transport, _: SocketAddr) -> Result<u8, String> {
        self.connected = true;
        Ok(1)
    }
    fn set_nodelay(&mut self, _: u8) {}
    fn region(&self) -> &Arc<Region> {
        &self.region
    }
    fn free(&mut self, _: Packet) {
        unreachable!("it gave none out");
    }
    fn set_timer(&mut self, _: Option<u8>, _: u64, _: Duration) {}
    fn stop(&mut self) {
        self.stopped = true;
    }
}

/// Blocks of a few frames each would be more than the queue of the disk takes.
#[test]
fn a_disk_that_is_slow_is_given_full_blocks() {
    const PIECES: usize = 40 * FULL + 1;
    let dir = tempfile::TempDir::new().unwrap();
    let to = dir.path().join("copy");
    let url = Url::parse("http://192.0.2.1/file").unwrap();
    let mut options = GetOptions::new(url, Output::File(to.clone()));
    // It would ask for a digest on another connection.
    options.verify = Verify::Skip;
    let addresses = vec![([192, 0, 2, 1], 80).into()];
    let (mut app, result) = ClientApp::get(options, addresses, Arc::default()).unwrap();
    let (sender, answers) = crossbeam::channel::unbounded::<Completion<_>>();
    app.set_mailbox(Arc::new(sender));
    let mut port = Trickle {
        region: Region::anonymous(1, 2048),
        pieces: VecDeque::new(),
        sent: 0,
        connected: false,
        stopped: false,
    };
    let answer = || answers.recv_timeout(Duration::from_secs(30)).unwrap();
    app.on_start(&mut port);
    while !port.connected {
        app.on_disk(&mut port, answer());
    }
    app.on_connected(&mut port, 1);
    assert!(port.sent > 0, "the request");

    let piece = |n: usize| vec![n as u8; 100];
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
        PIECES * 100
    );
    port.pieces.push_back(head.into_bytes());
    app.on_readable(&mut port, 1);
    for n in 0..PIECES {
        port.pieces.push_back(piece(n));
        // The disk may be done with all of it: no answer is looked at.
        app.on_readable(&mut port, 1);
    }
    assert!(port.pieces.is_empty());
    let most = AHEAD as usize + PIECES.div_ceil(FULL);
    assert!(app.at_disk() <= most, "{} blocks", app.at_disk());

    // What did not fill a block goes when there is room, or at the end.
    while !port.stopped {
        app.on_disk(&mut port, answer());
    }
    assert!(result.recv().unwrap().is_ok());
    let expected: Vec<u8> = (0..PIECES).flat_map(piece).collect();
    assert!(std::fs::read(to).unwrap() == expected);
    app.join();
}
