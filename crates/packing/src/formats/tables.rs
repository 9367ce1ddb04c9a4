//! Measured tables: latencies, utilisations, slowdowns of pairs, and the interference model's constants.

use crate::formats::FormatError;
use crate::formats::text::{BATCH_MAX, Row, SIZE_MAX, rows};
use crate::{Linear, PackError, Profile, Utilisation};
use sublet_units::Time;

/// Reads latencies into a profile: `latency.csv` (`model,partition,batch,ms`), or eight fields
/// `model,batch,partition,throughput,number,latency,seconds,count`. Gives the number of points.
///
/// # Errors
/// A line of another form, a hostile number, or a point twice.
pub fn latency(file: &str, text: &str, profile: &mut Profile) -> Result<usize, FormatError> {
    let mut count = 0;
    for row in rows(file, text) {
        let (size, batch, time) = match row.fields.len() {
            4 => (1, 2, row.time(3, "a latency in ms", 1e6, false)?),
            8 => {
                word(&row, 3, "throughput")?;
                word(&row, 5, "latency")?;
                (2, 1, row.time(6, "a latency in seconds", 1e9, false)?)
            }
            fields => {
                let want = "4 fields (model,partition,batch,ms) or 8 (with throughput and latency in seconds)";
                return Err(row.error(want, format!("{fields} fields")));
            }
        };
        let model = row.text(0, "a model")?;
        let size = row.whole(size, "a partition size", 1, SIZE_MAX)?;
        let batch = row.whole(batch, "a batch size", 1, BATCH_MAX)?;
        if profile.latency(model, size, batch).is_some() {
            return Err(row.error("each point once", format!("{model},{size},{batch}")));
        }
        placed(&row, profile.add_latency(model, size, batch, time))?;
        count += 1;
    }
    Ok(count)
}

/// Reads utilisations into a profile: `UTIL.CSV` (with a heading; model, batch, duration, SM, cache, memory in percent of
/// the whole GPU), or eight fields `model,batch,partition,mem_util,percent,l2_util,percent,flag` measured on partitions.
///
/// # Errors
/// A line of another form, or a hostile number.
pub fn utilisation(file: &str, text: &str, profile: &mut Profile) -> Result<usize, FormatError> {
    let mut count = 0;
    let mut whole = false;
    for row in rows(file, text) {
        if row.fields[0] == "bench" {
            whole = true;
            continue;
        }
        let model = row.text(0, "a model")?;
        let batch = row.whole(1, "a batch size", 1, BATCH_MAX)?;
        let percent = |place: usize, what: &str| {
            row.number(place, &format!("the {what}'s utilisation in percent"), 0.0, 100.0)
                .map(|value| value / 100.0)
        };
        row.count(8, "8 fields")?;
        let (size, used) = if whole {
            (None, Utilisation { l2: percent(4, "cache")?, dram: percent(5, "memory")? })
        } else {
            word(&row, 3, "mem_util")?;
            word(&row, 5, "l2_util")?;
            let size = row.whole(2, "a partition size", 1, SIZE_MAX)?;
            (Some(size), Utilisation { l2: percent(6, "cache")?, dram: percent(4, "memory")? })
        };
        placed(&row, profile.add_utilisation(model, size, batch, used))?;
        count += 1;
    }
    Ok(count)
}

const CONSTANTS: &str = "l2_util_m1,l2_util_m2,dram_util_m1,dram_util_m2,constant";

/// Reads `INT_MODEL_CONSTANT.CSV`: a heading and five coefficients.
///
/// # Errors
/// Another form, or a hostile number.
pub fn constants(file: &str, text: &str) -> Result<Linear, FormatError> {
    let mut rows = rows(file, text);
    let missing = || FormatError {
        file: file.to_owned(),
        line: 2,
        want: "five coefficients under their heading".into(),
        found: "nothing".into(),
    };
    let heading = rows.next().ok_or_else(missing)?;
    if heading.fields.join(",") != CONSTANTS {
        return Err(heading.error(format!("the heading {CONSTANTS}"), heading.fields.join(",")));
    }
    let row = rows.next().ok_or_else(missing)?;
    row.count(5, "five coefficients")?;
    let mut values = [0.0; 5];
    for (place, value) in values.iter_mut().enumerate() {
        *value = row.number(place, "a coefficient", -1000.0, 1000.0)?;
    }
    placed(&row, Linear::new(values))
}

/// Writes `INT_MODEL_CONSTANT.CSV`; what is read back is the same.
pub fn write_constants(linear: &Linear) -> String {
    let values = linear.coefficients().map(|value| value.to_string());
    format!("{CONSTANTS}\n{}\n", values.join(","))
}

