//! Folding of short texts: what they have in common with their key, with themselves and with the [`WORDS`] of all
//! documents is not held a second time. LZ77 with a text that is there before (Ziv and Lempel, 1977), in LZ4's manner
//! of writing: no entropy coding, so that unfolding is little more than copying.
//!
//! ```text
//! folded  = piece*
//! piece   = lengths, literal bytes, copy
//! lengths = one byte: literals (high half), bytes to copy - COPY_MIN (low half); 15: a number follows that is added
//! copy    = where from, 2 bytes little endian, in WORDS ++ key ++ what is unfolded so far; left out where the text ends
//! ```
//!
//! Folded texts are in memory only. So the words may change with any version.

use std::sync::LazyLock;

use super::number;
use super::words::WORDS;

/// The longest text that is folded: what is longer is seldom read whole, and its length seldom counts.
pub(super) const TEXT_BYTES_MAX: usize = 4096;
/// The shortest that is: below, nothing is gained.
pub(super) const TEXT_BYTES_MIN: usize = 48;
/// Fewer bytes than this cost less themselves than where they are copied from.
const COPY_MIN: usize = 4;
/// Sequences that are remembered of the words, and of a key and its text.
const WORD_SLOTS: usize = 1 << 12;
const TEXT_SLOTS: usize = 1 << 10;
/// What half a byte cannot say.
const HALF_FULL: usize = 15;

/// Where in the words a sequence stands last; one more, so that 0 is nowhere.
static WORD_PLACES: LazyLock<Box<[u16]>> = LazyLock::new(|| {
    let mut places = vec![0; WORD_SLOTS];
    for at in 0..=WORDS.len() - COPY_MIN {
        places[slot(sequence(&WORDS[at..]), WORD_SLOTS)] = at as u16 + 1;
    }
    places.into()
});

