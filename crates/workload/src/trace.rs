//! Reading recorded traces. Bytes come in, and what is malformed is refused with its line or byte.

use crate::error::TraceError;
use crate::schedule::Size;
use crate::spec::{CountsFormat, TimestampsFormat};
use std::collections::HashMap;

/// Requests per function and minute.
#[derive(Debug, PartialEq)]
pub(crate) struct CountTable {
    pub minutes: usize,
    /// `functions × minutes`, row by row.
    pub counts: Vec<u32>,
}

/// One recorded request; nanoseconds from the first of the trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Recorded {
    pub at: u64,
    /// Number of the function in order of first appearance, where the trace names one.
    pub function: Option<u32>,
    pub size: Size,
}

impl CountTable {
    pub fn read(format: CountsFormat, bytes: &[u8]) -> Result<Self, TraceError> {
        match format {
            CountsFormat::Npy => npy(bytes),
            CountsFormat::Azure2019 => azure_2019(text(bytes)?),
        }
    }

    pub fn functions(&self) -> usize {
        self.counts.len() / self.minutes
    }
}

/// Reads single requests, in order of time.
pub(crate) fn timestamps(
    format: TimestampsFormat,
    bytes: &[u8],
) -> Result<Vec<Recorded>, TraceError> {
    let text = text(bytes)?;
    let mut requests = match format {
        TimestampsFormat::Azure2021 => azure_2021(text)?,
        TimestampsFormat::AzureLlm => azure_llm(text)?,
    };
    requests.sort_by_key(|&(at, _)| at);
    let first = requests.first().ok_or(TraceError::Empty)?.0;
    let relative = |(at, request): (i64, Recorded)| Recorded { at: at.abs_diff(first), ..request };
    Ok(requests.into_iter().map(relative).collect())
}

/// NumPy's format, version 1 to 3: magic, version, length of the header, a Python dictionary, the elements.
fn npy(bytes: &[u8]) -> Result<CountTable, TraceError> {
    if !bytes.starts_with(b"\x93NUMPY") {
        return Err(TraceError::byte(0, "this is no npy file"));
    }
    let version = *bytes.get(6).ok_or_else(|| TraceError::byte(6, "the file ends"))?;
    let width = if version == 1 { 2 } else { 4 };
    let length = bytes.get(8..8 + width).ok_or_else(|| TraceError::byte(8, "the file ends"))?;
    let length = length.iter().rev().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
    let begin = 8 + width;
    let header = bytes.get(begin..begin.saturating_add(length));
    let header = header.and_then(|header| std::str::from_utf8(header).ok());
    let header = header.ok_or_else(|| TraceError::byte(begin, "the header is no text"))?;
    let wrong = |reason: &str| TraceError::byte(begin, format!("{reason}: {}", header.trim()));
    if !header.contains("'<i8'") {
        return Err(wrong("only 64-bit little-endian integers are read"));
    }
    if header.contains("'fortran_order': True") {
        return Err(wrong("only C order is read"));
    }
    let shape = header.split_once("'shape': (").and_then(|(_, rest)| rest.split_once(')'));
    let shape: Vec<usize> = match shape {
        Some((shape, _)) => shape
            .split(',')
            .filter(|part| !part.trim().is_empty())
            .map(|part| part.trim().parse().map_err(|_| wrong("a dimension is no number")))
            .collect::<Result<_, _>>()?,
        None => return Err(wrong("there is no shape")),
    };
    let &[functions, minutes] = shape.as_slice() else {
        return Err(wrong("only functions × minutes is read"));
    };
    let begin = begin + length;
    let elements = functions.checked_mul(minutes).filter(|n| *n > 0);
    let elements = elements.ok_or_else(|| wrong("there are no counts"))?;
    let data = &bytes[begin..];
    if elements.checked_mul(8) != Some(data.len()) {
        let reason = format!("{} bytes of data for {functions} × {minutes} counts", data.len());
        return Err(TraceError::byte(begin, reason));
    }
    let mut counts = Vec::with_capacity(elements);
    for (index, element) in data.chunks_exact(8).enumerate() {
        let count = i64::from_le_bytes(element.try_into().expect("chunks of eight"));
        let count = u32::try_from(count)
            .map_err(|_| TraceError::byte(begin + index * 8, format!("{count} is no count")))?;
        counts.push(count);
    }
    Ok(CountTable { minutes, counts })
}

