//! Messages to an engine: none lost, none twice, in the order of each sender,
//! whatever the engine does meanwhile.

use loom::thread;
use models::engine::{Inbox, Mailbox, sleep};
use models::sync::start_at;

/// Where the cursors of the queue begin: at zero, and so that they wrap.
const STARTS: [usize; 2] = [0, usize::MAX - 1];

fn check(bound: usize, model: impl Fn() + Sync + Send + Copy + 'static) {
    for start in STARTS {
        models::check(bound, move || {
            start_at(start);
            model();
        });
    }
}

/// Sends messages, each until the mailbox has room for it.
fn send_all(mailbox: &Mailbox<(usize, usize)>, sender: usize, n: usize) {
    for k in 0..n {
        let mut message = (sender, k);
        while let Err(back) = mailbox.send(message) {
            assert_eq!(back, message);
            message = back;
            thread::yield_now();
        }
    }
}

/// An engine that takes `n` messages and sleeps when there are none.
fn receive_all(inbox: &Inbox<(usize, usize)>, n: usize) -> Vec<(usize, usize)> {
    let mut got = Vec::new();
    while got.len() < n {
        match inbox.pop() {
            Some(message) => got.push(message),
            None => sleep(inbox.waker(), false, || !inbox.is_empty()),
        }
    }
    assert_eq!(inbox.pop(), None);
    got
}

#[test]
fn two_senders_and_an_engine_that_sleeps() {
    check(2, || {
        let inbox = Inbox::new(2).unwrap();
        let senders: Vec<_> = (0..2)
            .map(|sender| {
                let mailbox = inbox.mailbox();
                thread::spawn(move || send_all(&mailbox, sender, 1))
            })
            .collect();
        let mut got = receive_all(&inbox, 2);
        got.sort_unstable();
        assert_eq!(got, [(0, 0), (1, 0)]);
        for sender in senders {
            sender.join().unwrap();
        }
    });
}

/// Of three messages to a mailbox for two, the last may have to wait until the
/// engine has taken one.
#[test]
fn one_sender_keeps_its_order_through_a_full_mailbox() {
    check(2, || {
        let inbox = Inbox::new(2).unwrap();
        let sender = {
            let mailbox = inbox.mailbox();
            thread::spawn(move || send_all(&mailbox, 0, 3))
        };
        assert_eq!(receive_all(&inbox, 3), [(0, 0), (0, 1), (0, 2)]);
        sender.join().unwrap();
    });
}

#[test]
fn a_full_mailbox_says_so() {
    check(3, || {
        let inbox = Inbox::new(2).unwrap();
        let sender = {
            let mailbox = inbox.mailbox();
            thread::spawn(move || (0..3).filter(|n| mailbox.send(*n).is_err()).count())
        };
        let early = inbox.pop();
        let refused = sender.join().unwrap();
        let mut got: Vec<_> = early.into_iter().collect();
        got.extend(std::iter::from_fn(|| inbox.pop()));
        // Only the third can have been one too many.
        assert!(refused <= 1);
        assert_eq!(got, [0, 1, 2][..3 - refused]);
    });
}

/// An engine that is gone takes nothing: each message is either received or
/// given back, even while it goes. Some carry frames.
#[test]
fn a_mailbox_that_closes_loses_nothing() {
    check(3, || {
        let inbox = Inbox::new(2).unwrap();
        let senders: Vec<_> = (0..2)
            .map(|sender| {
                let mailbox = inbox.mailbox();
                thread::spawn(move || mailbox.send(sender).err())
            })
            .collect();
        inbox.close();
        let mut all: Vec<usize> = std::iter::from_fn(|| inbox.pop()).collect();
        let back = senders.into_iter().map(|s| s.join().unwrap());
        all.extend(back.flatten());
        all.sort_unstable();
        assert_eq!(all, [0, 1]);
    });
}
