//! Runs the monitors again and again, until a signal comes.

use std::{
    fmt::Write as _,
    io::{self, Write},
    time::Duration,
};

use chrono::Local;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use super::{
    Output,
    run::{CheckResult, Error, Round, have_succeeded},
};
use crate::{commands::table, text::counted, value::format_duration};

/// Clears the terminal.
const CLEAR: &str = "\x1b[2J";
/// Goes to the first line.
const HOME: &str = "\x1b[H";
/// Clears the rest of the line.
const CLEAR_LINE: &str = "\x1b[K";
/// Clears what is below.
const CLEAR_BELOW: &str = "\x1b[J";

/// Runs the monitors every `every`, and prints each result: in place of the last one on a terminal, and after it
/// elsewhere. Returns true if every check succeeded the last time.
///
/// # Errors
/// If the results cannot be printed.
pub(super) async fn watch(round: &Round<'_>, every: Duration) -> Result<bool, Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Start)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Start)?;
    let mut have_all_succeeded = true;
    let work = async {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_first = true;
        loop {
            ticks.tick().await;
            let results = round.check_all().await;
            have_all_succeeded = have_succeeded(&results);
            let printed = print(round, every, &results, is_first);
            match printed {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                printed => printed.map_err(Error::Print)?,
            }
            is_first = false;
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        ended = work => ended?,
    }
    Ok(have_all_succeeded)
}

fn print(
    round: &Round<'_>,
    every: Duration,
    results: &[CheckResult],
    is_first: bool,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let size = table::terminal_size();
    let mut text = Vec::new();
    if round.options.output == Output::Table {
        let now = Local::now().format("%Y-%m-%d %H:%M:%S");
        if size.is_none() && !is_first {
            text.push(b'\n');
        }
        writeln!(text, "{now}, every {}", format_duration(every))?;
    }
    let printing = round.printing(size.map(|(_, columns)| columns));
    printing.print(results, &mut text)?;
    match size {
        Some((rows, _)) if round.options.output == Output::Table => {
            let text = String::from_utf8_lossy(&text);
            out.write_all(screen(&text, rows.into(), is_first).as_bytes())?;
        }
        _ => out.write_all(&text)?,
    }
    out.flush()
}

/// The codes that show `text` on a terminal with this number of `rows`, in place of what is there.
fn screen(text: &str, rows: usize, is_first: bool) -> String {
    let mut screen = String::with_capacity(text.len() + 100);
    if is_first {
        screen.push_str(CLEAR);
    }
    screen.push_str(HOME);
    let lines = text.lines().count();
    // The cursor needs a line.
    let room = rows.saturating_sub(1).max(1);
    let shown = if lines > room { room - 1 } else { lines };
    for line in text.lines().take(shown) {
        screen.push_str(line);
        screen.push_str(CLEAR_LINE);
        screen.push('\n');
    }
    if lines > shown {
        let more = lines - shown;
        let _ = writeln!(screen, "({}){CLEAR_LINE}", counted(more, "more line"));
    }
    screen.push_str(CLEAR_BELOW);
    screen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_replaces_the_one_before_and_is_not_higher_than_the_terminal() {
        assert_eq!(
            screen("one\ntwo\n", 24, true),
            "\x1b[2J\x1b[Hone\x1b[K\ntwo\x1b[K\n\x1b[J"
        );
        assert_eq!(screen("one\n", 24, false), "\x1b[Hone\x1b[K\n\x1b[J");
        assert_eq!(
            screen("one\ntwo\nthree\nfour\n", 4, false),
            "\x1b[Hone\x1b[K\ntwo\x1b[K\n(2 more lines)\x1b[K\n\x1b[J"
        );
    }
}
