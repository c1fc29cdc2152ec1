//! HTTP/1.1 over a byte stream: serve, get and put files.

pub mod app;
pub mod client;
pub mod disk;
pub mod http;
pub mod serve;
