//! A scenario's models in order, and which of them its apps ask for.

use super::{App, ModelGroup};

/// Which group each model is of, groups interleaved evenly: a skewed split then favours no kind. `total`: another number
/// of models, in the groups' proportions.
pub(super) fn interleave(groups: &[ModelGroup], total: Option<u32>) -> Vec<usize> {
    let counts = match total {
        Some(total) => apportion(groups, total),
        None => groups.iter().map(|group| group.count).collect(),
    };
    let mut places: Vec<(u64, usize)> = Vec::new();
    for (group, &count) in counts.iter().enumerate() {
        let place = |at: u32| ((2 * u64::from(at) + 1) << 32) / (2 * u64::from(count));
        places.extend((0..count).map(|at| (place(at), group)));
    }
    places.sort_unstable();
    places.into_iter().map(|(_, group)| group).collect()
}

/// `total` divided in the groups' proportions, by largest remainders.
fn apportion(groups: &[ModelGroup], total: u32) -> Vec<u32> {
    let sum: u64 = groups.iter().map(|group| u64::from(group.count)).sum();
    let exact = |group: &ModelGroup| u64::from(group.count) * u64::from(total);
    let mut counts: Vec<u32> = groups.iter().map(|group| (exact(group) / sum) as u32).collect();
    let mut by_rest: Vec<usize> = (0..groups.len()).collect();
    by_rest.sort_by_key(|&at| std::cmp::Reverse(exact(&groups[at]) % sum));
    let missing = total - counts.iter().sum::<u32>();
    for &at in by_rest.iter().take(missing as usize) {
        counts[at] += 1;
    }
    counts
}

/// The models of each stage of an app: a kind that a stage names several times is asked of its models in turn.
pub(super) fn stages(app: &App, groups: &[ModelGroup], models: &[usize]) -> Vec<Vec<u32>> {
    let stage = |kinds: &Vec<String>| {
        let mut used: Vec<u32> = vec![0; groups.len()];
        kinds
            .iter()
            .map(|kind| {
                let is_kind = |&group: &usize| groups[group].kind == *kind;
                let of_kind: Vec<usize> =
                    (0..models.len()).filter(|&model| is_kind(&models[model])).collect();
                let group = groups.iter().position(|group| group.kind == *kind).unwrap_or(0);
                let model = of_kind[used[group] as usize % of_kind.len()];
                used[group] += 1;
                model as u32
            })
            .collect()
    };
    app.stages.iter().map(stage).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sublet_units::Time;

    fn group(kind: &str, count: u32) -> ModelGroup {
        ModelGroup {
            kind: kind.into(),
            count,
            slo: None,
            rate: None,
            batch_max: 1,
            batch_delay: Time::ZERO,
            instances: None,
        }
    }

    #[test]
    fn groups_lie_interleaved_in_their_proportions() {
        let groups = [group("a", 2), group("b", 4)];
        assert_eq!(interleave(&groups, None), [1, 0, 1, 1, 0, 1]);
        assert_eq!(interleave(&[group("a", 1), group("b", 1)], None), [0, 1]);
        let larger = interleave(&groups, Some(10));
        assert_eq!(larger.iter().filter(|&&group| group == 0).count(), 3);
        assert_eq!(larger.len(), 10);
    }

    #[test]
    fn apps_ask_several_models_of_a_kind_in_turn() {
        let groups = [group("a", 2), group("b", 1)];
        let app = App {
            name: "x".into(),
            stages: vec![vec!["a".into(), "a".into(), "a".into()], vec!["b".into()]],
            slo: Time::from_millis(1),
        };
        assert_eq!(stages(&app, &groups, &[0, 1, 0]), [vec![0, 2, 0], vec![1]]);
    }
}