/// The sequence that a text begins with.
fn sequence(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn slot(sequence: u32, slots: usize) -> usize {
    // Fibonacci hashing (Knuth, 6.4): the upper bits are the mixed ones.
    (sequence.wrapping_mul(0x9e37_79b1) >> (32 - slots.trailing_zeros())) as usize
}

/// How many bytes both begin with, counted by eight at a time.
fn alike(a: &[u8], b: &[u8]) -> usize {
    let mut length = 0;
    for (a, b) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        let differ = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differ != 0 {
            return length + differ.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    length + a[length..].iter().zip(&b[length..]).take_while(|(a, b)| a == b).count()
}

/// Folds a text of a key and adds it to `out`. The text has at most [`TEXT_BYTES_MAX`] bytes.
pub(super) fn fold(key: &[u8], text: &[u8], out: &mut Vec<u8>) {
    let both = [key, text].concat();
    let word_places = &**WORD_PLACES;
    let mut places = [0u16; TEXT_SLOTS];
    let last = both.len().saturating_sub(COPY_MIN - 1);
    let remember = |places: &mut [u16; TEXT_SLOTS], at: usize| {
        places[slot(sequence(&both[at..]), TEXT_SLOTS)] = at as u16 + 1;
    };
    for at in 0..key.len().min(last) {
        remember(&mut places, at);
    }
    let (mut at, mut literals_from) = (key.len(), key.len());
    while at < last {
        let rest = &both[at..];
        let here = sequence(rest);
        let word = usize::from(word_places[slot(here, WORD_SLOTS)]);
        let own = usize::from(places[slot(here, TEXT_SLOTS)]);
        // Most places hold another sequence, and what shares less than one is not copied.
        let is_word = word > 0 && sequence(&WORDS[word - 1..]) == here;
        let in_words = if is_word { alike(&WORDS[word - 1..], rest) } else { 0 };
        let is_own = own > 0 && sequence(&both[own - 1..]) == here;
        let in_both = if is_own { alike(&both[own - 1..], rest) } else { 0 };
        let length = in_words.max(in_both);
        if length < COPY_MIN {
            remember(&mut places, at);
            at += 1;
            continue;
        }
        let from = if in_words >= in_both { word - 1 } else { WORDS.len() + own - 1 };
        piece(out, &both[literals_from..at], Some((from as u16, length)));
        // What is copied is found where it was copied from; new is only what begins in it and ends behind it.
        at += length;
        for passed in at - (COPY_MIN - 1)..at.min(last) {
            remember(&mut places, passed);
        }
        literals_from = at;
    }
    if literals_from < both.len() {
        piece(out, &both[literals_from..], None);
    }
}

fn piece(out: &mut Vec<u8>, literals: &[u8], copy: Option<(u16, usize)>) {
    let copied = copy.map_or(0, |(_, length)| length - COPY_MIN);
    let half = |length: usize| length.min(HALF_FULL) as u8;
    out.push(half(literals.len()) << 4 | half(copied));
    if literals.len() >= HALF_FULL {
        number::put(out, (literals.len() - HALF_FULL) as u64);
    }
    out.extend_from_slice(literals);
    if let Some((from, _)) = copy {
        out.extend_from_slice(&from.to_le_bytes());
        if copied >= HALF_FULL {
            number::put(out, (copied - HALF_FULL) as u64);
        }
    }
}

/// The text of a key that was folded, of which it is known how long it is.
///
/// # Panics
/// On what [`fold`] did not make.
pub(super) fn unfold(key: &[u8], mut folded: &[u8], length: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(length);
    while text.len() < length {
        let lengths = usize::from(take(&mut folded, 1)[0]);
        let literals = long(lengths >> 4, &mut folded);
        text.extend_from_slice(take(&mut folded, literals));
        if text.len() >= length {
            break;
        }
        let from = take(&mut folded, 2);
        let from = usize::from(u16::from_le_bytes([from[0], from[1]]));
        let count = COPY_MIN + long(lengths & HALF_FULL, &mut folded);
        copy(key, &mut text, from, count);
    }
    text
}

fn take<'a>(folded: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = folded.split_at(count);
    *folded = rest;
    taken
}

fn long(half: usize, folded: &mut &[u8]) -> usize {
    if half < HALF_FULL { half } else { half + number::take(folded) as usize }
}

fn copy(key: &[u8], text: &mut Vec<u8>, from: usize, count: usize) {
    if from < WORDS.len() {
        return text.extend_from_slice(&WORDS[from..from + count]);
    }
    let from = from - WORDS.len();
    if from + count <= key.len() {
        return text.extend_from_slice(&key[from..from + count]);
    }
    if from >= key.len() && from - key.len() + count <= text.len() {
        return text.extend_from_within(from - key.len()..from - key.len() + count);
    }
    // What is copied may be what is being written.
    for at in from..from + count {
        text.push(if at < key.len() { key[at] } else { text[at - key.len()] });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn folded(key: &str, text: &[u8]) -> usize {
        let mut out = Vec::new();
        fold(key.as_bytes(), text, &mut out);
        assert_eq!(unfold(key.as_bytes(), &out, text.len()), text, "of {key}: {text:?}");
        out.len()
    }

    #[test]
    fn what_a_document_shares_with_its_key_and_with_all_others_is_not_held_again() {
        let key = "/weir/v1/check/default/node-00001/service:app-0000001";
        let text = br#"{"namespace":"default","node":"node-00001","id":"service:app-0000001","name":"alive","instance":"app-0000001","service":"shop","health":"passing","output":"200 OK","notes":""}"#;
        let length = folded(key, text);
        assert!(length < text.len() / 2, "{length} of {}", text.len());
        assert!(folded("/k", &[b'x'; TEXT_BYTES_MAX]) < 16, "what repeats itself costs next to nothing");
    }

    #[test]
    fn texts_are_alike_as_far_as_they_are_the_same() {
        let text: Vec<u8> = (0..40).collect();
        for length in 0..=text.len() {
            for differs in 0..length {
                let mut other = text[..length].to_vec();
                other[differs] ^= 0x40;
                assert_eq!((alike(&text, &other), alike(&other, &text)), (differs, differs));
            }
            assert_eq!((alike(&text, &text[..length]), alike(&text[..length], &text)), (length, length));
        }
    }

    #[test]
    fn places_fit_into_two_bytes() {
        assert!(WORDS.len() + crate::key::KEY_BYTES_MAX + TEXT_BYTES_MAX < usize::from(u16::MAX));
    }

    proptest! {
        #[test]
        fn every_text_unfolds_to_itself(
            key in "/[a-c/]{1,40}",
            pieces in prop::collection::vec(prop_oneof![
                (0..WORDS.len(), 0..60usize).prop_map(|(at, length)| WORDS[at..(at + length).min(WORDS.len())].to_vec()),
                "[a-c/]{0,30}".prop_map(String::into_bytes),
                prop::collection::vec(any::<u8>(), 0..40),
            ], 0..40),
        ) {
            folded(&key, &pieces.concat());
        }
    }
}
