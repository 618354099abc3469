//! RFC 9113, rule by rule: what a peer sends, and what it is answered. Each test is named after the section that has the rule.
//!
//! Only the public interface is used, so whatever stands behind it is judged alike.

#[path = "conformance/frames.rs"]
mod frames;
#[path = "conformance/messages.rs"]
mod messages;
#[path = "conformance/side.rs"]
mod side;
#[path = "conformance/streams.rs"]
mod streams;
