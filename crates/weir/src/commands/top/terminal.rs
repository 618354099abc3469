//! The terminal: taken over for the picture, and given back as it was whatever happens.
//!
//! `rustix`, which the proxy needs anyway, has all it takes: modes and size. What is drawn are a dozen sequences of ECMA-48
//! that every terminal of today knows.

use std::io::{IsTerminal, Write, stdin, stdout};
use std::sync::{Mutex, Once, PoisonError};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::draw::Size;

/// The terminal's own screen stays as it is beneath the other one; the cursor is hidden; long lines are not wrapped.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const LEAVE: &str = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";
/// The size where the terminal does not tell.
const USUAL: Size = Size { columns: 80, rows: 24 };

/// How the terminal was before, while it is taken over.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);
static PANICS: Once = Once::new();

/// Whether there is a terminal to draw on, and keys to read.
pub(super) fn is_there() -> bool {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    stdin().is_terminal() && stdout().is_terminal() && !is_dumb
}

/// Whether colours are wanted (<https://no-color.org>).
pub(super) fn wants_colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The terminal, taken over. Given back when dropped, and before a panic is told.
#[derive(Debug)]
pub(super) struct Terminal(());

impl Terminal {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// The system's reason why that cannot be.
    pub(super) fn enter() -> std::io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        PANICS.call_once(|| {
            let tell = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                give_back();
                tell(panic);
            }));
        });
        // From here on it is given back whatever happens.
        let terminal = Self(());
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        terminal.write(ENTER)?;
        Ok(terminal)
    }

    /// How large it is now.
    pub(super) fn size(&self) -> Size {
        match tcgetwinsize(stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                Size { columns: size.ws_col.into(), rows: size.ws_row.into() }
            }
            _ => USUAL,
        }
    }

    /// Writes a picture.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn write(&self, picture: &str) -> std::io::Result<()> {
        let mut out = stdout().lock();
        out.write_all(picture.as_bytes())?;
        out.flush()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

/// Makes the terminal what it was. Only the first call does.
fn give_back() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let mut out = stdout().lock();
        let _ = out.write_all(LEAVE.as_bytes()).and_then(|()| out.flush());
        let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    /// Not a test by itself: run on a terminal by the one below.
    #[test]
    #[ignore = "needs a terminal"]
    fn panics() {
        let _terminal = Terminal::enter().unwrap();
        panic!("on purpose");
    }

    #[test]
    fn a_panic_is_told_on_a_terminal_that_was_given_back() {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/tests/top/on_a_terminal.py");
        let output = Command::new("python3")
            .arg(script)
            .arg("[]")
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "commands::top::terminal::tests::panics", "--ignored", "--nocapture"])
            .output()
            .unwrap();
        let ended: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        let shown = ended["output"].as_str().unwrap();
        assert_eq!(ended["restored"], true, "{shown}");
        let (entered, left) = (shown.find(ENTER), shown.find(LEAVE));
        assert!(entered.is_some() && entered < left && left < shown.find("on purpose"), "{shown:?}");
        assert_eq!(shown.matches(LEAVE).count(), 1, "{shown:?}");
    }
}
