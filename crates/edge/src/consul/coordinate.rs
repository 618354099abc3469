//! `/v1/coordinate`: where nodes are in the network, as far as somebody says it. Nothing here measures; agents that do may
//! tell.
//!
//! Coordinates are those of Vivaldi (Dabek et al., "Vivaldi: a decentralized network coordinate system", SIGCOMM 2004) with
//! height, and Serf's adjustment of what nodes measured lately.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use weir_control::Control;
use weir_control::catalog::Topic;
use weir_control::records::{Record, RecordEntry, TableRef, When};
use weir_model::DEFAULT_NAMESPACE;

use super::ConsulApi;
use super::answer::{Answer, done, json as answer_json, missing, read, read_list};
use super::decode::{self, DecodeError, Fields};
use super::health::named;
use super::options::check_place;
use super::refusal::Refusal;
use crate::http::Request;

/// How many dimensions the vectors have, as in Serf.
const DIMENSIONS: usize = 8;

/// A coordinate; times in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Coordinate {
    adjustment: f64,
    error: f64,
    height: f64,
    vec: [f64; DIMENSIONS],
}

impl Coordinate {
    /// The estimated round trip to another one, in seconds; never negative.
    pub(super) fn distance_to(&self, other: &Self) -> f64 {
        let squares = self.vec.iter().zip(&other.vec).map(|(a, b)| (a - b) * (a - b));
        let distance = squares.sum::<f64>().sqrt() + self.height + other.height;
        let adjusted = distance + self.adjustment + other.adjustment;
        if adjusted > 0.0 { adjusted } else { distance }
    }

    fn origin() -> Self {
        Self { adjustment: 0.0, error: 1.5, height: 0.0, vec: [0.0; DIMENSIONS] }
    }

    fn read(fields: Fields<'_>) -> Result<Self, DecodeError> {
        let vec = match fields.get("Vec") {
            Some(Value::Array(items)) => items.iter().map(finite).collect::<Option<Vec<f64>>>(),
            _ => None,
        };
        let Some(vec) = vec.and_then(|vec| <[f64; DIMENSIONS]>::try_from(vec).ok()) else {
            return fields
                .wrong("Vec", format_args!("rejected bad coordinate, expected {DIMENSIONS} numbers"));
        };
        let number = |name: &str| match fields.get(name) {
            None => Ok(0.0),
            Some(value) => match finite(value) {
                Some(number) => Ok(number),
                None => fields.wrong(name, "rejected bad coordinate, expected a number"),
            },
        };
        let height = number("Height")?;
        if height < 0.0 {
            return fields.wrong("Height", "rejected bad coordinate, expected at least 0");
        }
        Ok(Self { adjustment: number("Adjustment")?, error: number("Error")?, height, vec })
    }
}

/// A number that sums of its kind do not overflow: times are below a day.
fn finite(value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| number.abs() < 86_400.0)
}

