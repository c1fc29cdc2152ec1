//! Which pieces there are, and who fetches what.

use crate::message::{BLOCK, Block};

/// What is known of a piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Missing,
    /// A peer has been asked for it.
    Fetching,
    /// It is whole and its hash is being taken.
    Checking,
    Have,
}

/// All pieces of the torrent.
pub struct Pieces {
    states: Vec<State>,
    missing: usize,
}

impl Pieces {
    pub fn new(have: &[bool]) -> Self {
        let state = |&have| if have { State::Have } else { State::Missing };
        Self {
            states: have.iter().map(state).collect(),
            missing: have.iter().filter(|have| !**have).count(),
        }
    }

    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }

    pub fn has(&self, piece: u32) -> bool {
        self.states.get(piece as usize) == Some(&State::Have)
    }

    /// The message's bits: the first piece is the highest bit.
    pub fn bitfield(&self) -> Vec<u8> {
        let byte = |states: &[State]| {
            let bits = states.iter().enumerate();
            bits.fold(0, |byte, (i, &state)| {
                byte | u8::from(state == State::Have) << (7 - i)
            })
        };
        self.states.chunks(8).map(byte).collect()
    }

    /// Whether a peer with these has one that is missing here.
    pub fn wants_any(&self, peer_has: &[bool]) -> bool {
        let both = self.states.iter().zip(peer_has);
        both.into_iter()
            .any(|(&state, &has)| has && state != State::Have)
    }

    /// The next to be asked of a peer with these, whose fetching begins.
    pub fn pick(&mut self, peer_has: &[bool]) -> Option<u32> {
        let both = self.states.iter_mut().zip(peer_has);
        for (index, (state, has)) in both.enumerate() {
            if *has && *state == State::Missing {
                *state = State::Fetching;
                return Some(index as u32);
            }
        }
        None
    }

    /// It has come as a whole.
    pub fn fetched(&mut self, piece: u32) {
        self.states[piece as usize] = State::Checking;
    }

    /// It will not come, or is not what it should be.
    pub fn failed(&mut self, piece: u32) {
        self.states[piece as usize] = State::Missing;
    }

    /// It is what it should be, and stored.
    pub fn verified(&mut self, piece: u32) {
        self.states[piece as usize] = State::Have;
        self.missing -= 1;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Unasked,
    Asked,
    Here,
}

/// A piece that is fetched from one peer, block by block.
pub struct Fetch {
    pub piece: u32,
    data: Vec<u8>,
    parts: Vec<Part>,
}

impl Fetch {
    pub fn new(piece: u32, length: u32) -> Self {
        Self {
            piece,
            data: vec![0; length as usize],
            parts: vec![Part::Unasked; length.div_ceil(BLOCK) as usize],
        }
    }

    /// The next block to ask for.
    pub fn ask(&mut self) -> Option<Block> {
        let next = self.parts.iter().position(|&part| part == Part::Unasked)?;
        self.parts[next] = Part::Asked;
        let begin = next as u32 * BLOCK;
        Some(Block {
            piece: self.piece,
            begin,
            length: BLOCK.min(self.data.len() as u32 - begin),
        })
    }

    /// What was asked for will not come: how many blocks those are.
    pub fn forget(&mut self) -> usize {
        let asked = self.parts.iter_mut().filter(|part| **part == Part::Asked);
        asked.map(|part| *part = Part::Unasked).count()
    }

    /// Takes a block; `false` if it was not asked for.
    pub fn fill(&mut self, begin: u32, data: &[u8]) -> bool {
        let index = (begin / BLOCK) as usize;
        if !begin.is_multiple_of(BLOCK) || self.parts.get(index) != Some(&Part::Asked) {
            return false;
        }
        let begin = begin as usize;
        let end = self.data.len().min(begin + BLOCK as usize);
        if data.len() != end - begin {
            return false;
        }
        self.data[begin..end].copy_from_slice(data);
        self.parts[index] = Part::Here;
        true
    }

    pub fn is_whole(&self) -> bool {
        self.parts.iter().all(|&part| part == Part::Here)
    }

    pub fn into_data(self) -> Vec<u8> {
        self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_whole_when_each_block_that_was_asked_for_is_here() {
        let mut fetch = Fetch::new(2, BLOCK + 10);
        let full = vec![7; BLOCK as usize];
        // Not asked for yet.
        assert!(!fetch.fill(0, &full));
        assert_eq!(fetch.ask().unwrap().length, BLOCK);
        let last = fetch.ask().unwrap();
        assert_eq!((last.piece, last.begin, last.length), (2, BLOCK, 10));
        assert_eq!(fetch.ask(), None);
        for (begin, data) in [
            (1, &full[..]),
            (BLOCK, &full),
            (0, &full[1..]),
            (2 * BLOCK, &full),
        ] {
            assert!(!fetch.fill(begin, data));
        }
        assert!(fetch.fill(BLOCK, &[9; 10]));
        assert!(!fetch.fill(BLOCK, &[9; 10]), "twice");
        // A peer that chokes forgets what it was asked.
        assert_eq!((fetch.forget(), fetch.is_whole()), (1, false));
        assert_eq!(fetch.ask().unwrap().begin, 0);
        assert!(fetch.fill(0, &full) && fetch.is_whole());
        assert_eq!(fetch.into_data(), [full, vec![9; 10]].concat());
    }

    #[test]
    fn each_missing_piece_is_given_to_one_peer_at_a_time() {
        let mut pieces = Pieces::new(&[true, false, false, true, false, false, false, false, true]);
        assert_eq!(pieces.bitfield(), [0b1001_0000, 0b1000_0000]);
        let mut peer = [false; 9];
        assert!(!pieces.wants_any(&peer));
        peer[0] = true;
        assert!(!pieces.wants_any(&peer));
        (peer[2], peer[4]) = (true, true);
        assert!(pieces.wants_any(&peer));
        assert_eq!(pieces.pick(&peer), Some(2));
        assert_eq!(pieces.pick(&peer), Some(4));
        assert_eq!(pieces.pick(&peer), None);
        pieces.failed(2);
        assert_eq!(pieces.pick(&peer), Some(2));
        for piece in [2, 4] {
            pieces.fetched(piece);
            pieces.verified(piece);
        }
        assert!(pieces.has(4) && !pieces.has(5) && !pieces.has(99) && !pieces.is_complete());
        assert!(!pieces.wants_any(&peer));
    }
}
