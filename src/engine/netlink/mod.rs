//! Keeps the stack's view of the kernel up to date: link, addresses, routes
//! and neighbours of one interface, through rtnetlink.
//!
//! One thread, in the network namespace that it was started in, holds a mirror
//! of what the kernel says and gives the changes to each engine through a
//! bounded channel. An engine that is slow finds later changes folded into
//! fewer updates; none is lost.

mod read;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use futures_util::stream::{Stream, StreamExt, TryStreamExt};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{NeighbourFlags, NeighbourState as Nud};
use netlink_packet_route::route::RouteMessage;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::{Handle, MulticastGroup, new_connection, new_multicast_connection};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Waker;
use crate::stack::iface::Interface;
use crate::stack::kernel::{KernelConfig, KernelRequest, KernelUpdate, NeighbourState};
use crate::stack::neigh::KERNEL_CAPACITY;

/// Updates that wait for an engine.
const UPDATES: usize = 256;
/// Requests that wait for the thread.
const REQUESTS: usize = 256;
/// Single neighbours that wait for an engine, beyond which it gets them all.
const MAX_DIRTY: usize = 128;
/// Bound on the first dump, and on each later one.
const DUMP_TIME: Duration = Duration::from_secs(5);
/// How long changes of configuration gather before they are read.
const GATHER: Duration = Duration::from_millis(20);
/// Least time between two dumps of the configuration.
const DUMP_GAP: Duration = Duration::from_millis(500);
/// When to try again to give updates to an engine whose channel was full.
const RETRY: Duration = Duration::from_millis(10);
/// How long to let a flood of news that was too much run on before all is
/// read again.
const RESYNC: Duration = Duration::from_millis(50);
/// When to try again after netlink has failed.
const RECONNECT: Duration = Duration::from_secs(1);
/// Bound on one request to the kernel.
const REQUEST_TIME: Duration = Duration::from_secs(1);

/// Why the kernel's view is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// There is no such interface in this network namespace.
    #[error("there is no interface \"{0}\" in this network namespace; `ip link` lists them")]
    NoInterface(String),
    /// The kernel did not answer in time.
    #[error("the kernel did not answer netlink requests within {} s", DUMP_TIME.as_secs())]
    Timeout,
    /// Netlink failed.
    #[error("netlink: {0}")]
    Kernel(String),
    /// No thread or socket could be made.
    #[error("netlink: {0}")]
    Io(#[from] std::io::Error),
}

impl From<rtnetlink::Error> for NetlinkError {
    fn from(error: rtnetlink::Error) -> Self {
        Self::Kernel(error.to_string())
    }
}

/// The thread. It ends when this is dropped.
pub struct KernelSync {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    config: Arc<KernelConfig>,
}

/// One engine's ends of the channels to and from the thread.
#[derive(Debug)]
pub struct Feed {
    updates: Receiver<KernelUpdate>,
    requests: mpsc::Sender<KernelRequest>,
}

impl Feed {
    /// The next update. The first two are all there is at the start.
    pub fn poll(&self) -> Option<KernelUpdate> {
        // Looking is free, receiving is a barrier that waits for all stores.
        if self.updates.is_empty() {
            return None;
        }
        self.updates.try_recv().ok()
    }

    /// Whether no update is waiting.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.updates.is_empty()
    }

    /// Asks the kernel for something. Whoever asks too much is not heard; the
    /// neighbour table asks again.
    pub fn request(&self, request: KernelRequest) {
        let _ = self.requests.try_send(request);
    }

    /// Gives an interface all updates and takes its requests. Cheap when there
    /// is nothing.
    pub fn exchange(&self, now: crate::time::Instant, interface: &mut Interface) {
        while let Some(update) = self.poll() {
            interface.apply(now, &update);
        }
        while let Some(request) = interface.poll_request() {
            self.request(request);
        }
    }
}