/// A measured latency of a run beside another on the rest of the GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct PairRow {
    pub model: String,
    pub batch: u32,
    pub size: u32,
    pub other: String,
    pub other_batch: u32,
    pub latency: Time,
}

/// Reads measured pairs: ten fields `model,batch,partition,other,other batch,throughput,number,latency,seconds,count`.
///
/// # Errors
/// A line of another form, or a hostile number.
pub fn pairs(file: &str, text: &str) -> Result<Vec<PairRow>, FormatError> {
    let mut found = Vec::new();
    for row in rows(file, text) {
        row.count(10, "10 fields (model,batch,partition,other,other batch,throughput,number,latency,seconds,count)")?;
        word(&row, 5, "throughput")?;
        word(&row, 7, "latency")?;
        found.push(PairRow {
            model: row.text(0, "a model")?.to_owned(),
            batch: row.whole(1, "a batch size", 1, BATCH_MAX)?,
            size: row.whole(2, "a partition size", 1, SIZE_MAX)?,
            other: row.text(3, "a model")?.to_owned(),
            other_batch: row.whole(4, "a batch size", 1, BATCH_MAX)?,
            latency: row.time(8, "a latency in seconds", 1e9, false)?,
        });
    }
    Ok(found)
}

fn word(row: &Row, place: usize, word: &str) -> Result<(), FormatError> {
    let found = row.text(place, word)?;
    if found == word { Ok(()) } else { Err(row.error(format!("the word {word}"), found)) }
}

fn placed<T>(row: &Row, result: Result<T, PackError>) -> Result<T, FormatError> {
    result.map_err(|error| row.error("a possible measurement", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_latencies_are_read() {
        let mut profile = Profile::default();
        latency("a", "vgg16,20,1,4.5\n", &mut profile).unwrap();
        latency("b", "vgg16,2,40,throughput,220.4,latency,0.0045352,1\n", &mut profile).unwrap();
        assert_eq!(profile.latency("vgg16", 20, 1), Some(Time(4_500_000)));
        assert_eq!(profile.latency("vgg16", 40, 2), Some(Time(4_535_200)));
        for (text, want) in [
            ("vgg16,20,1,4.5\n", "each point once"),
            ("x,20,1\n", "4 fields"),
            ("x,20,1,-1\n", "a latency in ms"),
            ("x,20,1,NaN\n", "a latency in ms"),
            ("x,20,1,0\n", "a latency in ms"),
            ("x,20,99999999999,1\n", "a batch size"),
            ("x,0,1,1\n", "a partition size"),
            ("x,2,40,throughput,220.4,lateness,0.0045352,1\n", "the word latency"),
        ] {
            let error = latency("b", text, &mut profile).unwrap_err();
            assert!(error.want.contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn utilisation_of_the_whole_and_of_partitions() {
        let mut profile = Profile::default();
        let heading =
            "bench,batch,avg_duration(ms),SM_util(%),l2_util(%),mem_util(%),achieved,theoretical";
        utilisation("u", &format!("{heading}\r\nbert,4,0.01,24.4,14,30,24,62,\r\n"), &mut profile)
            .unwrap();
        utilisation("m", "bert,4,50,mem_util,7.5,l2_util,7,0\n", &mut profile).unwrap();
        let at = |size| profile.utilisation("bert", size, 100, 4).unwrap();
        assert_eq!(at(100), Utilisation { l2: 0.14, dram: 0.3 });
        assert_eq!(at(50), Utilisation { l2: 0.07, dram: 0.075 });
        assert!(utilisation("m", "bert,4,50,mem_util,101,l2_util,7,0\n", &mut profile).is_err());
        assert!(utilisation("m", "bert,4,50,mem_util,1\n", &mut profile).is_err());
    }

    #[test]
    fn constants_survive_a_round_trip() {
        let text = format!(
            "{CONSTANTS}\r\n0.11290838746224496,0.7159598718755424,0.35486591956022895,0.0882038259888065,0.8953693917277343\r\n"
        );
        let read = constants("c", &text).unwrap();
        assert_eq!(read.l2_other, 0.7159598718755424);
        assert_eq!(constants("c", &write_constants(&read)), Ok(read));
        assert!(constants("c", "a,b\n1,2\n").is_err());
        assert!(constants("c", &format!("{CONSTANTS}\n1,2,3,4,inf\n")).is_err());
        assert!(constants("c", CONSTANTS).unwrap_err().to_string().contains("line 2"));
    }
}
