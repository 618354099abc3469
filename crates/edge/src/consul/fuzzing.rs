//! What must hold for every filter expression.

use serde_json::json;

use super::filter::Filter;

/// An expression is refused, or it is judged: then each item is taken by it or by its negation, and again the same. A
/// refusal says something.
pub fn filter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(filter) = read(text) else { return };
    // Parentheses and `not` make it longer and deeper, perhaps too much.
    let opposite = read(&format!("not ({text})"));
    for item in items() {
        let Ok(taken) = filter.takes(&item) else { continue };
        assert_eq!(filter.takes(&item).ok(), Some(taken), "the same twice");
        if let Some(opposite) = &opposite {
            assert_eq!(opposite.takes(&item).ok(), Some(!taken), "either it or its opposite");
        }
    }
}

fn read(text: &str) -> Option<Filter> {
    match Filter::read(text) {
        Ok(filter) => Some(filter),
        Err(refusal) => {
            assert!(refusal.status.is_client_error() && !refusal.message.is_empty());
            None
        }
    }
}

fn items() -> [serde_json::Value; 2] {
    let service = |id: &str, port: u16| {
        json!({
            "Node": {"Node": "n1", "Meta": {"zone": "a"}, "TaggedAddresses": null},
            "Service": {
                "ID": id, "Service": "web", "Port": port, "Tags": ["v1", "blue"], "Meta": {"a.b": "c"},
                "Address": "", "EnableTagOverride": false, "Weights": {"Passing": 1, "Warning": 0},
            },
            "ServiceTags": [], "ServiceMeta": {"v": "2"},
        })
    };
    [service("web-1", 80), service("", 0)]
}
