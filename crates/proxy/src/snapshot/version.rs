//! What tells versions of a document apart, where a report of one must not be taken for another's.

use serde::Serialize;
use weir_policy::balance::hash;

/// A number that is the same for what is written alike, in every process; never 0.
pub(crate) fn version(written: &impl Serialize) -> u32 {
    // Plain structs with string keys: writing them cannot fail.
    let json = serde_json::to_vec(written).unwrap_or_default();
    // The lower half of a good hash is as good.
    (hash::bytes(&json) as u32).max(1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::version;

    #[test]
    fn what_is_written_alike_is_one_version() {
        let spec = json!({"rates": [{"requests": 10, "per": "1s"}]});
        assert_eq!(version(&spec), version(&spec.clone()));
        assert_ne!(version(&spec), version(&json!({"rates": [{"requests": 20, "per": "1s"}]})));
        assert_ne!(version(&spec), 0);
    }
}
