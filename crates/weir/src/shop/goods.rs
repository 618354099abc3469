//! What the applications have to say when nothing is wrong.

use serde_json::{Value, json};

/// The body of an application's ordinary answer.
pub(super) fn of(name: &str, version: &str) -> Value {
    match (name, version) {
        ("cart", _) => json!({"items": [{"sku": "kettle", "count": 1}, {"sku": "tea", "count": 3}]}),
        ("catalog", "v1") => json!({"items": ["kettle", "tea", "cup"]}),
        ("catalog", _) => json!({"items": ["kettle", "tea", "cup"], "recommended": "teapot"}),
        ("payments", _) => json!({"paid": true, "amount": "42.00 EUR"}),
        _ => json!({}),
    }
}
