//! What the command lines of measurements have in common: cases and subjects by their names, and options with values.

use anyhow::{Context, Result, bail, ensure};

/// Something that can be measured.
pub(crate) trait Measurable: Clone + 'static {
    /// By which it is asked for.
    fn name(&self) -> &'static str;
    /// What it is, in a line.
    fn what(&self) -> &'static str;
    /// Who is measured.
    fn subjects(&self) -> &'static [&'static str];
}

/// Which cases are measured, with whom.
#[derive(Clone, Debug)]
pub(crate) struct Choice<C> {
    /// The cases, in the order in which they were named.
    pub(crate) cases: Vec<C>,
    /// Empty: all.
    subjects: Vec<String>,
}

/// Who can be asked for, and what is said to whoever asks for help or gets it wrong.
pub(crate) struct Offer<'a, C: 'static> {
    pub(crate) usage: &'a str,
    pub(crate) cases: &'static [C],
    pub(crate) subjects: &'a [&'a str],
}

impl<C: Measurable> Choice<C> {
    /// Reads a command line. `option` takes an option of the measurement's own, with its value if it asks for one, and says
    /// whether there is such an option.
    ///
    /// # Errors
    /// For what is not offered, with what is.
    pub(crate) fn read(
        mut args: impl Iterator<Item = String>,
        offer: &Offer<'_, C>,
        mut option: impl FnMut(&str, &mut dyn FnMut() -> Result<String>) -> Result<bool>,
    ) -> Result<Self> {
        let help = || format!("{}\n\ncases\n{}", offer.usage, described(offer.cases));
        let mut choice = Self { cases: Vec::new(), subjects: Vec::new() };
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value\n\n{}", offer.usage));
            match arg.as_str() {
                "--subjects" => choice.subjects = value()?.split(',').map(str::to_owned).collect(),
                "--help" | "-h" => bail!(help()),
                name => match offer.cases.iter().find(|case| case.name() == name) {
                    Some(case) => choice.cases.push(case.clone()),
                    None if option(name, &mut value)? => {}
                    None => bail!("unknown argument `{name}`\n\n{}", help()),
                },
            }
        }
        for name in &choice.subjects {
            let known = offer.subjects.join(", ");
            ensure!(offer.subjects.contains(&&**name), "unknown subject `{name}`: expected {known}");
        }
        if choice.cases.is_empty() {
            choice.cases = offer.cases.to_vec();
        }
        Ok(choice)
    }

    /// Who is measured in a case.
    pub(crate) fn subjects_of(&self, case: &C) -> Vec<&'static str> {
        let wanted = |name: &&&str| self.subjects.is_empty() || self.subjects.iter().any(|s| s == **name);
        case.subjects().iter().filter(wanted).copied().collect()
    }
}

/// A number that an option takes, at least 1.
///
/// # Errors
/// When it is none, with the option's name.
pub(crate) fn count<T: std::str::FromStr + PartialEq + Default>(option: &str, text: &str) -> Result<T> {
    let number = text.parse().ok().with_context(|| format!("{option} takes a number, not `{text}`"))?;
    ensure!(number != T::default(), "{option} is at least 1");
    Ok(number)
}

fn described<C: Measurable>(cases: &[C]) -> String {
    cases.iter().map(|case| format!("  {:16} {}\n", case.name(), case.what())).collect()
}
