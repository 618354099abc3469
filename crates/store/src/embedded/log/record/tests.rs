use proptest::prelude::*;

use super::*;

const ID: LogId = LogId { salt: [7; 16], generation: 3 };

fn delta(entries: Vec<(Key, Option<Record>)>, leases: Vec<(LeaseId, Option<Duration>)>) -> Delta {
    Delta { counters: Counters { epoch: 1, revision: 9, lease_counter: 2 }, entries, leases }
}

fn small() -> Delta {
    let record = Record::new("/a", [5, 6, 2], LeaseId::from_u64(4), b"v");
    let lease = |number| LeaseId::from_u64(number).expect("not zero");
    let entries = vec![(record.key(), Some(record)), (Key::parse("/b").expect("valid"), None)];
    delta(entries, vec![(lease(4), Some(Duration::from_millis(500))), (lease(5), None)])
}

fn sealed(chain: &mut Chain, delta: &Delta) -> Vec<u8> {
    let mut record = vec![0; HEAD];
    encode_body(delta, &mut record);
    chain.seal(&mut record, 1 << 18);
    record
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The layout of format 2, byte by byte: whoever changes it must raise the format.
#[test]
fn format_2_is_read_for_ever() {
    assert_eq!(&header(ID)[..16], b"weir store log 1");
    assert_eq!(header(ID)[16..32], [7; 16]);
    assert_eq!(hex(&header(ID)[32..]), "dd39a01363c67413c02dd06f630594f0");

    let record = sealed(&mut Chain::new(ID), &small());
    assert_eq!(record.len(), BLOCK);
    let number = |number: u64| hex(&number.to_le_bytes());
    let head = [hex(b"weir-rec"), number(3), number(0), number(1 << 18), number(113)];
    assert_eq!(hex(&record[..40]), head.concat());
    assert_eq!(hex(&record[40..56]), "ab4ff2bc4e46247985fb1776f4a0d65a");
    assert_eq!(hex(&record[56..72]), "d07243852992afb71cbc53e751192f84");
    let body = [
        number(1),
        number(9),
        number(2),
        "0200000002000000".to_owned(),
        // A key and its entry: create revision, modification revision, version, lease, value.
        "0200".to_owned() + &hex(b"/a") + "21000000",
        [number(5), number(6), number(2), number(4), hex(b"v")].concat(),
        // A key that was removed.
        "0200".to_owned() + &hex(b"/b") + "ffffffff",
        // A lease, and one that ended.
        [number(4), number(500), number(5), number(0)].concat(),
    ];
    assert_eq!(hex(&record[72..72 + 113]), body.concat());
    assert!(record[72 + 113..].iter().all(|byte| *byte == 0));
}

#[test]
fn an_id_reads_back() {
    assert_eq!(LogId::from_bytes(&ID.to_bytes()), Some(ID));
    assert_eq!(LogId::from_bytes(&ID.to_bytes()[1..]), None);
    assert_eq!(ID.next(), LogId { salt: ID.salt, generation: 4 });
    let drawn = LogId::draw().expect("random numbers");
    assert!(drawn != LogId::draw().expect("random numbers") && drawn.generation == 1);
}

#[test]
fn a_record_is_believed_only_in_its_place() {
    let mut writing = Chain::new(ID);
    let (first, second) = (sealed(&mut writing, &small()), sealed(&mut writing, &small()));
    let reads = |chain: &mut Chain, record: &[u8]| chain.read(record).is_some();
    let mut chain = Chain::new(ID);
    assert!(!reads(&mut chain, &second), "the first is missing");
    assert!(reads(&mut chain, &first) && chain.number() == 1);
    assert!(!reads(&mut chain, &first), "it was there already");
    assert!(reads(&mut chain, &second));
    assert!(!reads(&mut Chain::new(ID.next()), &first), "another generation");
    assert!(!reads(&mut Chain::new(LogId { salt: [8; 16], ..ID }), &first), "another log");
    assert_eq!(Head::read(&first, ID.salt).map(|head| (head.number, head.length)), Some((0, 113)));
    assert_eq!(Head::read(&first, [8; 16]), None);
}

#[test]
fn no_bit_of_a_record_may_be_another() {
    let record = sealed(&mut Chain::new(ID), &small());
    for at in 0..HEAD + 113 {
        for bit in 0..8 {
            let mut altered = record.clone();
            altered[at] ^= 1 << bit;
            assert!(Chain::new(ID).read(&altered).is_none(), "bit {bit} of byte {at}");
        }
    }
    for end in 0..HEAD + 113 {
        assert!(Chain::new(ID).read(&record[..end]).is_none(), "cut at {end}");
    }
}

#[test]
fn what_no_version_would_write_is_refused() {
    let mut body = Vec::new();
    encode_body(&small(), &mut body);
    for end in 0..body.len() {
        assert!(decode_body(&body[..end]).is_err(), "cut at {end}");
    }
    body.push(0);
    assert!(decode_body(&body).is_err(), "it goes on");
}

/// Something to compare.
fn shown(delta: &Delta) -> String {
    format!("{delta:?}")
}

fn any_delta() -> impl Strategy<Value = Delta> {
    let record = (any::<[u64; 3]>(), any::<u64>(), prop::collection::vec(any::<u8>(), 0..300));
    let entries = prop::collection::vec(("/[a-z]{1,20}", prop::option::of(record)), 0..20);
    let leases = prop::collection::vec((1..u64::MAX, prop::option::of(1..u64::MAX)), 0..5);
    (any::<[u64; 3]>(), entries, leases).prop_map(|(counters, entries, leases)| {
        let entry = |(path, record): (String, Option<_>)| {
            let of = |(numbers, lease, value): ([u64; 3], u64, Vec<u8>)| {
                Record::new(&path, numbers, LeaseId::from_u64(lease), &value)
            };
            (Key::parse(&path).expect("valid"), record.map(of))
        };
        let lease = |(id, ttl_ms): (u64, Option<u64>)| {
            (LeaseId::from_u64(id).expect("not zero"), ttl_ms.map(Duration::from_millis))
        };
        let [epoch, revision, lease_counter] = counters;
        Delta {
            counters: Counters { epoch, revision, lease_counter },
            entries: entries.into_iter().map(entry).collect(),
            leases: leases.into_iter().map(lease).collect(),
        }
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_back(first in any_delta(), second in any_delta()) {
        let mut writing = Chain::new(ID);
        let mut reading = Chain::new(ID);
        for delta in [first, second] {
            let record = sealed(&mut writing, &delta);
            prop_assert_eq!(record.len() as u64, record_bytes(&delta));
            let body = reading.read(&record).expect("it is whole");
            let read = decode_body(body).expect("it is as it was written");
            prop_assert_eq!(shown(&read), shown(&delta));
        }
    }

    #[test]
    fn garbage_is_refused_without_a_panic(body: Vec<u8>) {
        // By chance a body may be one; then it says what was read.
        if let Ok(delta) = decode_body(&body) {
            let mut again = Vec::new();
            encode_body(&delta, &mut again);
            prop_assert_eq!(again, body);
        }
    }
}
