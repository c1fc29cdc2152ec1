//! Waking an engine, and its mailbox.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use crate::engine::{Inbox, Waker};

fn readable(waker: &Waker, timeout: Duration) -> bool {
    let fd = waker.fd();
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let timeout = rustix::event::Timespec::try_from(timeout).unwrap();
    poll(&mut fds, Some(&timeout)).unwrap() == 1
}

#[test]
fn only_a_sleeping_engine_is_woken() {
    let waker = Waker::new().unwrap();
    waker.wake();
    assert!(!readable(&waker, Duration::ZERO));
    assert!(!waker.prepare_sleep(false, || true), "there is work");
    waker.wake();
    assert!(!readable(&waker, Duration::ZERO));
    assert!(waker.prepare_sleep(false, || false));
    waker.wake();
    waker.wake();
    assert!(readable(&waker, Duration::ZERO));
    waker.awake();
    assert!(!readable(&waker, Duration::ZERO));
}

#[test]
fn a_stop_wakes_and_forbids_sleep_until_seen() {
    let waker = Waker::new().unwrap();
    assert!(waker.prepare_sleep(false, || false));
    waker.stop();
    assert!(readable(&waker, Duration::ZERO));
    waker.awake();
    assert!(!waker.prepare_sleep(false, || false));
    assert!(waker.prepare_sleep(true, || false));
}

#[test]
fn a_full_or_orphaned_mailbox_gives_the_message_back() {
    let inbox = Inbox::new(2).unwrap();
    let mailbox = inbox.mailbox();
    assert_eq!(mailbox.send(1), Ok(()));
    assert_eq!(mailbox.send(2), Ok(()));
    assert_eq!(mailbox.send(3), Err(3));
    assert_eq!(inbox.pop(), Some(1));
    assert_eq!(mailbox.send(4), Ok(()));
    drop(inbox);
    assert_eq!(mailbox.send(5), Err(5));
}

#[test]
fn no_wake_up_is_lost() {
    const MESSAGES: u32 = 20_000;
    let inbox = Inbox::new(4).unwrap();
    let senders: Vec<_> = (0..2)
        .map(|_| {
            let mailbox = inbox.mailbox();
            std::thread::spawn(move || {
                for n in 0..MESSAGES {
                    while mailbox.send(n).is_err() {
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let waker = inbox.waker();
    let mut got = 0;
    while got < 2 * MESSAGES {
        while inbox.pop().is_some() {
            got += 1;
        }
        if got < 2 * MESSAGES && waker.prepare_sleep(false, || !inbox.is_empty()) {
            assert!(
                readable(waker, Duration::from_secs(20)),
                "asleep after {got} messages"
            );
            waker.awake();
        }
    }
    for s in senders {
        s.join().unwrap();
    }
}
