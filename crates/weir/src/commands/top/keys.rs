//! What a terminal sends for keys (ECMA-48 and xterm's additions, as far as they are of use here).

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Esc,
    Backspace,
    /// Ctrl-C or Ctrl-D.
    Interrupt,
}

/// The keys in what was read at once. An escape with nothing behind it is the key of that name; sequences that mean nothing
/// here are passed over whole.
pub(super) fn decode(mut bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    while let Some((&first, rest)) = bytes.split_first() {
        let (key, used) = match first {
            0x1b => escape(rest),
            0x03 | 0x04 => (Some(Key::Interrupt), 0),
            b'\r' | b'\n' => (Some(Key::Enter), 0),
            0x08 | 0x7f => (Some(Key::Backspace), 0),
            0x00..0x20 => (None, 0),
            0x20..0x7f => (Some(Key::Char(char::from(first))), 0),
            _ => {
                let length = bytes.iter().skip(1).take_while(|byte| **byte & 0xc0 == 0x80).count().min(3);
                let text = std::str::from_utf8(&bytes[..=length]).ok();
                (text.and_then(|text| text.chars().next()).map(Key::Char), length)
            }
        };
        keys.extend(key);
        bytes = rest.get(used..).unwrap_or_default();
    }
    keys
}

/// What stands behind an escape: the key, and how many bytes it has.
fn escape(rest: &[u8]) -> (Option<Key>, usize) {
    let Some(&kind) = rest.first() else { return (Some(Key::Esc), 0) };
    if !matches!(kind, b'[' | b'O') {
        // With Alt, a key is what it is without.
        return (Some(Key::Esc), 0);
    }
    // Parameters, then one byte that ends it.
    let parameters = rest[1..].iter().take_while(|byte| (0x20..0x40).contains(*byte)).count();
    let Some(&last) = rest.get(1 + parameters) else { return (None, rest.len()) };
    let key = match (last, &rest[1..=parameters]) {
        (b'A', _) => Some(Key::Up),
        (b'B', _) => Some(Key::Down),
        (b'H', _) | (b'~', b"1" | b"7") => Some(Key::Home),
        (b'F', _) | (b'~', b"4" | b"8") => Some(Key::End),
        (b'~', b"5") => Some(Key::PageUp),
        (b'~', b"6") => Some(Key::PageDown),
        _ => None,
    };
    (key, 2 + parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart() {
        let check = |bytes: &[u8], expected: &[Key]| assert_eq!(decode(bytes), expected, "{bytes:?}");
        check(b"jk", &[Key::Char('j'), Key::Char('k')]);
        check(b"\x1b", &[Key::Esc]);
        check(b"\x1b[A\x1b[B\x1bOA", &[Key::Up, Key::Down, Key::Up]);
        check(b"\x1b[5~\x1b[6~\x1b[1~\x1b[F", &[Key::PageUp, Key::PageDown, Key::Home, Key::End]);
        check(b"\x1b[1;5A", &[Key::Up]);
        check(b"\r\x7f\x03", &[Key::Enter, Key::Backspace, Key::Interrupt]);
        check("ü".as_bytes(), &[Key::Char('ü')]);
        check(b"\x1b[200~", &[]);
        check(b"\xff\x80a", &[Key::Char('a')]);
        check(b"\x1b[", &[]);
    }

    #[test]
    fn no_input_is_too_odd() {
        let mut seed = 7u32;
        for _ in 0..2000 {
            let bytes: Vec<u8> = (0..seed % 12)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    [0x1b, b'[', b'~', 0x7f, 0xc3, 0xe2, 0x80, b'5', b'O', (seed >> 24) as u8]
                        [(seed >> 16) as usize % 10]
                })
                .collect();
            assert!(decode(&bytes).len() <= bytes.len());
            seed = seed.wrapping_add(0x9e37_79b9);
        }
    }
}