impl KernelSync {
    /// Reads everything about `interface` and follows it from then on, for as
    /// many engines as there are `wakers`; an engine with a waker is woken when
    /// there are updates for it.
    ///
    /// # Errors
    /// There is no such interface, or netlink does not work.
    pub fn start(
        interface: &str,
        wakers: Vec<Option<Waker>>,
    ) -> Result<(Self, Vec<Feed>), NetlinkError> {
        let (requests, requests_end) = mpsc::channel(REQUESTS);
        let mut feeds = Vec::new();
        let mut subscribers = Vec::new();
        for waker in wakers {
            let (sender, updates) = bounded(UPDATES);
            feeds.push(Feed {
                updates,
                requests: requests.clone(),
            });
            subscribers.push(Subscriber {
                sender,
                waker,
                config: true,
                all: true,
                dirty: HashSet::new(),
            });
        }
        let (stop, stopped) = oneshot::channel();
        let (first, started) = bounded(1);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let worker = Worker {
            name: interface.to_owned(),
            subscribers,
            requests: requests_end,
            first: Some(first),
            mirror: Mirror::default(),
        };
        let thread = std::thread::Builder::new()
            .name("netlink".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = stopped => {}
                        () = worker.run() => {}
                    }
                });
            })?;
        let mut this = Self {
            stop: Some(stop),
            thread: Some(thread),
            config: Arc::default(),
        };
        match started.recv_timeout(DUMP_TIME + RECONNECT) {
            Ok(Ok(config)) => this.config = config,
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(NetlinkError::Timeout),
        }
        Ok((this, feeds))
    }

    /// What the interface was when the thread started.
    #[must_use]
    pub fn config(&self) -> &KernelConfig {
        &self.config
    }
}

impl Drop for KernelSync {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It only ever waits together with `stop`.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for KernelSync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelSync").finish_non_exhaustive()
    }
}

/// What the kernel has said so far.
#[derive(Default)]
struct Mirror {
    config: Arc<KernelConfig>,
    neighbours: HashMap<IpAddr, NeighbourState>,
}

impl Mirror {
    /// Takes a neighbour's state; answers whether it is news.
    fn neighbour(&mut self, ip: IpAddr, state: NeighbourState) -> bool {
        if state == NeighbourState::Gone {
            return self.neighbours.remove(&ip).is_some();
        }
        if self.neighbours.len() >= KERNEL_CAPACITY && !self.neighbours.contains_key(&ip) {
            return false;
        }
        self.neighbours.insert(ip, state) != Some(state)
    }
}

/// What one engine has yet to be told.
struct Subscriber {
    sender: Sender<KernelUpdate>,
    waker: Option<Waker>,
    config: bool,
    all: bool,
    dirty: HashSet<IpAddr>,
}

impl Subscriber {
    fn changed(&mut self, ip: IpAddr) {
        if !self.all {
            self.dirty.insert(ip);
            if self.dirty.len() > MAX_DIRTY {
                self.dirty.clear();
                self.all = true;
            }
        }
    }

    fn wants(&self) -> bool {
        self.config || self.all || !self.dirty.is_empty()
    }

    fn next(&self, mirror: &Mirror) -> Option<KernelUpdate> {
        if self.config {
            Some(KernelUpdate::Config(Arc::clone(&mirror.config)))
        } else if self.all {
            let all = mirror.neighbours.iter().map(|(ip, state)| (*ip, *state));
            Some(KernelUpdate::Neighbours(all.collect()))
        } else {
            let ip = *self.dirty.iter().next()?;
            let state = mirror.neighbours.get(&ip);
            Some(KernelUpdate::Neighbour(
                ip,
                state.copied().unwrap_or(NeighbourState::Gone),
            ))
        }
    }

    /// Sends what fits. `false` when the engine is gone.
    fn flush(&mut self, mirror: &Mirror) -> bool {
        let mut sent = false;
        while !self.sender.is_full()
            && let Some(update) = self.next(mirror)
        {
            let what = match &update {
                KernelUpdate::Neighbour(ip, _) => Some(*ip),
                _ => None,
            };
            match self.sender.try_send(update) {
                Ok(()) => sent = true,
                Err(TrySendError::Full(_)) => break,
                Err(TrySendError::Disconnected(_)) => return false,
            }
            if let Some(ip) = what {
                self.dirty.remove(&ip);
            } else if self.config {
                self.config = false;
            } else {
                self.all = false;
                self.dirty.clear();
            }
        }
        if let (true, Some(waker)) = (sent, &self.waker) {
            waker.wake();
        }
        true
    }
}

