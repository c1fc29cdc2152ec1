//! The engine's meeting places.

#[path = "../../src/engine/gate.rs"]
mod gate;
#[path = "../../src/engine/mailbox.rs"]
mod mailbox;
#[path = "../../src/engine/ring.rs"]
mod ring;
#[allow(dead_code)] // a model has no file descriptors
#[path = "../../src/engine/waker.rs"]
mod waker;

pub use gate::Gate;
pub use mailbox::{Inbox, Mailbox};
pub use ring::Ring;
pub use waker::Waker;

/// What an engine does when it found nothing to do: sleeps, unless there is
/// something after all.
pub fn sleep(waker: &Waker, stopping: bool, work_waits: impl FnOnce() -> bool) {
    if waker.prepare_sleep(stopping, work_waits) {
        waker.event().wait();
        waker.awake();
    } else {
        loom::thread::yield_now();
    }
}
