//! Book-keeping of what the steering program is told to take: addresses, their
//! port bitmaps, and how often each was claimed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::XdpError;

/// A transport protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Slots of the program's port bitmap; slot 0 is for claims without an address.
pub(super) const SLOTS: usize = 64;
/// Words of 64 ports in one slot: TCP, then UDP.
pub(super) const WORDS_PER_SLOT: usize = 2 * 1024;

/// Where the book-keeping is written to: the maps of the loaded program.
pub(super) trait Maps {
    /// Writes one word of the port bitmap.
    fn set_word(&mut self, index: u32, bits: u64) -> Result<(), XdpError>;
    /// Writes an address entry.
    fn set_address(&mut self, address: IpAddr, slot: u32, own: bool) -> Result<(), XdpError>;
    /// Removes an address entry.
    fn remove_address(&mut self, address: IpAddr) -> Result<(), XdpError>;
    /// Tells the program whether there are any address entries.
    fn set_have_addresses(&mut self, have: bool) -> Result<(), XdpError>;
}

/// One address (or none) and its claims.
#[derive(Debug, Default)]
struct Slot {
    address: Option<IpAddr>,
    /// How often the whole address was claimed.
    own: u32,
    /// How often each port was claimed.
    ports: HashMap<(Protocol, u16), u32>,
    /// Empty until the slot's first port.
    words: Vec<u64>,
}

impl Slot {
    fn is_free(&self) -> bool {
        self.address.is_none() && self.own == 0 && self.ports.is_empty()
    }
}

/// Everything claimed on one interface.
#[derive(Debug)]
pub(super) struct Claims {
    slots: Vec<Slot>,
    have_addresses: bool,
}

impl Claims {
    pub(super) fn new() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Slot::default()).collect(),
            have_addresses: false,
        }
    }

    /// Claims ports of an address, or of every address.
    pub(super) fn claim(
        &mut self,
        maps: &mut impl Maps,
        protocol: Protocol,
        ports: RangeInclusive<u16>,
        address: Option<IpAddr>,
    ) -> Result<(), XdpError> {
        let slot = self.slot_for(address)?;
        self.change_ports(maps, slot, protocol, ports, true)?;
        self.publish(maps, slot, address)
    }

    /// Gives ports back; those that were not claimed are ignored.
    pub(super) fn unclaim(
        &mut self,
        maps: &mut impl Maps,
        protocol: Protocol,
        ports: RangeInclusive<u16>,
        address: Option<IpAddr>,
    ) -> Result<(), XdpError> {
        let Some(slot) = self.find(address) else {
            return Ok(());
        };
        self.change_ports(maps, slot, protocol, ports, false)?;
        self.publish(maps, slot, address)
    }

    /// Claims everything for an address.
    pub(super) fn own(&mut self, maps: &mut impl Maps, address: IpAddr) -> Result<(), XdpError> {
        let slot = self.slot_for(Some(address))?;
        self.slots[slot].own += 1;
        self.publish(maps, slot, Some(address))
    }

    /// Gives an address back; one that was not claimed is ignored.
    pub(super) fn disown(&mut self, maps: &mut impl Maps, address: IpAddr) -> Result<(), XdpError> {
        let Some(slot) = self.find(Some(address)) else {
            return Ok(());
        };
        self.slots[slot].own = self.slots[slot].own.saturating_sub(1);
        self.publish(maps, slot, Some(address))
    }

    fn find(&self, address: Option<IpAddr>) -> Option<usize> {
        match address {
            None => Some(0),
            Some(_) => self.slots.iter().position(|slot| slot.address == address),
        }
    }

    fn slot_for(&self, address: Option<IpAddr>) -> Result<usize, XdpError> {
        let Some(wanted) = address else { return Ok(0) };
        self.find(address)
            .or_else(|| (1..SLOTS).find(|&slot| self.slots[slot].is_free()))
            .ok_or(XdpError::TooManyAddresses {
                address: wanted,
                limit: SLOTS - 1,
            })
    }

    /// Counts each port up or down and writes the words that changed.
    fn change_ports(
        &mut self,
        maps: &mut impl Maps,
        slot_index: usize,
        protocol: Protocol,
        ports: RangeInclusive<u16>,
        up: bool,
    ) -> Result<(), XdpError> {
        let slot = &mut self.slots[slot_index];
        slot.words.resize(WORDS_PER_SLOT, 0);
        let base = match protocol {
            Protocol::Tcp => 0,
            Protocol::Udp => WORDS_PER_SLOT / 2,
        };
        let mut dirty = None;
        for port in ports {
            let word = base + usize::from(port / 64);
            let bit = 1u64 << (port % 64);
            if dirty.is_some_and(|index| index != word) {
                flush(maps, slot_index, &slot.words, dirty)?;
                dirty = None;
            }
            if up {
                *slot.ports.entry((protocol, port)).or_default() += 1;
                if slot.words[word] & bit == 0 {
                    slot.words[word] |= bit;
                    dirty = Some(word);
                }
            } else if let Some(count) = slot.ports.get_mut(&(protocol, port)) {
                *count -= 1;
                if *count == 0 {
                    slot.ports.remove(&(protocol, port));
                    slot.words[word] &= !bit;
                    dirty = Some(word);
                }
            }
        }
        flush(maps, slot_index, &slot.words, dirty)
    }

    /// Makes the address table agree with a slot whose claims have changed.
    fn publish(
        &mut self,
        maps: &mut impl Maps,
        slot: usize,
        address: Option<IpAddr>,
    ) -> Result<(), XdpError> {
        let Some(address) = address else {
            return Ok(());
        };
        let entry = &mut self.slots[slot];
        if entry.own > 0 || !entry.ports.is_empty() {
            maps.set_address(address, slot as u32, entry.own > 0)?;
            entry.address = Some(address);
        } else if entry.address.take().is_some() {
            maps.remove_address(address)?;
        }
        let have = self.slots.iter().any(|slot| slot.address.is_some());
        if have != self.have_addresses {
            maps.set_have_addresses(have)?;
            self.have_addresses = have;
        }
        Ok(())
    }
}

