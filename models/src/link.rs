#[path = "../../src/link/sleep.rs"]
pub mod sleep;