/// Four columns that name the function and its trigger, then one column per minute.
fn azure_2019(text: &str) -> Result<CountTable, TraceError> {
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let (_, header) = lines.next().ok_or(TraceError::Empty)?;
    let columns: Vec<&str> = header.split(',').map(str::trim).collect();
    if columns.len() < 5 || columns[..4] != ["HashOwner", "HashApp", "HashFunction", "Trigger"] {
        let reason = "expected `HashOwner,HashApp,HashFunction,Trigger,1,2,…`";
        return Err(TraceError::line(1, reason));
    }
    let minutes = columns.len() - 4;
    let mut counts = Vec::new();
    for (line, row) in lines.filter(|(_, row)| !row.is_empty()) {
        let before = counts.len();
        for field in row.split(',').skip(4) {
            let count = field.trim().parse();
            counts
                .push(count.map_err(|_| TraceError::line(line, format!("`{field}` is no count")))?);
        }
        if counts.len() - before != minutes {
            let reason = format!("{} counts, not {minutes}", counts.len() - before);
            return Err(TraceError::line(line, reason));
        }
    }
    if counts.is_empty() {
        return Err(TraceError::Empty);
    }
    Ok(CountTable { minutes, counts })
}

/// `app,func,end_timestamp,duration`, times in seconds; a request arrived when it ended less how long it took.
fn azure_2021(text: &str) -> Result<Vec<(i64, Recorded)>, TraceError> {
    let mut functions: HashMap<(&str, &str), u32> = HashMap::new();
    let mut requests = Vec::new();
    for (line, fields) in rows(text, "app,func,end_timestamp,duration")? {
        let [app, function, end, duration] = fields;
        let next = functions.len() as u32;
        let function = *functions.entry((app, function)).or_insert(next);
        let seconds = |field: &str| match field.parse::<f64>() {
            Ok(value) if value.is_finite() && value.abs() < 1e9 => Ok(value),
            _ => Err(TraceError::line(line, format!("`{field}` is no time in seconds"))),
        };
        let at = seconds(end)? - seconds(duration)?;
        let request = Recorded { at: 0, function: Some(function), size: Size::default() };
        requests.push(((at * 1e9).round() as i64, request));
    }
    Ok(requests)
}

/// `TIMESTAMP,ContextTokens,GeneratedTokens`, with a date, a time of day and up to nine decimals.
fn azure_llm(text: &str) -> Result<Vec<(i64, Recorded)>, TraceError> {
    let mut requests = Vec::new();
    for (line, [at, input, output]) in rows(text, "TIMESTAMP,ContextTokens,GeneratedTokens")? {
        let tokens = |field: &str| {
            field.parse().map_err(|_| TraceError::line(line, format!("`{field}` is no count")))
        };
        let size = Size { input: tokens(input)?, output: tokens(output)? };
        let at = date_time(at)
            .ok_or_else(|| TraceError::line(line, format!("`{at}` is no date and time")))?;
        requests.push((at, Recorded { at: 0, function: None, size }));
    }
    Ok(requests)
}

