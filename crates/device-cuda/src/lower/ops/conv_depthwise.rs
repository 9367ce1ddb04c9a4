//! Convolutions whose every filter sees one channel: a kernel of our own, measured against the library's engines.

use super::ctype::{computed, stored};
use super::elementwise::activation;
use super::target::Launch;
use crate::dnn::{Convolution, Direction};
use crate::driver::{Address, LaunchShape};
use crate::program::Argument;
use serde::{Deserialize, Serialize};
use sublet_graph::{Activation, DType};

/// Such a convolution with its epilogue.
pub struct Depthwise<'a> {
    convolution: &'a Convolution,
    channels_last: bool,
    activation: Activation,
    /// `[images, channels of the result, its height, its width]`.
    result: [usize; 4],
    channels: usize,
}

/// What one thread takes: neighbours along a row of the result, and neighbouring channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepthwiseChoice {
    columns: usize,
    lane: usize,
}

/// Threads of a block, as the kernel has it.
const THREADS: usize = 128;
/// Threads side by side along the channels, where those are last.
const LANES: usize = 8;
/// More elements of a filter than this would not be kept in registers.
const TAPS_MAX: usize = 81;

impl<'a> Depthwise<'a> {
    /// `None` when it is something else, or more than the kernel does.
    pub fn new(
        convolution: &'a Convolution,
        group: usize,
        channels_last: bool,
        activation: Activation,
    ) -> Option<Depthwise<'a>> {
        let c = convolution;
        let sizes = |of: &[i64]| -> Option<[usize; 4]> {
            let of: Vec<usize> = of.iter().map(|&size| size as usize).collect();
            of.try_into().ok()
        };
        let (x, w, result) = (sizes(&c.x.sizes)?, sizes(&c.w.sizes)?, sizes(&c.y.sizes)?);
        let suits = c.direction == Direction::Forward
            && c.dtype != DType::F64
            && group > 1
            && x[1] == group
            && w[1] == 1
            && w[2] * w[3] <= TAPS_MAX
            && (!channels_last || result[1] == group);
        let channels = x[1];
        suits.then_some(Depthwise { convolution, channels_last, activation, result, channels })
    }

    /// Ways to divide the work, for large results first.
    pub fn choices(&self) -> Vec<DepthwiseChoice> {
        let columns = [4, 2, 1].into_iter();
        let columns = columns.filter(|&columns| columns == 1 || columns < self.result[3] * 2);
        let widest = if self.channels_last { 16 / self.convolution.dtype.size() } else { 1 };
        let mut lanes = vec![widest];
        if widest > 4 {
            lanes.push(widest / 2);
        }
        let c = self.convolution;
        lanes.retain(|lane| {
            self.result[1].is_multiple_of(*lane) && lane * c.dtype.size() <= c.alignment
        });
        if lanes.is_empty() {
            lanes.push(1);
        }
        columns
            .flat_map(|columns| {
                lanes.iter().map(move |&lane| DepthwiseChoice { columns, lane }).collect::<Vec<_>>()
            })
            .collect()
    }

    /// The kernel. Operands: x, w, y, then bias and residual.
    pub fn launch(
        &self,
        choice: DepthwiseChoice,
        [x, w, y]: [Address; 3],
        bias: Option<Address>,
        residual: Option<Address>,
    ) -> Launch {
        let DepthwiseChoice { columns, lane } = choice;
        let [images, channels, height, width] = self.result;
        let strips = width.div_ceil(columns) * height * images;
        let (strips, grid) = if self.channels_last {
            let blocks = strips.div_ceil(THREADS / LANES);
            (strips, [blocks, channels.div_ceil(LANES * lane)])
        } else {
            (strips * channels, [(strips * channels).div_ceil(THREADS), 1])
        };
        let [x_blocks, y_blocks] = grid.map(|blocks| blocks as u32);
        Launch {
            name: format!(
                "depthwise conv {images}x{channels}x{height}x{width} {}",
                self.convolution.dtype.wire_name()
            ),
            source: self.source(choice, bias.is_some(), residual.is_some()),
            entry: "depthwise",
            shape: LaunchShape {
                grid: [x_blocks, y_blocks, 1],
                block: [THREADS as u32, 1, 1],
                shared_bytes: 0,
            },
            arguments: vec![
                Argument::Address(x),
                Argument::Address(w),
                Argument::Address(bias.unwrap_or(0)),
                Argument::Address(residual.unwrap_or(0)),
                Argument::Address(y),
                Argument::I64(strips as i64),
            ],
        }
    }

    fn source(&self, choice: DepthwiseChoice, bias: bool, residual: bool) -> String {
        let c = self.convolution;
        let [_, channels, height, width] = self.result;
        let DepthwiseChoice { columns, lane } = choice;
        let of = computed(c.dtype);
        let numbers = [
            ("CHANNELS", channels as i64),
            ("MULTIPLE", (channels / self.channels) as i64),
            ("IH", c.x.sizes[2]),
            ("IW", c.x.sizes[3]),
            ("OH", height as i64),
            ("OW", width as i64),
            ("R", c.w.sizes[2]),
            ("S", c.w.sizes[3]),
            ("SH", c.strides[0]),
            ("SW", c.strides[1]),
            ("DH", c.dilations[0]),
            ("DW", c.dilations[1]),
            ("PH", c.pad_begin[0]),
            ("PW", c.pad_begin[1]),
            ("COLUMNS", columns as i64),
            ("LANE", lane as i64),
            ("BLOCK_CHANNELS", (LANES * lane) as i64),
            ("LAST", i64::from(self.channels_last)),
            ("BIAS", i64::from(bias)),
            ("RESIDUAL", i64::from(residual)),
        ];
        let mut source = format!("\ntypedef {} T;\ntypedef {of} C;\n", stored(c.dtype));
        for (name, value) in numbers {
            source.push_str(&format!("#define {name} {value}\n"));
        }
        let value = activation(self.activation, "value");
        source.push_str(&format!("static INLINE C activate(C value) {{ return {value}; }}\n"));
        source.push_str(include_str!("../../kernels/depthwise.cu"));
        source
    }
}
