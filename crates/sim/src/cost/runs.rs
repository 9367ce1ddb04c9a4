//! How long runs take by their number of rows.

use sublet_units::Time;

/// Run times measured at some batch sizes; straight lines between and beyond them.
#[derive(Clone, Debug, PartialEq)]
pub struct RunCurve {
    /// By rows, from one row on; the last two tell how it goes on.
    times: Vec<Time>,
}

/// Batch sizes kept in the table.
const ROWS_MAX: u32 = 512;

impl RunCurve {
    /// The same time for any number of rows.
    pub fn constant(time: Time) -> Self {
        RunCurve { times: vec![time] }
    }

    /// `points`: rows and time, by rows ascending, at least one. With a single point, more rows take in proportion more.
    pub fn new(points: &[(u32, Time)]) -> Self {
        let &(first_rows, first_time) = points.first().expect("a measured point");
        let last_rows = points.last().expect("a measured point").0.min(ROWS_MAX);
        let times = (1..=last_rows.max(2))
            .map(|rows| {
                let above = points.partition_point(|&(at, _)| at < rows);
                match (above.checked_sub(1).map(|below| points[below]), points.get(above)) {
                    (Some(low), Some(&high)) => between(low, high, rows),
                    (Some((at, time)), None) if points.len() == 1 => {
                        Time(time.0 * u64::from(rows) / u64::from(at.max(1)))
                    }
                    (Some(last), None) => between(points[points.len() - 2], last, rows),
                    (None, _) if rows == first_rows => first_time,
                    // Fewer rows than were ever measured take as long as the fewest.
                    (None, _) => first_time,
                }
            })
            .collect();
        RunCurve { times }
    }

    pub fn time(&self, rows: u32) -> Time {
        let at = rows.max(1) as usize - 1;
        if let Some(&time) = self.times.get(at) {
            return time;
        }
        let last = self.times[self.times.len() - 1];
        let step = match self.times.len() {
            1 => 0,
            count => last.0.saturating_sub(self.times[count - 2].0),
        };
        let beyond = (at + 1 - self.times.len()) as u64;
        last.saturating_add(Time(step.saturating_mul(beyond)))
    }
}

/// On the straight line through two points.
fn between(low: (u32, Time), high: (u32, Time), rows: u32) -> Time {
    let (x0, y0) = (i128::from(low.0), i128::from(low.1.0));
    let (x1, y1) = (i128::from(high.0), i128::from(high.1.0));
    let value = y0 + (y1 - y0) * (i128::from(rows) - x0) / (x1 - x0).max(1);
    Time(u64::try_from(value.max(0)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_through_the_points_and_beyond() {
        let curve = RunCurve::new(&[(1, Time(100)), (4, Time(160)), (8, Time(320))]);
        let times = [1, 2, 3, 4, 6, 8, 9, 600].map(|rows| curve.time(rows).0);
        assert_eq!(times, [100, 120, 140, 160, 240, 320, 360, 24_000]);
        assert_eq!(RunCurve::constant(Time(7)).time(1000), Time(7));
        let single = RunCurve::new(&[(1, Time(10))]);
        assert_eq!([1, 2, 5].map(|rows| single.time(rows).0), [10, 20, 50]);
    }
}
