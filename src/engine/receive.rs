//! How frames come into an engine: from its link, and from other engines.

use super::handover::What;
use super::{Application, Engine};
use crate::frame::Packet;
use crate::link::Link;
use crate::time::Instant;

/// Frames taken from other engines in a turn.
const HANDED: usize = 64;

impl<L: Link, A: Application> Engine<L, A> {
    /// Receives a batch; answers how many packets and bytes.
    pub(super) fn receive(&mut self, now: Instant) -> (usize, usize) {
        let core = &mut self.core;
        // Unless some have been found since the last turn.
        if self.rx.is_empty() {
            self.link
                .receive(now, &mut core.pool, &mut self.rx, self.config.batch);
        }
        if let [packet] = self.rx.as_slice()
            && !packet.continues()
            && self.parts.is_empty()
            && !self.life.is_reclaiming()
            && let Some(packet) = self.rx.pop()
        {
            // Nothing to look ahead at.
            let (bytes, tx) = (packet.len(), &mut self.tx);
            match &self.handover {
                Some(handover) => core.receive_in_ring(packet, tx, handover, handover.others()),
                None => {
                    let _ = core.stack.receive(now, &mut core.pool, packet, tx, false);
                }
            }
            return (1, bytes);
        }
        let bytes = self.rx.iter().map(Packet::len).sum();
        let received = (self.rx.len(), bytes);
        if self.life.is_reclaiming() {
            // Nobody is left to answer, and each answer would be one more
            // frame to wait for.
            for packet in self.rx.drain(..) {
                core.pool.free(packet);
            }
            return received;
        }
        let tx = &mut self.tx;
        let mut rx = self.rx.drain(..);
        let mut foresight = core.stack.begin_foresight(&core.pool, rx.as_slice());
        while let Some(packet) = rx.next() {
            if let Some(foresight) = &mut foresight {
                core.stack.foresee(foresight, &core.pool, rx.as_slice());
            }
            if packet.continues() || !self.parts.is_empty() {
                if core.gather(packet, &mut self.parts) {
                    core.receive_gathered(&mut self.parts, tx, self.handover.as_ref());
                }
                continue;
            }
            let head = core.stack.begin_run(&core.pool, &packet, rx.as_slice());
            match &self.handover {
                Some(handover) => core.receive_in_ring(packet, tx, handover, handover.others()),
                None => {
                    // With nobody to pass it on to, nothing comes back.
                    let _ = core.stack.receive(now, &mut core.pool, packet, tx, false);
                }
            }
            if let Some(head) = head {
                let taken = core.stack.receive_run(&mut core.pool, &head, &mut rx);
                if let Some(foresight) = &mut foresight {
                    core.stack
                        .pass_over(foresight, &core.pool, taken, rx.as_slice());
                }
            }
        }
        received
    }

    /// Takes frames that came in at other engines.
    pub(super) fn take_handed(&mut self, now: Instant) -> bool {
        let Some(handover) = &self.handover else {
            return false;
        };
        let core = &mut self.core;
        let reclaiming = self.life.is_reclaiming();
        let mut taken = 0;
        while taken < HANDED
            && !handover.is_empty()
            && let Some(moved) = handover.pop()
        {
            taken += 1;
            if reclaiming {
                continue;
            }
            match moved.what {
                What::Frame(frame) => {
                    core.copy_in(&frame, &mut self.parts);
                    if self.parts.len() > 1 {
                        let parts = &mut self.parts;
                        core.receive_chain_in_ring(parts, &mut self.tx, handover, moved.hops);
                    } else if let Some(packet) = self.parts.pop() {
                        core.receive_in_ring(packet, &mut self.tx, handover, moved.hops);
                    }
                }
                What::Report(report) => {
                    if !core.stack.report(now, &mut core.pool, &report) {
                        core.pass_report(handover, report, moved.hops);
                    }
                }
            }
        }
        taken > 0
    }
}
