//! Where each weight lies in the packed image, and how the image is cut into segments.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;
use sublet_graph::{Graph, Model, Source, ValueId, WeightId};
use sublet_units::Bytes;

/// The packed image of a model's weights: every weight once, in order of first use, each aligned.
///
/// A weight never straddles segments, so a step waits for exactly the segments up to the last one it reads. A
/// weight larger than the largest segment size is a segment of its own.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Layout {
    /// Indexed by `WeightId`.
    pub weights: Vec<WeightPlace>,
    pub segments: Vec<Segment>,
    /// Length of the image.
    pub bytes: Bytes,
}

#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct WeightPlace {
    /// Offset from the start of the image, a multiple of [`LayoutOptions::align`].
    pub offset: usize,
    /// Bytes, without padding.
    pub len: usize,
    pub segment: u32,
}

/// A contiguous run of weights that is copied as one and becomes ready as one.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Segment {
    pub offset: usize,
    pub len: usize,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LayoutOptions {
    /// Alignment of each weight, in bytes.
    pub align: usize,
    /// Size of the first segment: small, so that the first step starts early.
    pub first: Bytes,
    /// Segments double in size up to this.
    pub largest: Bytes,
}

impl Default for LayoutOptions {
    fn default() -> Self {
        LayoutOptions { align: 256, first: Bytes::from_kib(512), largest: Bytes::from_mib(8) }
    }
}

impl Layout {
    /// Orders the weights by the first node that reads them and cuts them into segments. What a body of a
    /// control-flow operator reads counts at its node. Weights that no node reads come last.
    pub fn new(model: &Model, options: LayoutOptions) -> Layout {
        assert!(options.align.is_power_of_two(), "alignment of weights is a power of two");
        let mut order = Order { seen: vec![false; model.weights.len()], ids: Vec::new() };
        order.graph(&model.graph);
        for index in 0..model.weights.len() {
            order.weight(WeightId(index as u32));
        }
        let unplaced = WeightPlace { offset: 0, len: 0, segment: 0 };
        let mut layout = Layout {
            weights: vec![unplaced; model.weights.len()],
            segments: Vec::new(),
            bytes: Bytes::ZERO,
        };
        let mut wanted = options.first.as_usize();
        for id in order.ids {
            let len = model.weight(id).value.bytes().len();
            wanted = layout.append(id, len, wanted, &options);
        }
        layout
    }

    pub fn weight(&self, id: WeightId) -> WeightPlace {
        self.weights[id.0 as usize]
    }

    /// Bytes from the start of each segment to the start of the next: what each takes of a contiguous region.
    pub fn extents(&self) -> Vec<Bytes> {
        let ends = self.segments.iter().skip(1).map(|segment| segment.offset);
        let ends = ends.chain([self.bytes.as_usize()]);
        self.segments
            .iter()
            .zip(ends)
            .map(|(segment, end)| Bytes::from(end - segment.offset))
            .collect()
    }

    /// Bytes of the image before a segment; for the number of segments, all of them.
    pub fn start_of(&self, segment: u32) -> Bytes {
        self.segments
            .get(segment as usize)
            .map_or(self.bytes, |segment| Bytes::from(segment.offset))
    }

    /// Places a weight after all others, in a new segment when the last one would grow beyond `wanted`; returns
    /// what the last segment may grow to now.
    fn append(
        &mut self,
        id: WeightId,
        len: usize,
        mut wanted: usize,
        options: &LayoutOptions,
    ) -> usize {
        let offset = self.bytes.as_usize().next_multiple_of(options.align);
        match self.segments.last_mut() {
            Some(last) if offset + len - last.offset <= wanted => {
                last.len = offset + len - last.offset
            }
            last => {
                if last.is_some() {
                    wanted = (wanted * 2).min(options.largest.as_usize());
                }
                self.segments.push(Segment { offset, len });
            }
        }
        let segment = self.segments.len() as u32 - 1;
        self.weights[id.0 as usize] = WeightPlace { offset, len, segment };
        self.bytes = Bytes::from(offset + len);
        wanted
    }
}

impl Segment {
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len
    }
}

/// One line per segment: what it holds and where it lies.
impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} weights in {} segments, {}",
            self.weights.len(),
            self.segments.len(),
            self.bytes
        )?;
        let mut counts = vec![0; self.segments.len()];
        for weight in &self.weights {
            counts[weight.segment as usize] += 1;
        }
        for (index, (segment, count)) in self.segments.iter().zip(counts).enumerate() {
            let len = Bytes::from(segment.len).to_string();
            writeln!(f, "{index:>4}  {len:>10} at {:>12}  {count} weights", segment.offset)?;
        }
        Ok(())
    }
}

