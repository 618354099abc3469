//! Fencing tokens.

use std::fmt;
use std::str::FromStr;

use weir_model::Position;

/// Digits of the epoch: enough for milliseconds since 1970 for 8,900 years.
const EPOCH_DIGITS: usize = 12;
/// Digits of the revision.
const REVISION_DIGITS: usize = 16;

/// A fencing token: the position at which a lock was claimed. Of two claims on one lock, the one that comes to hold it
/// later has the greater token.
///
/// As text it has a fixed length, so that tokens compare as texts just as they compare here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(Position);

impl Token {
    /// The token of a claim that was created there.
    pub const fn at(position: Position) -> Self {
        Self(position)
    }

    /// Where the claim was created.
    pub const fn position(self) -> Position {
        self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0EPOCH_DIGITS$x}-{:0REVISION_DIGITS$x}", self.0.epoch, self.0.revision)
    }
}

/// A text that is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no fencing token")]
pub struct BadToken;

impl FromStr for Token {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let (epoch, revision) = text.split_once('-').ok_or(BadToken)?;
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if epoch.len() != EPOCH_DIGITS
            || revision.len() != REVISION_DIGITS
            || !digits(epoch)
            || !digits(revision)
        {
            return Err(BadToken);
        }
        let number = |text: &str| u64::from_str_radix(text, 16).map_err(|_| BadToken);
        Ok(Self(Position::new(number(epoch)?, number(revision)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_token_is_refused() {
        for text in [
            "",
            "-",
            "1-2",
            "00019acb12345-0000000000000001",
            "0019acb12345-000000000000000G",
            "0019acb1234-000000000000001",
        ] {
            assert_eq!(text.parse::<Token>(), Err(BadToken), "{text}");
        }
        // The form is for ever: tokens are kept by resources for years.
        let token = Token::at(Position::new(0x19a_cb12_3456, 77));
        assert_eq!(token.to_string(), "019acb123456-000000000000004d");
    }

    proptest::proptest! {
        #[test]
        fn texts_compare_as_tokens_do(a in 0u64..1 << 48, b in 0u64..1 << 48, x: u64, y: u64) {
            let (one, two) = (Token::at(Position::new(a, x)), Token::at(Position::new(b, y)));
            proptest::prop_assert_eq!(one.to_string().cmp(&two.to_string()), one.cmp(&two));
            proptest::prop_assert_eq!(one.to_string().parse::<Token>(), Ok(one));
        }
    }
}
