//! The only place where an engine reads time.

use crate::time::Instant;

/// The operating system's monotonic clock, from an origin at its making.
#[derive(Clone, Copy, Debug)]
pub struct Clock(std::time::Instant);

impl Clock {
    /// A clock at [`Instant::ZERO`].
    #[must_use]
    #[allow(clippy::new_without_default)] // it reads the time
    pub fn new() -> Self {
        Self(std::time::Instant::now())
    }

    /// The present.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Instant {
        let elapsed = self.0.elapsed();
        Instant::from_nanos(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }
}