struct Worker {
    name: String,
    subscribers: Vec<Subscriber>,
    requests: mpsc::Receiver<KernelRequest>,
    first: Option<Sender<Result<Arc<KernelConfig>, NetlinkError>>>,
    mirror: Mirror,
}

impl Worker {
    async fn run(mut self) {
        loop {
            let pause = match self.session().await {
                Ok(()) => RESYNC,
                Err(error) => {
                    if let Some(first) = self.first.take() {
                        let _ = first.send(Err(error));
                        return;
                    }
                    RECONNECT
                }
            };
            sleep(pause).await;
        }
    }

    /// Follows the kernel until news was lost or netlink fails. After a loss
    /// the socket still holds news from before it, which would replace what a
    /// dump says: it takes a new socket, then a dump, to be right again.
    async fn session(&mut self) -> Result<(), NetlinkError> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Neigh,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv6Route,
        ];
        // News and questions on different sockets: a flood of the former must
        // not take answers along.
        let (connection, _news_handle, mut news) = new_multicast_connection(&groups)?;
        let _news_task = AbortOnDrop(tokio::spawn(connection));
        let (connection, handle, _) = new_connection()?;
        let _task = AbortOnDrop(tokio::spawn(connection));

        self.dump(&handle).await?;
        self.dump_neighbours(&handle).await?;
        if let Some(first) = self.first.take() {
            let _ = first.send(Ok(Arc::clone(&self.mirror.config)));
        }
        let mut last_dump = Instant::now();
        let mut dump_at = None;
        loop {
            let mirror = &self.mirror;
            self.subscribers.retain_mut(|s| s.flush(mirror));
            let waiting = self.subscribers.iter().any(Subscriber::wants);
            tokio::select! {
                message = news.next() => match message {
                    Some((message, _)) => match self.take_news(message) {
                        News::None => {}
                        News::Config => {
                            dump_at.get_or_insert(
                                (Instant::now() + GATHER).max(last_dump + DUMP_GAP),
                            );
                        }
                        News::Lost => return Ok(()),
                    },
                    None => return Err(NetlinkError::Kernel("the socket was closed".to_owned())),
                },
                request = self.requests.recv() => match request {
                    Some(request) => self.serve(&handle, request).await,
                    // Nobody is left to tell or to ask.
                    None => std::future::pending().await,
                },
                () = sleep_until(dump_at.unwrap_or_else(Instant::now)), if dump_at.is_some() => {
                    dump_at = None;
                    let before = self.mirror.config.link.index;
                    self.dump(&handle).await?;
                    last_dump = Instant::now();
                    if self.mirror.config.link.index != before {
                        self.dump_neighbours(&handle).await?;
                    }
                }
                () = sleep(RETRY), if waiting => {}
            }
        }
    }

    fn take_news(&mut self, message: NetlinkMessage<RouteNetlinkMessage>) -> News {
        use RouteNetlinkMessage as M;
        let index = self.mirror.config.link.index;
        let neighbour = match message.payload {
            NetlinkPayload::InnerMessage(inner) => match inner {
                M::NewNeighbour(n) => read::neighbour(&n, index),
                M::DelNeighbour(n) => {
                    read::neighbour(&n, index).map(|(ip, _)| (ip, NeighbourState::Gone))
                }
                M::NewLink(l) | M::DelLink(l) => {
                    // An interface that is made anew has another index.
                    let ours = index == 0 || l.header.index == index;
                    return if ours { News::Config } else { News::None };
                }
                M::NewAddress(a) | M::DelAddress(a) => {
                    let ours = a.header.index == index;
                    return if ours { News::Config } else { News::None };
                }
                M::NewRoute(r) | M::DelRoute(r) => {
                    let ours = read::route(&r, index).is_some();
                    return if ours { News::Config } else { News::None };
                }
                _ => None,
            },
            NetlinkPayload::Overrun(_) => return News::Lost,
            _ => None,
        };
        if let Some((ip, state)) = neighbour
            && self.mirror.neighbour(ip, state)
        {
            for subscriber in &mut self.subscribers {
                subscriber.changed(ip);
            }
        }
        News::None
    }

    /// Reads link, addresses and routes.
    async fn dump(&mut self, handle: &Handle) -> Result<(), NetlinkError> {
        let config = timeout(DUMP_TIME, self.read_config(handle))
            .await
            .map_err(|_| NetlinkError::Timeout)??;
        if config != *self.mirror.config {
            self.mirror.config = Arc::new(config);
            for subscriber in &mut self.subscribers {
                subscriber.config = true;
            }
        }
        Ok(())
    }

    async fn read_config(&self, handle: &Handle) -> Result<KernelConfig, NetlinkError> {
        let link = handle.link().get().match_name(self.name.clone()).execute();
        let link = match first(link).await {
            Ok(Some(message)) => read::link(&message),
            // The first time that is an error; later it has been taken away.
            Ok(None) | Err(rtnetlink::Error::NetlinkError(_)) if self.first.is_none() => {
                return Ok(KernelConfig::default());
            }
            Ok(None) => return Err(NetlinkError::NoInterface(self.name.clone())),
            Err(rtnetlink::Error::NetlinkError(error))
                if matches!(
                    error.to_io().raw_os_error(),
                    Some(libc::ENODEV | libc::EINVAL)
                ) =>
            {
                return Err(NetlinkError::NoInterface(self.name.clone()));
            }
            Err(error) => return Err(error.into()),
        };
        let index = link.index;
        let request = handle.address().get().set_link_index_filter(index);
        let addresses: Vec<_> = request.execute().try_collect().await?;
        let mut routes = Vec::new();
        for family in [
            netlink_packet_route::AddressFamily::Inet,
            netlink_packet_route::AddressFamily::Inet6,
        ] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            let mut stream = std::pin::pin!(handle.route().get(request).execute());
            while let Some(message) = stream.try_next().await? {
                routes.extend(read::route(&message, index));
            }
        }
        Ok(KernelConfig {
            link,
            addresses: addresses.iter().filter_map(read::address).collect(),
            routes,
        })
    }

    async fn dump_neighbours(&mut self, handle: &Handle) -> Result<(), NetlinkError> {
        let index = self.mirror.config.link.index;
        let all = async {
            let request = handle.neighbours().get().execute();
            let messages: Vec<_> = request.try_collect().await?;
            Ok::<_, NetlinkError>(messages)
        };
        let all = timeout(DUMP_TIME, all)
            .await
            .map_err(|_| NetlinkError::Timeout)??;
        self.mirror.neighbours.clear();
        for (ip, state) in all.iter().filter_map(|m| read::neighbour(m, index)) {
            self.mirror.neighbour(ip, state);
        }
        for subscriber in &mut self.subscribers {
            subscriber.all = true;
            subscriber.dirty.clear();
        }
        Ok(())
    }

    async fn serve(&mut self, handle: &Handle, request: KernelRequest) {
        let KernelRequest::Resolve(ip) = request;
        let index = self.mirror.config.link.index;
        if index == 0 {
            return;
        }
        // "Use" makes the kernel behave as if it had a packet to send there: it
        // asks for an unknown address and checks a stale one.
        let request = handle
            .neighbours()
            .add(index, ip)
            .state(Nud::None)
            .flags(NeighbourFlags::Use)
            .replace()
            .execute();
        match timeout(REQUEST_TIME, request).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("the kernel does not look for {ip}: {error}"),
            Err(_) => tracing::debug!("the kernel does not answer a request for {ip}"),
        }
    }
}

enum News {
    None,
    /// Link, addresses or routes changed.
    Config,
    /// Messages were lost.
    Lost,
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn first<T>(
    stream: impl Stream<Item = Result<T, rtnetlink::Error>>,
) -> Result<Option<T>, rtnetlink::Error> {
    std::pin::pin!(stream).try_next().await
}
