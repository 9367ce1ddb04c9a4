//! Replays keep what was recorded: counts, times, functions and sizes, scaled and folded as asked.

use sublet_units::Time;
use sublet_workload::{Process, Schedule, Size, Workload, WorkloadSpec};

const COUNTS: &str = "HashOwner,HashApp,HashFunction,Trigger,1,2,3\n\
                      o,a,f,http,60,0,6\n\
                      o,a,g,http,0,30,0\n\
                      o,b,h,timer,1,1,1\n";

const STAMPS: &str = "app,func,end_timestamp,duration\n\
                      a,f,101,1\na,g,103,2\na,f,106,1\nb,f,111,1\n";

/// The schedule of a short form whose trace is `trace`.
fn replay(form: &str, models: u32, trace: &[u8]) -> Schedule {
    let spec = WorkloadSpec::new(form.parse().unwrap());
    let mut resolve = |_: &str| Ok(trace.to_vec());
    let workload = Workload::new(&spec, models, 1, &mut resolve).unwrap();
    workload.schedule(workload.span().unwrap())
}

fn per_minute(schedule: &Schedule, model: u32, minute: Time) -> Vec<usize> {
    let mut counts = vec![0; (schedule.span.0 / minute.0) as usize];
    let of_model = schedule.arrivals.iter().filter(|arrival| arrival.model == model);
    of_model.for_each(|arrival| counts[(arrival.at.0 / minute.0) as usize] += 1);
    counts
}

#[test]
fn counts_per_minute_are_kept() {
    let minute = Time::from_secs(60);
    for spread in ["random", "even"] {
        let form = format!("counts:file=x,format=azure2019,spread={spread}");
        let schedule = replay(&form, 3, COUNTS.as_bytes());
        assert_eq!(per_minute(&schedule, 0, minute), [60, 0, 6]);
        assert_eq!(per_minute(&schedule, 1, minute), [0, 30, 0]);
        assert_eq!(per_minute(&schedule, 2, minute), [1, 1, 1]);
        assert!(schedule.arrivals.is_sorted());
    }
}

#[test]
fn counts_fold_onto_fewer_and_more_models() {
    let minute = Time::from_secs(60);
    let folded = replay("counts:file=x,format=azure2019", 2, COUNTS.as_bytes());
    assert_eq!(per_minute(&folded, 0, minute), [61, 1, 7]);
    let repeated = replay("counts:file=x,format=azure2019", 5, COUNTS.as_bytes());
    assert_eq!(per_minute(&repeated, 3, minute), [60, 0, 6]);
    let times = |model| -> Vec<Time> {
        repeated.arrivals.iter().filter(|a| a.model == model).map(|a| a.at).collect()
    };
    assert_ne!(times(0), times(3), "models that follow one function do not arrive together");
}

#[test]
fn counts_are_windowed_scaled_and_sped_up() {
    let window = replay("counts:file=x,format=azure2019,first=1,minutes=1", 3, COUNTS.as_bytes());
    assert_eq!((window.span, window.per_model()), (Time::from_secs(60), vec![0, 30, 1]));
    let fast = replay("counts:file=x,format=azure2019,minute=6s", 3, COUNTS.as_bytes());
    assert_eq!((fast.span, fast.arrivals.len()), (Time::from_secs(18), 99));
    let rate = replay("counts:file=x,format=azure2019,rate=150", 3, COUNTS.as_bytes());
    assert!((rate.rate() / 150.0 - 1.0).abs() < 0.02, "{}", rate.rate());
    let half = replay("counts:file=x,format=azure2019,scale=0.5", 3, COUNTS.as_bytes());
    assert!((45..=55).contains(&half.arrivals.len()), "{}", half.arrivals.len());
}

#[test]
fn single_requests_keep_their_times_and_functions() {
    let schedule = replay("timestamps:file=x,format=azure2021", 3, STAMPS.as_bytes());
    let seen: Vec<_> =
        schedule.arrivals.iter().map(|a| (a.at.0 / 1_000_000_000, a.model)).collect();
    assert_eq!(seen, [(0, 0), (1, 1), (5, 0), (10, 2)]);
    let folded = replay("timestamps:file=x,format=azure2021,speed=2", 2, STAMPS.as_bytes());
    let seen: Vec<_> = folded.arrivals.iter().map(|a| (a.at.0 / 100_000_000, a.model)).collect();
    assert_eq!(seen, [(0, 0), (5, 1), (25, 0), (50, 0)]);
    let part = replay("timestamps:file=x,format=azure2021,from=1s,length=9s", 3, STAMPS.as_bytes());
    let seen: Vec<_> = part.arrivals.iter().map(|a| (a.at.0 / 1_000_000_000, a.model)).collect();
    assert_eq!((seen, part.span), (vec![(0, 1), (4, 0)], Time::from_secs(9)));
    let more =
        replay("timestamps:file=x,format=azure2021,rate=40,length=11s", 3, STAMPS.as_bytes());
    assert!((more.rate() / 40.0 - 1.0).abs() < 0.05, "{}", more.rate());
}

