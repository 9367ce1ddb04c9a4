//! Bars and spinners for whatever takes longer than a second.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::time::Duration;

/// A download's bar.
pub fn download(bars: &MultiProgress, name: &str, total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "  {prefix:<22} {bar:28} {bytes:>10} of {total_bytes:<10} {bytes_per_sec}",
    )
    .expect("the template is valid");
    bars.add(ProgressBar::new(total).with_style(style).with_prefix(name.to_owned()))
}

/// A bar that counts things.
pub fn count(message: &str, total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("  {msg:<22} {bar:28} {pos:>10} of {len}")
        .expect("the template is valid");
    ProgressBar::new(total).with_style(style).with_message(message.to_owned())
}

/// Something of unknown length.
pub fn spinner(message: impl Into<String>) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(message.into());
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}
