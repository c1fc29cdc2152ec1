//! How many frames each connection may keep until its application reads them.
//!
//! Payload waits in the frames that it arrived in, so an application that does
//! not read would keep frames that sending and other connections need. Half
//! of the frames that the NIC does not have may hold what is not read, the
//! *budget*. A connection may keep up to [`EAGER`] times as many as are left
//! of it: one alone gets nearly all, many get equal parts, and something is
//! always left for the next (the dynamic threshold of Choudhury and Hahne,
//! 1998). Who keeps none may go beyond the budget, by an eighth of the frames
//! at most: so many connections can go on whatever the others keep.
//!
//! Nothing here looks at more than a few numbers: there is a decision for
//! every segment that brings payload.

use crate::frame::Pool;

/// Frames that a connection may keep for each one that is left.
const EAGER: usize = 8;
/// The same for payload that is out of order: it is the first to go, since
/// the peer has it still.
const EAGER_EARLY: usize = 4;

/// Frames of the budget that nobody keeps and that are free.
#[inline]
fn left(pool: &Pool) -> usize {
    let budget = pool.unlent() / 2;
    let free = pool.available().saturating_sub(floor(pool));
    budget.saturating_sub(pool.unread()).min(free)
}

/// Frames that are never kept: what arrives and what answers it need some.
/// Sending leaves more alone.
fn floor(pool: &Pool) -> usize {
    (pool.region().chunks() as usize / 32).max(1)
}

/// Whether a connection that keeps `own` frames may keep one more, with
/// payload that is next in order.
#[inline]
pub fn may_keep(own: usize, pool: &Pool) -> bool {
    own < EAGER * left(pool) || (own == 0 && may_exceed(pool))
}

/// Sending stops at four times the floor, so what it leaves is enough for one
/// segment at a time, however small the pool: were it not, two ends that both
/// send would wait for each other's acknowledgement for ever.
#[cold]
pub fn may_exceed(pool: &Pool) -> bool {
    let most = pool.unlent() / 2 + pool.unlent() / 8;
    pool.unread() < most && pool.available() >= floor(pool)
}

/// How many more frames a connection that keeps `own` may keep before it has to
/// save any: at least, of frames that are not free.
#[inline]
pub fn plenty(own: usize, pool: &Pool) -> usize {
    // With each, one fewer is left.
    let saves = EAGER / 4;
    (saves * left(pool)).saturating_sub(own) / (saves + 1)
}

/// The same with payload that is out of order.
#[inline]
pub fn may_keep_early(own: usize, pool: &Pool) -> bool {
    own < EAGER_EARLY * left(pool)
}

/// Whether a connection that keeps `own` frames should save them by copying.
#[inline]
pub fn is_tight(own: usize, pool: &Pool) -> bool {
    own > EAGER / 4 * left(pool)
}

/// Frames that may be promised to the peer of a connection that keeps `own`:
/// as many as it could keep if they came now.
#[inline]
pub fn promise(own: usize, pool: &Pool) -> usize {
    let fair = (EAGER * left(pool)).saturating_sub(own) / (EAGER + 1);
    fair.max(usize::from(own == 0))
}

/// Whether nothing is left of the budget: what connections keep out of order
/// is to be given back.
#[must_use]
#[inline]
pub fn is_short(pool: &Pool) -> bool {
    left(pool) == 0 && pool.unread() > 0
}

/// Frames that sending leaves to receiving: without them no acknowledgement
/// could come in, and nothing sent would ever be freed.
#[must_use]
pub fn reserve(pool: &Pool) -> usize {
    (pool.region().chunks() as usize / 8).max(2)
}

/// Frames that the parts of what was sent leave to receiving. Fewer than
/// applications leave: these would take each frame as it comes free, and a
/// window of segments that have become too large would leave one at a time.
/// Two at least, here as there: one for what arrives, one for its answer.
pub fn reserve_of_parts(pool: &Pool) -> usize {
    (pool.region().chunks() as usize / 16).max(2)
}
