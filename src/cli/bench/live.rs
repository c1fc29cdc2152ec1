//! The line that tells how far a measurement is.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::ProgressBar;

use super::args::OutputArgs;

/// A line on standard error that is written over; nothing where that is not a
/// terminal.
pub struct Live(Option<ProgressBar>);

impl Live {
    /// As asked for.
    pub fn new(output: &OutputArgs) -> Self {
        let shown = !output.quiet && std::io::stderr().is_terminal();
        Self(shown.then(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        }))
    }

    /// Shows `text` in place of what was shown before.
    pub fn show(&self, text: &str) {
        if let Some(bar) = &self.0 {
            bar.set_message(text.to_owned());
        }
    }

    /// Removes the line.
    pub fn clear(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
