//! Two connections in virtual time.

mod begin_end;
mod belief;
mod frames;
mod loss;
mod window;

use std::time::Duration;

use super::testing::End;
use super::*;

const SEC: Duration = Duration::from_secs(1);

fn config() -> Config {
    Config::default()
}

fn state(e: &End) -> State {
    e.conn.as_ref().map_or(State::Closed, Connection::state)
}
