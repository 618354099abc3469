//! Short names for what these tests do all the time.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use weir_store::{Embedded, Error, Key, KeyRange, Options, Outcome, Store, Txn, list};

/// Nothing in these tests takes this long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn key(name: &str) -> Key {
    Key::new("test", "default", name).expect("a valid key")
}

pub(crate) fn value(text: &str) -> weir_store::Value {
    text.as_bytes().into()
}

pub(crate) fn open(path: &Path) -> Embedded {
    Embedded::open(path, Options::default()).expect("the store opens")
}

pub(crate) async fn put(store: &dyn Store, name: &str, text: &str) -> Result<Outcome, Error> {
    store.commit(Txn::new().put(key(name), value(text))).await
}

/// All keys and values, as text.
pub(crate) async fn contents(store: &dyn Store) -> BTreeMap<String, String> {
    let (entries, _) = list(store, &KeyRange::all()).await.expect("a list");
    let text = |found: weir_store::KeyValue| {
        let value = String::from_utf8(found.entry.value.bytes().into_owned()).expect("text");
        (found.key.tail().expect("a test key").to_owned(), value)
    };
    entries.into_iter().map(text).collect()
}

/// A small generator with known steps (splitmix64, Steele et al., OOPSLA 2014), so that a seed means the same for ever.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// A number below this one, as an index.
    pub(crate) fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound.max(1) as u64)).expect("below an index")
    }

    /// The seed of a test run, the same in each. `WEIR_SEED=random` draws one, and `WEIR_SEED=N` replays it; print it when
    /// the run fails.
    pub(crate) fn seed() -> u64 {
        match std::env::var("WEIR_SEED") {
            Ok(text) if text == "random" => {
                let since_1970 =
                    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
                u64::try_from(since_1970.as_micros()).expect("before the year 500000")
            }
            Ok(text) => text.parse().expect("WEIR_SEED is a number, or `random`"),
            Err(_) => 1,
        }
    }
}

/// Says something in the test's output.
pub(crate) fn say(text: &str) {
    use std::io::Write;
    writeln!(std::io::stdout(), "{text}").expect("standard output works");
}
