//! Task files: the number of tasks on the first line, then `model,rate,SLO in ms` lines.

use crate::Task;
use crate::formats::FormatError;
use crate::formats::text::rows;
use std::collections::BTreeMap;

const WANT: &str = "`model,rate per second,SLO in ms`";

/// Reads tasks. A model may be given by its number where `names` has it; two tasks may not be for one model.
///
/// # Errors
/// A line that is not a task, a hostile number, a model twice, or another number of tasks than announced.
pub fn tasks(
    file: &str,
    text: &str,
    names: &BTreeMap<u32, String>,
) -> Result<Vec<Task>, FormatError> {
    let mut rows = rows(file, text);
    let whole = |line: usize, want: &str, found: &str| FormatError {
        file: file.to_owned(),
        line,
        want: want.to_owned(),
        found: found.to_owned(),
    };
    let first = rows.next().ok_or_else(|| whole(1, "the number of tasks", "nothing"))?;
    first.count(1, "the number of tasks alone")?;
    let announced = first.whole(0, "the number of tasks", 0, 10_000)? as usize;
    let mut found: Vec<Task> = Vec::new();
    let mut last = first.line;
    for row in rows {
        last = row.line;
        row.count(3, WANT)?;
        let id = row.text(0, "a model")?;
        let model = match id.parse::<u32>().ok().and_then(|number| names.get(&number)) {
            Some(name) => name.clone(),
            None => id.to_owned(),
        };
        if found.iter().any(|task| task.model == model) {
            return Err(row.error("each model once", &model));
        }
        let rate = row.number(1, "a rate between 0 and 1e8 per second", 0.0, 1e8)?;
        let slo = row.time(2, "an SLO in ms, positive and at most a day", 1e6, false)?;
        found.push(Task { model, rate, slo });
    }
    if found.len() != announced {
        let found = format!("{} tasks", found.len());
        return Err(whole(last, &format!("{announced} tasks, as the first line says"), &found));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sublet_units::Time;

    fn read(text: &str) -> Result<Vec<Task>, String> {
        let names = BTreeMap::from([(7, "resnet50".to_owned())]);
        tasks("t.csv", text, &names).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_names_numbers_and_fractional_rates() {
        let found = read("2\nvgg16,0.5,142\n7, 100 ,108.5\n").unwrap();
        assert_eq!(
            found[0],
            Task { model: "vgg16".into(), rate: 0.5, slo: Time::from_millis(142) }
        );
        assert_eq!(
            (found[1].model.as_str(), found[1].slo),
            ("resnet50", Time::from_micros(108_500))
        );
    }

    #[test]
    fn says_where_and_what_was_expected() {
        for (text, want) in [
            ("", "t.csv, line 1: expected the number of tasks, found nothing"),
            ("x\n", "t.csv, line 1: expected the number of tasks, found `x`"),
            (
                "2\na,1,5\n",
                "t.csv, line 2: expected 2 tasks, as the first line says, found 1 tasks",
            ),
            (
                "1\na,NaN,5\n",
                "t.csv, line 2: expected a rate between 0 and 1e8 per second, found `NaN`",
            ),
            (
                "1\na,-1,5\n",
                "t.csv, line 2: expected a rate between 0 and 1e8 per second, found `-1`",
            ),
            (
                "1\na,1e300,5\n",
                "t.csv, line 2: expected a rate between 0 and 1e8 per second, found `1e300`",
            ),
            (
                "1\na,1,0\n",
                "t.csv, line 2: expected an SLO in ms, positive and at most a day, found `0`",
            ),
            (
                "1\na,1,inf\n",
                "t.csv, line 2: expected an SLO in ms, positive and at most a day, found `inf`",
            ),
            (
                "1\na,1\n",
                "t.csv, line 2: expected `model,rate per second,SLO in ms`, found `2 fields`",
            ),
            ("2\na,1,5\n\na,2,5\n", "t.csv, line 4: expected each model once, found `a`"),
        ] {
            assert_eq!(read(text).unwrap_err(), want, "{text:?}");
        }
    }
}
