//! From a received datagram to the connection, listener or refusal that it gets.

use std::collections::VecDeque;

use super::Stack;
use super::demux::Foreign;
use super::iface::Meta;
use crate::frame::{Packet, Pool, TxDesc};
use crate::stats::DropReason;
use crate::time::Instant;
use crate::wire::udp;

impl Stack {
    /// A datagram for one of our addresses. `whole` is the range of its frame,
    /// if that may be passed on.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn datagram(
        &mut self,
        _now: Instant,
        pool: &mut Pool,
        _meta: &Meta,
        _header: &udp::Header,
        payload: Packet,
        _tx: &mut VecDeque<TxDesc>,
        _whole: Option<(u16, u16)>,
    ) -> Option<Foreign> {
        self.drops.count(DropReason::UdpPortClosed);
        pool.free(payload);
        None
    }
}