/// The rows below a header that must be as given, each with its line's number and `N` fields.
fn rows<'a, const N: usize>(
    text: &'a str,
    header: &str,
) -> Result<Vec<(usize, [&'a str; N])>, TraceError> {
    let mut lines = text.lines().enumerate();
    match lines.next() {
        Some((_, first)) if first.trim().trim_start_matches('\u{feff}') == header => {}
        Some(_) => return Err(TraceError::line(1, format!("expected `{header}`"))),
        None => return Err(TraceError::Empty),
    }
    let mut rows = Vec::new();
    for (index, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let found = fields.len();
        let fields = fields
            .try_into()
            .map_err(|_| TraceError::line(index + 1, format!("{found} fields, not {N}")))?;
        rows.push((index + 1, fields));
    }
    Ok(rows)
}

/// Nanoseconds since 1970 of `2023-11-16 18:17:03.9799600`.
fn date_time(text: &str) -> Option<i64> {
    let (date, time) = text.split_once([' ', 'T'])?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (time, decimals) = time.trim_end_matches('Z').split_once('.').unwrap_or((time, "0"));
    let mut time = time.trim_end_matches('Z').splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let in_range = (1678..=2262).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    if !in_range || decimals.is_empty() || decimals.len() > 9 {
        return None;
    }
    let digits = decimals.bytes().all(|byte| byte.is_ascii_digit());
    let nanos = decimals.parse::<i64>().ok().filter(|_| digits)?;
    let nanos = nanos * 10i64.pow(9 - decimals.len() as u32);
    // Days since 1970 in the proleptic Gregorian calendar, with years that begin in March.
    let (y, m) = (if month <= 2 { year - 1 } else { year }, (month + 9) % 12);
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

fn text(bytes: &[u8]) -> Result<&str, TraceError> {
    std::str::from_utf8(bytes)
        .map_err(|error| TraceError::byte(error.valid_up_to(), "this is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(descr: &str, shape: &str, counts: &[i64]) -> Vec<u8> {
        let header =
            format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        counts.iter().for_each(|count| bytes.extend(count.to_le_bytes()));
        bytes
    }

    #[test]
    fn arrays_of_counts_are_read_or_refused() {
        let read = |bytes: &[u8]| CountTable::read(CountsFormat::Npy, bytes);
        let table = read(&array("<i8", "(2, 3)", &[1, 2, 3, 4, 5, 6])).unwrap();
        assert_eq!((table.functions(), table.minutes, table.counts[5]), (2, 3, 6));
        let refused = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
        assert!(refused(b"PK\x03\x04").contains("no npy"));
        assert!(refused(&array("<f8", "(1, 1)", &[1])).contains("64-bit"));
        assert!(refused(&array("<i8", "(6,)", &[1; 6])).contains("functions × minutes"));
        assert!(refused(&array("<i8", "(2, 3)", &[1; 5])).contains("40 bytes of data"));
        assert!(refused(&array("<i8", "(1, 2)", &[1, -1])).contains("-1 is no count"));
        assert!(refused(&array("<i8", "(9999999999, 9999999999)", &[])).contains("no counts"));
        for cut in 0..array("<i8", "(1, 1)", &[1]).len() {
            read(&array("<i8", "(1, 1)", &[1])[..cut]).unwrap_err();
        }
    }

    #[test]
    fn malformed_lines_are_refused_by_number() {
        let counts = |text: &str| CountTable::read(CountsFormat::Azure2019, text.as_bytes());
        let header = "HashOwner,HashApp,HashFunction,Trigger,1,2";
        let table = counts(&format!("{header}\no,a,f,http,3,0\no,a,g,timer,1,1\n")).unwrap();
        assert_eq!(table, CountTable { minutes: 2, counts: vec![3, 0, 1, 1] });
        let refused = |rows: &str| counts(&format!("{header}\n{rows}")).unwrap_err().to_string();
        assert_eq!(refused("o,a,f,http,3,0\no,a,g,http,1"), "line 3: 1 counts, not 2");
        assert_eq!(refused("o,a,f,http,3,many"), "line 2: `many` is no count");
        assert!(counts("a,b\n").unwrap_err().to_string().contains("line 1"));

        let single = |format, text: &str| timestamps(format, text.as_bytes());
        let ends = "app,func,end_timestamp,duration\na,f,10.5,0.5\na,g,10.25,0.5\na,f,11.0,0.25\n";
        let requests = single(TimestampsFormat::Azure2021, ends).unwrap();
        let seen: Vec<_> = requests.iter().map(|r| (r.at, r.function.unwrap())).collect();
        assert_eq!(seen, [(0, 1), (250_000_000, 0), (1_000_000_000, 0)]);
        let refused = |format, text: &str| single(format, text).unwrap_err().to_string();
        let broken = "app,func,end_timestamp,duration\na,f,1.0,0.5\na,f,soon,1\n";
        assert!(refused(TimestampsFormat::Azure2021, broken).starts_with("line 3: `soon`"));

        let tokens = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
        let good =
            format!("{tokens}2024-02-28 23:59:59.9000000,48,10\n2024-02-29 00:00:00.1,3,8\n");
        let requests = single(TimestampsFormat::AzureLlm, &good).unwrap();
        assert_eq!((requests[1].at, requests[1].size.output), (200_000_000, 8));
        for line in ["2024-13-01 00:00:00,1,1", "noon,1,1", "2024-01-01 00:00:00,1,-1", "a,b"] {
            let text = format!("{tokens}{line}\n");
            assert!(refused(TimestampsFormat::AzureLlm, &text).starts_with("line 2: "), "{line}");
        }
        assert_eq!(single(TimestampsFormat::AzureLlm, tokens), Err(TraceError::Empty));
    }

    #[test]
    fn dates_count_from_1970() {
        assert_eq!(date_time("1970-01-01 00:00:00"), Some(0));
        assert_eq!(date_time("2000-03-01T12:00:00.5Z"), Some(951_912_000_500_000_000));
    }
}
