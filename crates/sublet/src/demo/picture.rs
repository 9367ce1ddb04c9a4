//! Pictures: drawing text, cutting out and resizing.

use ab_glyph::{Font, FontRef, PxScale, ScaleFont};
use anyhow::Result;

/// A grey picture, row by row, 0 black to 255 white.
#[derive(Clone, PartialEq, Debug)]
pub struct Picture {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<u8>,
}

/// A rectangle of pixels; `right` and `bottom` are just outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rectangle {
    pub left: usize,
    pub top: usize,
    pub right: usize,
    pub bottom: usize,
}

impl Picture {
    pub fn white(width: usize, height: usize) -> Self {
        Picture { width, height, pixels: vec![255; width * height] }
    }

    /// Draws dark text with its left edge at `x` and its baseline at `y`; `size` is the height of a line in pixels.
    pub fn draw_text(&mut self, text: &str, x: f32, y: f32, size: f32) -> Result<()> {
        let font = FontRef::try_from_slice(dejavu::sans_mono::regular())?;
        let scaled = font.as_scaled(PxScale::from(size));
        let mut at = x;
        for letter in text.chars() {
            let id = scaled.glyph_id(letter);
            let glyph = id.with_scale_and_position(PxScale::from(size), ab_glyph::point(at, y));
            at += scaled.h_advance(id);
            let Some(outline) = scaled.outline_glyph(glyph) else { continue };
            let bounds = outline.px_bounds();
            outline.draw(|dx, dy, cover| {
                let (px, py) =
                    (bounds.min.x as i64 + i64::from(dx), bounds.min.y as i64 + i64::from(dy));
                if (0..self.width as i64).contains(&px) && (0..self.height as i64).contains(&py) {
                    let pixel = &mut self.pixels[py as usize * self.width + px as usize];
                    *pixel =
                        (f32::from(*pixel) * (1.0 - cover.min(1.0)) + 20.0 * cover.min(1.0)) as u8;
                }
            });
        }
        Ok(())
    }

    pub fn cut(&self, area: Rectangle) -> Picture {
        let rows = (area.top..area.bottom)
            .map(|y| &self.pixels[y * self.width + area.left..y * self.width + area.right]);
        let pixels: Vec<u8> = rows.flatten().copied().collect();
        Picture { width: area.right - area.left, height: area.bottom - area.top, pixels }
    }

    /// Upside down: turned by half a circle.
    pub fn turned(&self) -> Picture {
        Picture { pixels: self.pixels.iter().rev().copied().collect(), ..*self }
    }

    /// Bilinear, pixel centres at halves.
    pub fn resized(&self, width: usize, height: usize) -> Picture {
        let at = |index: usize, from: usize, to: usize| {
            let place = ((index as f32 + 0.5) * from as f32 / to as f32 - 0.5)
                .clamp(0.0, (from - 1) as f32);
            (place as usize, (place as usize + 1).min(from - 1), place.fract())
        };
        let mut pixels = Vec::with_capacity(width * height);
        for y in 0..height {
            let (top, bottom, down) = at(y, self.height, height);
            for x in 0..width {
                let (left, right, along) = at(x, self.width, width);
                let pixel = |x: usize, y: usize| f32::from(self.pixels[y * self.width + x]);
                let upper = pixel(left, top) * (1.0 - along) + pixel(right, top) * along;
                let lower = pixel(left, bottom) * (1.0 - along) + pixel(right, bottom) * along;
                pixels.push((upper * (1.0 - down) + lower * down).round() as u8);
            }
        }
        Picture { width, height, pixels }
    }

    /// Three equal channels scaled to −1…1, padded to `width` on the right with 0: `[1, 3, height, width]`.
    pub fn to_channels(&self, width: usize) -> sublet_graph::Literal {
        let mut plane = vec![0.0; self.height * width];
        for y in 0..self.height {
            for x in 0..self.width.min(width) {
                plane[y * width + x] =
                    (f32::from(self.pixels[y * self.width + x]) / 255.0 - 0.5) / 0.5;
            }
        }
        sublet_graph::Literal::f32(&[1, 3, self.height, width], &plane.repeat(3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_leaves_ink_where_it_is_drawn() {
        let mut picture = Picture::white(120, 40);
        picture.draw_text("Hi", 10.0, 30.0, 30.0).unwrap();
        let ink = |picture: &Picture| picture.pixels.iter().filter(|&&pixel| pixel < 100).count();
        assert!(ink(&picture) > 30);
        assert_eq!(ink(&picture.cut(Rectangle { left: 80, top: 0, right: 120, bottom: 40 })), 0);
        assert_eq!(picture.turned().turned(), picture);
    }

    #[test]
    fn resizing_keeps_flat_areas_flat() {
        let picture = Picture { width: 3, height: 2, pixels: vec![7; 6] };
        assert_eq!(picture.resized(9, 5).pixels, vec![7; 45]);
    }
}