/// Weights in order of first use.
struct Order {
    seen: Vec<bool>,
    ids: Vec<WeightId>,
}

impl Order {
    fn graph(&mut self, graph: &Graph) {
        for node in &graph.nodes {
            for &value in node.inputs.iter().flatten() {
                self.value(graph, value);
            }
            for body in node.op.bodies() {
                self.graph(body);
            }
        }
        for &value in &graph.outputs {
            self.value(graph, value);
        }
    }

    fn value(&mut self, graph: &Graph, value: ValueId) {
        match graph.value(value).source {
            Source::Weight(id) => self.weight(id),
            Source::Input => {
                let input = graph.inputs.iter().find(|input| input.value == value);
                if let Some(id) = input.and_then(|input| input.default) {
                    self.weight(id);
                }
            }
            Source::Node => {}
        }
    }

    fn weight(&mut self, id: WeightId) {
        let seen = &mut self.seen[id.0 as usize];
        if !*seen {
            *seen = true;
            self.ids.push(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::Builder;
    use sublet_graph::{Literal, Op};

    fn options(first: u64, largest: u64) -> LayoutOptions {
        LayoutOptions { align: 64, first: Bytes(first), largest: Bytes(largest) }
    }

    /// A chain `x · w0 · w1 …` of weights with these many bytes each, declared in reverse.
    fn chain(bytes: &[usize]) -> Model {
        let mut model = Builder::new();
        let mut value = model.input("x", None);
        let weights: Vec<_> = bytes
            .iter()
            .rev()
            .map(|&len| model.weight(Literal::f32(&[len / 4], &vec![0.0; len / 4])))
            .collect();
        for &weight in weights.iter().rev() {
            value = model.node(Op::MatMul, &[value, weight]);
        }
        model.output(value);
        model.finish()
    }

    #[test]
    fn orders_by_first_use_and_doubles_segments() {
        let model = chain(&[64, 64, 128, 64, 320, 64, 4096, 64]);
        let layout = Layout::new(&model, options(128, 256));
        let mut lens: Vec<_> = layout.weights.iter().map(|weight| weight.len).collect();
        lens.reverse();
        assert_eq!(lens, [64, 64, 128, 64, 320, 64, 4096, 64], "declared in reverse, all kept");
        let offsets: Vec<_> = layout.weights.iter().rev().map(|weight| weight.offset).collect();
        assert!(offsets.is_sorted(), "{offsets:?}");
        let lens: Vec<_> = layout.segments.iter().map(|segment| segment.len).collect();
        assert_eq!(lens, [128, 192, 320, 64, 4096, 64]);
        assert_eq!(layout.bytes, Bytes(lens.iter().sum::<usize>() as u64));
    }

    #[test]
    fn weights_lie_inside_their_segments_and_apart() {
        let lens: Vec<usize> = (0..60).map(|i| (i * 37 % 50) * 12 + 4).collect();
        let layout = Layout::new(&chain(&lens), options(256, 1024));
        let mut end = 0;
        for weight in layout.weights.iter().rev() {
            let segment = layout.segments[weight.segment as usize].range();
            assert_eq!(weight.offset % 64, 0);
            assert!(weight.offset >= end, "overlaps the weight before");
            end = weight.offset + weight.len;
            assert!(segment.start <= weight.offset && end <= segment.end, "straddles");
        }
    }

    #[test]
    fn what_no_node_reads_comes_last() {
        let mut model = Builder::new();
        let unread = model.weight(Literal::f32(&[16], &[0.0; 16]));
        let read = model.weight(Literal::f32(&[16], &[0.0; 16]));
        let x = model.input("x", None);
        let y = model.node(Op::MatMul, &[x, read]);
        model.output(y);
        model.output(unread);
        let layout = Layout::new(&model.finish(), LayoutOptions::default());
        assert_eq!(layout.weights[1].offset, 0);
        assert_eq!(layout.weights[0].offset, 256);
        assert_eq!(layout.to_string().lines().count(), 2);
    }

    #[test]
    fn a_model_without_weights_has_no_segments() {
        let layout = Layout::new(&chain(&[]), LayoutOptions::default());
        assert_eq!((layout.segments.len(), layout.bytes), (0, Bytes::ZERO));
    }
}
