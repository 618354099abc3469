//! What breakers, outlier accounting and retries cost per decision: `cargo bench -p weir-policy --bench resilience`.

fn main() {}
