//! Colours and ticks shared by charts and timelines. Colours are CSS classes, so that a page follows the reader's light
//! or dark scheme.

use crate::text;

/// Series before colours repeat; later ones are told apart by dashes.
pub(crate) const COLOURS: usize = 8;

/// The page's style sheet. The colours are distinguishable with the common colour deficiencies (after Okabe and Ito,
/// "Color universal design", 2008), each with enough contrast to its background.
pub(crate) const SHEET: &str = "
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1c1f24; --faint: #5b626d; --rule: #d9dde3; --card: #f7f8fa;
  --c0: #0067a5; --c1: #c9520b; --c2: #00805c; --c3: #b0487f; --c4: #a87600; --c5: #2a8fcf; --c6: #6d4aa8; --c7: #5f6670; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181d; --ink: #e8eaee; --faint: #a3abb8; --rule: #333a45;
  --card: #1c2027; --c0: #5cb3f0; --c1: #ff9254; --c2: #3ccf9f; --c3: #f08fc0; --c4: #ebbc3b; --c5: #9bd5ff; --c6: #b99cf5;
  --c7: #b4bcc8; } }
body { margin: 0 auto; max-width: 1120px; padding: 24px 20px 64px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 24px; margin: 0 0 12px; } h2 { font-size: 17px; margin: 36px 0 8px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 0; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
.note { border-left: 3px solid var(--c1); padding: 4px 12px; background: var(--card); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 12.5px; }
th, td { padding: 4px 7px; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th { color: var(--faint); font-weight: 600; } .name { text-align: left; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(480px, 1fr)); gap: 20px; }
@media (max-width: 560px) { .plots { grid-template-columns: 1fr; } }
figure { margin: 0; padding: 12px 12px 6px; background: var(--card); border-radius: 8px; }
figcaption { font-weight: 600; margin-bottom: 6px; }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--faint); font: 12px system-ui, sans-serif; }
svg .label { fill: var(--ink); } .middle { text-anchor: middle; } .end { text-anchor: end; }
.grid { stroke: var(--rule); stroke-width: 1; } .axis { stroke: var(--faint); stroke-width: 1; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; } .d1 { stroke-dasharray: 7 4; } .d2 { stroke-dasharray: 2 4; }
.s0 { stroke: var(--c0); } .s1 { stroke: var(--c1); } .s2 { stroke: var(--c2); } .s3 { stroke: var(--c3); }
.s4 { stroke: var(--c4); } .s5 { stroke: var(--c5); } .s6 { stroke: var(--c6); } .s7 { stroke: var(--c7); }
.f0 { fill: var(--c0); } .f1 { fill: var(--c1); } .f2 { fill: var(--c2); } .f3 { fill: var(--c3); }
.f4 { fill: var(--c4); } .f5 { fill: var(--c5); } .f6 { fill: var(--c6); } .f7 { fill: var(--c7); }
details { margin-top: 12px; } summary { cursor: pointer; color: var(--faint); }
";

/// The classes of a line.
pub(crate) fn stroke(index: usize) -> String {
    let dash = match index / COLOURS {
        0 => "",
        1 => " d1",
        _ => " d2",
    };
    format!("line s{}{dash}", index % COLOURS)
}

/// The class of an area.
pub(crate) fn fill(index: usize) -> String {
    format!("f{}", index % COLOURS)
}

pub(crate) fn open(width: f64, height: f64, title: &str) -> String {
    format!(
        "<svg viewBox='0 0 {width} {height}' role='img' aria-label='{}' xmlns='http://www.w3.org/2000/svg'>",
        text::escape(title)
    )
}

/// Round values between two ends, about `wanted` of them: multiples of 1, 2 or 5 times a power of ten.
pub(crate) fn ticks(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    let span = high - low;
    if !(span > 0.0 && span.is_finite()) {
        return vec![low];
    }
    let rough = span / wanted as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].iter().map(|m| m * power).find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(10.0 * power);
    let (first, last) = ((low / step - 1e-9).ceil() as i64, (high / step + 1e-9).floor() as i64);
    (first..=last).map(|index| index as f64 * step).collect()
}

/// Powers of ten between two positive ends, with 2 and 5 where there is room.
pub(crate) fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let decades = (high / low).log10();
    let within: &[f64] = if decades <= 2.0 {
        &[1.0, 2.0, 5.0]
    } else if decades <= 4.0 {
        &[1.0, 3.0]
    } else {
        &[1.0]
    };
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let all = (first..=last).flat_map(|power| within.iter().map(move |m| m * 10f64.powi(power)));
    all.filter(|tick| (low * 0.999..=high * 1.001).contains(tick)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks(0.0, 100.0, 5), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(ticks(3.0, 11.0, 4), [4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(5.0, 5.0, 4), [5.0]);
        assert_eq!(log_ticks(1.0, 100.0), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        assert_eq!(log_ticks(0.01, 1000.0).len(), 6);
    }
}
