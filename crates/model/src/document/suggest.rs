//! Finds the known name that somebody most likely meant.

/// Longer names are not compared: nobody mistypes that much, and the cost grows with the product of the lengths.
const COMPARED_CHARS_MAX: usize = 64;

/// The candidate nearest to `name`, if one is near enough to be what was meant: at most a third of the letters
/// differ, case aside. Ties go to the first.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = folded(name)?;
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let known = folded(candidate)?;
            let far = distance(&wanted, &known);
            let bound = (wanted.len().max(known.len()) / 3).max(1);
            (far <= bound).then_some((far, candidate))
        })
        .min_by_key(|(far, _)| *far)
        .map(|(_, candidate)| candidate)
}

/// Lower case, without the separators people mix up (`backend_refs`, `backend-refs`).
fn folded(name: &str) -> Option<Vec<char>> {
    let chars: Vec<char> =
        name.chars().take(COMPARED_CHARS_MAX + 1).filter(|c| !matches!(c, '_' | '-' | ' ')).collect();
    (!chars.is_empty() && chars.len() <= COMPARED_CHARS_MAX)
        .then(|| chars.into_iter().flat_map(char::to_lowercase).collect())
}

/// Edit distance with swaps of neighbours counted as one edit (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &ca) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, &cb) in b.iter().enumerate() {
            let mut best = (last[j] + usize::from(ca != cb)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && ca == b[j - 1] && a[i - 1] == cb {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let fields = ["parentRefs", "hostnames", "rules", "backendRefs", "matches", "tls"];
        let check = |name, expected| assert_eq!(nearest(name, fields), expected, "{name}");
        check("backendRef", Some("backendRefs"));
        check("backend_refs", Some("backendRefs"));
        check("backends", Some("backendRefs"));
        check("hsotnames", Some("hostnames"));
        check("hostname", Some("hostnames"));
        check("Rules", Some("rules"));
        check("match", Some("matches"));
        check("tsl", Some("tls"));
        check("x", None);
        check("", None);
        check("zzzzzzzzzz", None);
        check(&"r".repeat(100_000), None);
    }
}