fn table() -> TableRef {
    TableRef::new(DEFAULT_NAMESPACE, "coordinates")
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OfNode {
    node: String,
    segment: String,
    coord: Coordinate,
}

fn stored(entry: &RecordEntry) -> Option<OfNode> {
    serde_json::from_value(entry.value.content.clone()).ok()
}

/// A node's coordinate, its name in any case, if it told one.
pub(super) fn of(control: &Control, node: &str) -> Option<Coordinate> {
    let entry = control.catalog().record(&table().record(node.to_lowercase())).entries?;
    stored(&entry).map(|stored| stored.coord)
}

/// `coordinate/datacenters`: the one that there is, with this server in its origin.
pub(super) async fn datacenters(api: Arc<ConsulApi>, request: Request) -> Answer {
    check_place(&request.query, api.here().datacenter)?;
    let here = api.here();
    let coord = of(&api.control, here.node).unwrap_or_else(Coordinate::origin);
    let server = OfNode { node: format!("{}.{}", here.node, here.datacenter), segment: String::new(), coord };
    let answer = json!([{"Datacenter": here.datacenter, "AreaID": "wan", "Coordinates": [server]}]);
    answer_json(request.query.has("pretty"), &answer)
}

/// `coordinate/nodes`: of all nodes that told one.
pub(super) async fn nodes(api: Arc<ConsulApi>, mut request: Request) -> Answer {
    let options = api.options(&request)?;
    api.wait(&mut request, &options, &Topic::Table(table())).await?;
    let view = api.catalog().table_view(&table());
    let segment = request.query.get("segment").map(str::to_owned);
    let all = view.entries.iter().filter_map(|entry| stored(entry));
    let is_there = |of: &OfNode| api.catalog().node(&of.node).is_some();
    let wanted = |of: &OfNode| segment.as_ref().is_none_or(|segment| *segment == of.segment);
    let shown: Vec<OfNode> = all.filter(|of| wanted(of) && is_there(of)).collect();
    read_list(&options, view.index, shown)
}

/// `coordinate/node/:node`: 404 if it told none.
pub(super) async fn node(api: Arc<ConsulApi>, mut request: Request) -> Answer {
    let options = api.options(&request)?;
    let name = named(&request, "Missing node name")?;
    let record = table().record(name.to_lowercase());
    api.wait(&mut request, &options, &Topic::Record(record.clone())).await?;
    let view = api.catalog().record(&record);
    let found = view.entries.as_deref().and_then(stored);
    match found.filter(|of| api.catalog().node(&of.node).is_some()) {
        Some(of) => read(&options, view.index, &[of]),
        None => Ok(missing(&options, view.index)),
    }
}

/// `coordinate/update`: a registered node tells where it is.
pub(super) async fn update(api: Arc<ConsulApi>, request: Request) -> Answer {
    check_place(&request.query, api.here().datacenter)?;
    let map = decode::object(&request.body)?;
    let fields = Fields::root(&map);
    let name = fields.text("Node")?;
    if name.is_empty() {
        return Err(Refusal::bad("Node: expected the name of a registered node"));
    }
    let Some(node) = api.catalog().node(&name) else {
        return Err(Refusal::not_found(format!("node {name:?} does not exist")));
    };
    let empty = Map::new();
    let coord = Coordinate::read(Fields::at(fields.map("Coord")?.unwrap_or(&empty), "Coord"))?;
    let of = OfNode { node: node.node.value.name.clone(), segment: fields.text("Segment")?, coord };
    let content = serde_json::to_value(&of).map_err(|error| Refusal::bad(error.to_string()))?;
    let record = Record { name: of.node.to_lowercase(), content, ..Record::default() };
    if api.catalog().record(&table().record(&*record.name)).entries.is_none() {
        forget_stranger(&api).await?;
    }
    api.control.put_record(&table(), &record, When::Always).await?;
    done()
}

/// Deletes the coordinate of one node that is not registered any more, if there is one: as many go as come.
async fn forget_stranger(api: &ConsulApi) -> Result<(), Refusal> {
    let view = api.catalog().table_view(&table());
    let gone = view.entries.iter().find(|entry| api.catalog().node(&entry.value.name).is_none());
    if let Some(entry) = gone {
        api.control.delete_record(&table(), &entry.value.name, Some(entry.modify_revision)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_vivaldi_with_height() {
        let at = |x: f64, height: f64, adjustment: f64| Coordinate {
            adjustment,
            error: 0.0,
            height,
            vec: [x, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        };
        let close = |a: &Coordinate, b: &Coordinate, expect: f64| {
            assert!((a.distance_to(b) - expect).abs() < 1e-12, "{} {expect}", a.distance_to(b));
            assert!((b.distance_to(a) - expect).abs() < 1e-12);
        };
        close(&at(0.0, 0.0, 0.0), &at(0.003, 0.0, 0.0), 0.003);
        close(&at(0.0, 0.001, 0.0), &at(0.003, 0.002, 0.0), 0.006);
        close(&at(0.0, 0.001, 0.001), &at(0.003, 0.0, -0.002), 0.003);
        // An adjustment that would make it negative does not count.
        close(&at(0.0, 0.0, -0.01), &at(0.003, 0.0, 0.0), 0.003);
    }

    proptest::proptest! {
        #[test]
        fn a_coordinate_that_is_read_has_finite_distances(
            vec in proptest::collection::vec(-1e5..1e5_f64, 7..10), height in -1.0..1e5_f64, adjustment in -1e5..1e5_f64,
        ) {
            let value = json!({"Vec": vec, "Height": height, "Adjustment": adjustment});
            let map = value.as_object().unwrap();
            if let Ok(read) = Coordinate::read(Fields::root(map)) {
                let distance = read.distance_to(&Coordinate::origin());
                proptest::prop_assert!(distance.is_finite() && distance >= 0.0);
            }
        }
    }
}
