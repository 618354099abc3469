use proptest::prelude::*;

use super::*;

fn entry(value: &[u8]) -> Entry {
    Entry {
        value: value.into(),
        create_revision: 7,
        mod_revision: 300,
        version: 3,
        lease: LeaseId::from_u64(9),
    }
}

const DOCUMENT: &[u8] =
    br#"{"namespace":"default","node":"a","id":"i","service":"shop","weights":{"passing":1,"warning":1}}"#;

#[test]
fn a_record_is_read_back_and_recognized() {
    let key = Key::parse("/weir/v1/instance/default/a/i").expect("a key");
    for value in [&b""[..], b"{}", DOCUMENT, &[DOCUMENT, b"\n"].concat(), &[0; 5000]] {
        let record = Record::of(&key, &entry(value));
        assert_eq!(record.key_value(), KeyValue { key: key.clone(), entry: entry(value) });
        assert_eq!((record.path(), &*record.value()), (key.as_str(), value));
        assert_eq!(record.path_bytes(), key.as_str().as_bytes());
        assert_eq!((record.create_revision(), record.mod_revision()), (7, 300));
        assert_eq!(record.size(), (key.as_str().len() + value.len()) as u64);
        let held = record.entry();
        assert_eq!((held.value.len(), &*held.value.plain()), (value.len(), value));
        let again = Record::of(&record.key(), &held);
        assert!(record.0.is(&again.0), "what is a view of a record is not held twice");
        let again = Record::of(&key, &held);
        assert!(record.0.is(&again.0), "nor where the key comes from elsewhere");
        let copied = Record::of(&Key::parse("/weir/v1/instance/default/a/copy").expect("a key"), &held);
        assert_eq!((copied.path(), &*copied.value()), ("/weir/v1/instance/default/a/copy", value));
        let other = Record::of(&record.key(), &Entry { mod_revision: 301, ..held });
        assert_eq!((other.mod_revision(), &*other.value()), (301, value));
    }
}

#[test]
fn documents_are_folded_and_what_applications_store_is_not() {
    let key = Key::parse("/weir/v1/instance/default/a/i").expect("a key");
    let held = |value: &[u8]| Record::of(&key, &entry(value)).held();
    assert!(held(DOCUMENT) < key.as_str().len() + DOCUMENT.len() / 2, "{}", held(DOCUMENT));
    let stored = [b"{\"flags\":0}\n", DOCUMENT].concat();
    assert!(held(&stored) > key.as_str().len() + stored.len());
    assert!(matches!(Record::of(&key, &entry(&stored)).value(), Cow::Borrowed(_)));
}

proptest! {
    #[test]
    fn numbers_of_any_size_come_back(create: u64, modified: u64, version: u64, lease: u64) {
        let key = Key::parse("/k").expect("a key");
        let entry = Entry {
            value: DOCUMENT.into(),
            create_revision: create,
            mod_revision: modified,
            version,
            lease: LeaseId::from_u64(lease),
        };
        prop_assert_eq!(Record::of(&key, &entry).entry(), entry);
    }

    #[test]
    fn records_are_ordered_as_their_keys(a in "/[a-c/]{1,6}", b in "/[a-c/]{1,6}") {
        let record = |path: &str| Record::of(&Key::parse(path).expect("a key"), &entry(b"x"));
        prop_assert_eq!(record(&a).cmp(&record(&b)), a.cmp(&b));
    }
}