#[test]
fn tokens_are_sizes() {
    let trace = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n";
    let schedule = replay("timestamps:file=x,format=azure-llm", 4, trace.as_bytes());
    assert_eq!(schedule.arrivals[0].size, Size { input: 374, output: 44 });
}

#[test]
fn the_place_of_what_is_wrong_is_named() {
    let refused = |form: &str, trace: Result<&str, &str>| {
        let spec = WorkloadSpec::new(form.parse::<Process>().unwrap());
        let mut resolve =
            |_: &str| trace.map(|text| text.as_bytes().to_vec()).map_err(str::to_owned);
        Workload::new(&spec, 2, 1, &mut resolve).unwrap_err().to_string()
    };
    let counts = "counts:file=day1.csv,format=azure2019";
    let broken = format!("{COUNTS}o,c,f,http,1,x,3\n");
    assert_eq!(refused(counts, Ok(&broken)), "trace `day1.csv`: line 5: `x` is no count");
    assert_eq!(refused(counts, Err("it is not there")), "trace `day1.csv`: it is not there");
    let late = "counts:file=day1.csv,format=azure2019,first=3";
    assert!(refused(late, Ok(COUNTS)).contains("no arrivals"));
    let both = "counts:file=day1.csv,format=azure2019,rate=1,scale=1";
    assert!(refused(both, Ok(COUNTS)).contains("either"));
    let frozen = "timestamps:file=x,format=azure2021,speed=0";
    assert!(refused(frozen, Ok(STAMPS)).contains("speed"));
}

#[test]
fn what_would_fill_the_memory_is_refused() {
    for (form, trace) in [
        ("counts:file=x,format=azure2019,scale=1e9", COUNTS),
        ("timestamps:file=x,format=azure2021,scale=1e15", STAMPS),
    ] {
        let spec = WorkloadSpec::new(form.parse::<Process>().unwrap());
        let mut resolve = |_: &str| Ok(trace.as_bytes().to_vec());
        let refused = Workload::new(&spec, 2, 1, &mut resolve).unwrap_err().to_string();
        assert!(refused.contains("at once"), "{refused}");
    }
}

/// Damaged traces are read or refused, and never anything else.
#[test]
fn damaged_traces_do_no_harm() {
    let npy = {
        let mut bytes = b"\x93NUMPY\x01\x00\x46\x00".to_vec();
        let header = "{'descr': '<i8', 'fortran_order': False, 'shape': (2, 2), }";
        bytes.extend(format!("{header:<69}\n").as_bytes());
        (0..4u64).for_each(|count| bytes.extend(count.to_le_bytes()));
        bytes
    };
    let tokens = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n";
    let mut draw = sublet_workload::Draw::new(4, 0);
    let mut read = 0;
    for (form, trace) in [
        ("counts:file=x,format=npy", npy.as_slice()),
        ("counts:file=x,format=azure2019", COUNTS.as_bytes()),
        ("timestamps:file=x,format=azure2021", STAMPS.as_bytes()),
        ("timestamps:file=x,format=azure-llm", tokens.as_bytes()),
    ] {
        let spec = WorkloadSpec::new(form.parse().unwrap());
        for _ in 0..2_000 {
            let mut bytes = trace.to_vec();
            for _ in 0..1 + draw.below(3) {
                let at = draw.below(bytes.len() as u64) as usize;
                match draw.below(3) {
                    0 => bytes[at] = draw.bits() as u8,
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, b"0,-.9\n"[draw.below(6) as usize]),
                }
            }
            // A damaged count may mean millions of arrivals, so that none are drawn.
            if let Ok(workload) = Workload::new(&spec, 3, 1, &mut |_| Ok(bytes.clone())) {
                assert!(workload.span().is_some_and(|span| span > Time::ZERO));
                read += 1;
            }
        }
    }
    assert!(read > 500, "{read}");
}

/// The recorded traces, where they are to be had.
#[test]
fn recorded_traces_are_read() {
    let folder =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/traces");
    if !folder.is_dir() {
        println!("skipped: there is no {}", folder.display());
        return;
    }
    let mut resolve =
        |file: &str| std::fs::read(folder.join(file)).map_err(|error| error.to_string());
    let mut load = |form: &str, models| {
        let spec = WorkloadSpec::new(form.parse().unwrap());
        let workload = Workload::new(&spec, models, 1, &mut resolve).unwrap();
        workload.schedule(workload.span().unwrap())
    };
    let functions = load("counts:file=torpor_samples.npy,format=npy", 203);
    assert_eq!(functions.span, Time::from_secs(31 * 60));
    let per_minute = functions.arrivals.len() as f64 / (203.0 * 31.0);
    assert!((per_minute - 9.8).abs() < 0.1, "{per_minute}");
    let many = load("counts:file=torpor_samples.npy,format=npy", 480);
    assert!((many.rate() / functions.rate() - 480.0 / 203.0).abs() < 0.05);
    let code = load("timestamps:file=AzureLLMInferenceTrace_code.csv,format=azure-llm", 4);
    assert!(code.arrivals.len() > 8_000 && code.span > Time::from_secs(3_000), "{}", code.span);
    assert_eq!(code.arrivals[0].size, Size { input: 4808, output: 10 });
}
