//! Who is asked where none of those that take part is of use: all of a zone are gone, say, and others stand by.

use rand::{Rng, RngExt};

use super::select::Role;
use super::{Candidates, Pick, Standing, Tried, Why};

/// How often one is drawn blindly before all are looked at.
const STANDBY_DRAWS_MAX: usize = 16;

/// What is better than an endpoint that failed lately, or that this request has tried already: the less busy of two, drawn by chance,
/// of those that are well and that nothing speaks against, but that are far away or not of this caller's subset. None if none
/// is. Weights do not count.
pub fn standby(
    pick: Pick,
    roles: &[Role],
    candidates: &impl Candidates,
    tried: &Tried,
    rng: &mut impl Rng,
) -> Option<Pick> {
    if pick.standing == Standing::Fresh || roles.is_empty() {
        return None;
    }
    let stands_by = |index: &usize| {
        matches!(roles.get(*index), Some(Role::Far | Role::OutsideSubset))
            && !tried.has(*index)
            && !candidates.avoided(*index)
    };
    let draws = (0..STANDBY_DRAWS_MAX).map(|_| rng.random_range(0..roles.len()));
    let drawn = draws.filter(&stands_by).take(2).min_by_key(|index| candidates.in_flight(*index));
    let index = drawn.or_else(|| {
        let from = rng.random_range(0..roles.len());
        (from..roles.len()).chain(0..from).find(stands_by)
    })?;
    Some(Pick { index, why: Why::StandsBy, standing: Standing::Fresh })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    struct Known {
        avoided: Vec<usize>,
    }

    impl Candidates for Known {
        fn in_flight(&self, index: usize) -> u32 {
            // The last one is busy.
            u32::from(index == 5)
        }

        fn in_flight_total(&self) -> u64 {
            1
        }

        fn avoided(&self, index: usize) -> bool {
            self.avoided.contains(&index)
        }
    }

    const ROLES: [Role; 6] =
        [Role::Full, Role::Full, Role::Far, Role::Critical, Role::OutsideSubset, Role::Far];

    fn picks(standing: Standing, avoided: &[usize], tried: &[usize]) -> Vec<usize> {
        let known = Known { avoided: avoided.to_vec() };
        let mut passed = Tried::none();
        tried.iter().for_each(|&index| passed.add(index));
        let pick = Pick { index: 0, why: Why::Drawn, standing };
        let mut rng = SmallRng::seed_from_u64(1);
        let picked = (0..1000).filter_map(|_| standby(pick, &ROLES, &known, &passed, &mut rng));
        let mut picked: Vec<usize> = picked.map(|pick| pick.index).collect();
        picked.sort_unstable();
        picked
    }

    #[test]
    fn whoever_is_fresh_is_asked_and_nobody_who_does_not_stand_by() {
        assert!(picks(Standing::Fresh, &[], &[]).is_empty());
        assert!(picks(Standing::Avoided, &[2, 4], &[5]).is_empty());
        for standing in [Standing::Avoided, Standing::Tried, Standing::TriedAndAvoided] {
            let picked = picks(standing, &[0, 1], &[]);
            assert_eq!(picked.len(), 1000);
            assert!(picked.iter().all(|index| [2, 4, 5].contains(index)), "{picked:?}");
        }
        assert!(
            standby(
                Pick { index: 0, why: Why::Drawn, standing: Standing::Tried },
                &[],
                &Known { avoided: vec![] },
                &Tried::none(),
                &mut SmallRng::seed_from_u64(1)
            )
            .is_none()
        );
    }

    #[test]
    fn two_are_compared_and_one_that_is_left_is_found() {
        let picked = picks(Standing::Avoided, &[0, 1], &[]);
        let times = |wanted: usize| picked.iter().filter(|index| **index == wanted).count();
        // The busy one only where it was drawn twice.
        assert!(times(5) < 200 && times(2) > 300 && times(4) > 300, "{picked:?}");
        assert_eq!(picks(Standing::Avoided, &[0, 1, 2], &[4]), vec![5; 1000]);
    }
}
