//! Reading text: find lines, turn them upright, read them (PP-OCR).

use super::picture::{Picture, Rectangle};
use super::task::{Ask, floats, largest};
use anyhow::{Context, Result};

/// A pixel counts as text above this probability.
const INK: f32 = 0.3;
/// A line counts as found above this mean probability.
const LINE: f32 = 0.5;
/// How much of `area ÷ perimeter` a box grows on each side: the detector is trained on shrunken boxes.
const GROW: f32 = 1.6;

/// A line of text and how sure the reader is.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    pub text: String,
    pub score: f32,
    pub upside_down: bool,
}

/// The three models, as they are named in the repository.
pub struct Names<'a> {
    pub detect: &'a str,
    pub turn: &'a str,
    pub read: &'a str,
}

/// Finds and reads every line of some pictures whose sides are multiples of 32, model by model: all pictures through the
/// first, then all lines through the next.
///
/// `letters` is the reader's dictionary: its first class is blank, then one per line of the dictionary, then the space.
pub fn read(
    pictures: &[Picture],
    names: &Names,
    letters: &[String],
    ask: &mut dyn Ask,
) -> Result<Vec<Line>> {
    let mut crops = Vec::new();
    for picture in pictures {
        let outputs = ask.ask(names.detect, vec![("x", picture.to_channels(picture.width))])?;
        let (map, _) = floats(&outputs, "fetch_name_0")?;
        let areas = boxes(&map, picture.width, picture.height);
        crops.extend(areas.into_iter().map(|area| picture.cut(area)));
    }
    let mut turned = Vec::new();
    for crop in crops {
        let upside_down = is_upside_down(&crop, names.turn, ask)?;
        turned.push((if upside_down { crop.turned() } else { crop }, upside_down));
    }
    let mut lines = Vec::new();
    for (crop, upside_down) in turned {
        let (text, score) = read_line(&crop, names.read, letters, ask)?;
        lines.push(Line { text, score, upside_down });
    }
    Ok(lines)
}

/// The dictionary that the reader's file carries in its properties.
pub fn letters(properties: &[(String, String)]) -> Result<Vec<String>> {
    let (_, text) = properties
        .iter()
        .find(|(name, _)| name == "character")
        .context("the reader has no dictionary")?;
    Ok(text.split('\n').map(str::to_owned).chain([" ".to_owned()]).collect())
}

fn line_width(crop: &Picture, height: usize) -> usize {
    (crop.width * height).div_ceil(crop.height)
}

fn is_upside_down(crop: &Picture, model: &str, ask: &mut dyn Ask) -> Result<bool> {
    let input = crop.resized(line_width(crop, 48).min(192), 48).to_channels(192);
    let outputs = ask.ask(model, vec![("x", input)])?;
    let (scores, _) = floats(&outputs, "save_infer_model/scale_0.tmp_1")?;
    Ok(scores[1] > 0.9)
}

fn read_line(
    crop: &Picture,
    model: &str,
    letters: &[String],
    ask: &mut dyn Ask,
) -> Result<(String, f32)> {
    let width = line_width(crop, 48).max(1);
    // Few different widths keep few plans: round up to 80.
    let input = crop.resized(width, 48).to_channels(width.max(320).next_multiple_of(80));
    let outputs = ask.ask(model, vec![("x", input)])?;
    let (classes, shape) = floats(&outputs, "fetch_name_0")?;
    Ok(decode(&classes, shape[2], letters))
}

/// Greedy connectionist temporal classification: the best class of each step, repeats merged, blanks dropped.
fn decode(classes: &[f32], count: usize, letters: &[String]) -> (String, f32) {
    let (mut text, mut scores, mut last) = (String::new(), Vec::new(), 0);
    for step in classes.chunks_exact(count) {
        let (class, score) = largest(step);
        if class != 0 && class != last {
            text.push_str(letters.get(class - 1).map_or("?", String::as_str));
            scores.push(score);
        }
        last = class;
    }
    let mean = scores.iter().sum::<f32>() / scores.len().max(1) as f32;
    (text, mean)
}

/// Boxes around connected areas of text, grown, top to bottom.
fn boxes(map: &[f32], width: usize, height: usize) -> Vec<Rectangle> {
    let mut seen = vec![false; map.len()];
    let mut boxes = Vec::new();
    for start in 0..map.len() {
        if map[start] <= INK || seen[start] {
            continue;
        }
        let (mut area, mut total, mut count) =
            (Rectangle { left: width, top: height, right: 0, bottom: 0 }, 0.0, 0usize);
        let mut open = vec![start];
        seen[start] = true;
        while let Some(pixel) = open.pop() {
            let (x, y) = (pixel % width, pixel / width);
            (area.left, area.right) = (area.left.min(x), area.right.max(x + 1));
            (area.top, area.bottom) = (area.top.min(y), area.bottom.max(y + 1));
            total += map[pixel];
            count += 1;
            let near = [(x > 0).then(|| pixel - 1), (x + 1 < width).then_some(pixel + 1)];
            let far = [(y > 0).then(|| pixel - width), (y + 1 < height).then_some(pixel + width)];
            for next in near.into_iter().chain(far).flatten().filter(|&next| map[next] > INK) {
                if !std::mem::replace(&mut seen[next], true) {
                    open.push(next);
                }
            }
        }
        let (wide, high) = (area.right - area.left, area.bottom - area.top);
        if high >= 3 && wide >= 3 && total / count as f32 > LINE {
            let grow = (wide * high) as f32 * GROW / (2 * (wide + high)) as f32;
            boxes.push(grown(area, grow.round() as usize, width, height));
        }
    }
    boxes.sort_by_key(|area| (area.top, area.left));
    boxes
}

fn grown(area: Rectangle, by: usize, width: usize, height: usize) -> Rectangle {
    Rectangle {
        left: area.left.saturating_sub(by),
        top: area.top.saturating_sub(by),
        right: (area.right + by).min(width),
        bottom: (area.bottom + by).min(height),
    }
}

/// A picture of these lines, for the demo to read; every second picture may hold a line upside down.
pub fn draw(lines: &[&str], upside_down: bool) -> Result<Picture> {
    let mut picture = Picture::white(448, (lines.len() * 64).next_multiple_of(32) + 32);
    for (index, line) in lines.iter().enumerate() {
        picture.draw_text(line, 24.0, 56.0 + 60.0 * index as f32, 32.0)?;
    }
    Ok(if upside_down { picture.turned() } else { picture })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_merges_repeats_and_drops_blanks() {
        let letters: Vec<String> = ["a", "b", " "].map(str::to_owned).to_vec();
        let steps = [1, 1, 0, 1, 2, 2, 3];
        let classes: Vec<f32> = steps
            .iter()
            .flat_map(|&best| (0..4).map(move |class| f32::from(class == best as u8)))
            .collect();
        assert_eq!(decode(&classes, 4, &letters), ("aab ".to_owned(), 1.0));
    }

    #[test]
    fn connected_areas_become_boxes_in_reading_order() {
        let (width, height) = (40, 30);
        let mut map = vec![0.0; width * height];
        for (left, top) in [(10, 18), (4, 4)] {
            for y in top..top + 6 {
                map[y * width + left..y * width + left + 20].fill(0.9);
            }
        }
        map[0] = 0.9;
        let boxes = boxes(&map, width, height);
        assert_eq!(boxes.len(), 2, "a speck is no line");
        assert!(boxes[0].top < boxes[1].top);
        assert!(boxes[0].left < 4 && boxes[0].right > 24, "the box is grown");
    }
}