fn flush(
    maps: &mut impl Maps,
    slot: usize,
    words: &[u64],
    dirty: Option<usize>,
) -> Result<(), XdpError> {
    match dirty {
        Some(word) => maps.set_word((slot * WORDS_PER_SLOT + word) as u32, words[word]),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    /// What the kernel would hold.
    #[derive(Default)]
    struct Model {
        words: HashMap<u32, u64>,
        addresses: HashMap<IpAddr, (u32, bool)>,
        have: bool,
        writes: usize,
    }

    impl Maps for Model {
        fn set_word(&mut self, index: u32, bits: u64) -> Result<(), XdpError> {
            self.words.insert(index, bits);
            self.writes += 1;
            Ok(())
        }
        fn set_address(&mut self, address: IpAddr, slot: u32, own: bool) -> Result<(), XdpError> {
            self.addresses.insert(address, (slot, own));
            Ok(())
        }
        fn remove_address(&mut self, address: IpAddr) -> Result<(), XdpError> {
            assert!(self.addresses.remove(&address).is_some());
            Ok(())
        }
        fn set_have_addresses(&mut self, have: bool) -> Result<(), XdpError> {
            self.have = have;
            Ok(())
        }
    }

    impl Model {
        fn takes(&self, protocol: Protocol, port: u16, address: IpAddr) -> bool {
            let bit = |slot: u32| {
                let half = if protocol == Protocol::Udp { 1024 } else { 0 };
                let word = slot * WORDS_PER_SLOT as u32 + half + u32::from(port / 64);
                self.words
                    .get(&word)
                    .is_some_and(|bits| bits >> (port % 64) & 1 == 1)
            };
            bit(0)
                || self.have
                    && self
                        .addresses
                        .get(&address)
                        .is_some_and(|&(slot, own)| own || bit(slot))
        }
    }

    fn ip(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    #[test]
    fn a_claim_holds_until_it_is_given_back_as_often() {
        let (mut claims, mut model) = (Claims::new(), Model::default());
        claims
            .claim(&mut model, Protocol::Tcp, 80..=80, None)
            .unwrap();
        claims
            .claim(&mut model, Protocol::Tcp, 80..=80, None)
            .unwrap();
        claims
            .unclaim(&mut model, Protocol::Tcp, 80..=80, None)
            .unwrap();
        assert!(model.takes(Protocol::Tcp, 80, ip(1)));
        assert!(!model.takes(Protocol::Udp, 80, ip(1)));
        assert!(!model.takes(Protocol::Tcp, 81, ip(1)));
        claims
            .unclaim(&mut model, Protocol::Tcp, 80..=80, None)
            .unwrap();
        assert!(!model.takes(Protocol::Tcp, 80, ip(1)));
        claims
            .unclaim(&mut model, Protocol::Tcp, 80..=80, None)
            .unwrap();
        assert!(!model.takes(Protocol::Tcp, 80, ip(1)));
    }

    #[test]
    fn an_address_keeps_its_claims_to_itself() {
        let (mut claims, mut model) = (Claims::new(), Model::default());
        claims
            .claim(&mut model, Protocol::Udp, 53..=53, Some(ip(1)))
            .unwrap();
        claims.own(&mut model, ip(2)).unwrap();
        assert!(model.takes(Protocol::Udp, 53, ip(1)));
        assert!(!model.takes(Protocol::Udp, 53, ip(3)));
        assert!(model.takes(Protocol::Tcp, 9, ip(2)));
        assert!(model.have);
        claims.disown(&mut model, ip(2)).unwrap();
        assert!(!model.takes(Protocol::Tcp, 9, ip(2)));
        claims
            .unclaim(&mut model, Protocol::Udp, 53..=53, Some(ip(1)))
            .unwrap();
        assert!(!model.have && model.addresses.is_empty());
    }

    #[test]
    fn a_range_is_written_by_the_word() {
        let (mut claims, mut model) = (Claims::new(), Model::default());
        claims
            .claim(&mut model, Protocol::Tcp, 32_768..=60_999, Some(ip(1)))
            .unwrap();
        assert_eq!(model.writes, (60_999 / 64) - (32_768 / 64) + 1);
        for (port, taken) in [
            (32_767, false),
            (32_768, true),
            (60_999, true),
            (61_000, false),
        ] {
            assert_eq!(model.takes(Protocol::Tcp, port, ip(1)), taken, "{port}");
        }
        claims
            .unclaim(&mut model, Protocol::Tcp, 0..=u16::MAX, Some(ip(1)))
            .unwrap();
        assert!(model.words.values().all(|&bits| bits == 0));
    }

    #[test]
    fn addresses_run_out_with_an_error_and_come_back() {
        let (mut claims, mut model) = (Claims::new(), Model::default());
        for last in 1..SLOTS as u8 {
            claims.own(&mut model, ip(last)).unwrap();
        }
        let error = claims.own(&mut model, ip(200)).unwrap_err();
        assert!(matches!(
            error,
            XdpError::TooManyAddresses { limit: 63, .. }
        ));
        claims.disown(&mut model, ip(7)).unwrap();
        claims.own(&mut model, ip(200)).unwrap();
        assert!(model.takes(Protocol::Tcp, 1, ip(200)) && !model.takes(Protocol::Tcp, 1, ip(7)));
    }
}
