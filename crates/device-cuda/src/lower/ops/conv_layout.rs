//! Values brought into channels-last order, perhaps with channels of zeros added: tensor cores want eight at least.

use super::ctype::{bits, stored};
use super::target::Launch;
use crate::driver::{Address, LaunchShape};
use crate::lower::{Order, Value};
use crate::program::Argument;

/// A value of `[images, channels, positions…]` that is copied to channels-last order.
#[derive(Clone, Debug)]
pub struct ToChannelsLast {
    from: Value,
    /// Channels of the result; those behind the value's own are zeros.
    channels: usize,
}

/// Elements of a block's tile, at most.
const TILE: usize = 2048;
const THREADS: u32 = 256;

impl ToChannelsLast {
    /// `None` where the value lies so already. `channels`: those that the result has.
    pub fn of(from: &Value, channels: usize) -> Option<ToChannelsLast> {
        let wanted = Value { order: Order::ChannelsLast, ..from.clone() };
        // Axes of one element have no order.
        let steps = |value: &Value| -> Vec<usize> {
            let steps = value.strides().into_iter().zip(&value.shape);
            steps.filter(|(_, size)| **size != 1).map(|(step, _)| step).collect()
        };
        let same = steps(&wanted) == steps(from) && channels == from.shape[1];
        (!same).then(|| ToChannelsLast { from: from.clone(), channels })
    }

    pub fn shape(&self) -> Vec<usize> {
        let mut shape = self.from.shape.clone();
        shape[1] = self.channels;
        shape
    }

    pub fn bytes(&self) -> usize {
        self.shape().iter().product::<usize>() * self.from.dtype.size()
    }

    /// The result at an address.
    pub fn at(&self, address: Address) -> Value {
        let shape = self.shape();
        Value { shape, order: Order::ChannelsLast, address, known: None, ..self.from.clone() }
    }

    /// The kernel; `None` for more images than a grid has.
    pub fn launch(&self, from: Address, to: Address) -> Option<Launch> {
        let shape = &self.from.shape;
        let steps = self.from.strides();
        let positions: usize = shape[2..].iter().product();
        // Positions lie in one row, in either order.
        let position_step = if self.from.order == Order::RowMajor { 1 } else { shape[1] };
        let tile_channels = self.channels.next_power_of_two().min(64);
        let tile_positions = positions.min(TILE / tile_channels).max(1);
        let images = u32::try_from(shape[0]).ok().filter(|&images| images < 65_536)?;
        let source = format!(
            "\ntypedef {} T;\n#define CHANNELS {}\n#define WIDE {}\n#define POSITIONS {positions}ll\n\
             #define IMAGE_STEP {}ll\n#define CHANNEL_STEP {}ll\n#define POSITION_STEP {position_step}ll\n\
             #define TILE_CHANNELS {tile_channels}\n#define TILE_POSITIONS {tile_positions}\n{}",
            stored(bits(self.from.dtype)),
            shape[1],
            self.channels,
            steps[0],
            steps[1],
            include_str!("../../kernels/channels_last.cu"),
        );
        let blocks = [positions.div_ceil(tile_positions), self.channels.div_ceil(tile_channels)];
        Some(Launch {
            name: format!("channels last {}x{positions}", self.channels),
            source,
            entry: "channels_last",
            shape: LaunchShape {
                grid: [blocks[0] as u32, blocks[1] as u32, images],
                block: [THREADS, 1, 1],
                shared_bytes: 0,
            },
            arguments: vec![Argument::Address(from), Argument::Address(to)],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sublet_graph::DType;

    fn value(shape: &[usize], order: Order) -> Value {
        Value { dtype: DType::F16, shape: shape.to_vec(), order, address: 0, known: None }
    }

    #[test]
    fn what_lies_so_already_is_not_copied() {
        let copied = |shape: &[usize], order, channels| {
            ToChannelsLast::of(&value(shape, order), channels).is_some()
        };
        assert!(copied(&[2, 8, 3, 3], Order::RowMajor, 8));
        assert!(!copied(&[2, 8, 3, 3], Order::ChannelsLast, 8));
        // Single positions and single channels have no order.
        assert!(!copied(&[2, 8, 1, 1], Order::RowMajor, 8));
        assert!(!copied(&[8, 1, 3, 3], Order::RowMajor, 1));
        assert!(copied(&[2, 3, 5, 5], Order::ChannelsLast, 8));
        let wide = ToChannelsLast::of(&value(&[2, 3, 5, 5], Order::RowMajor), 8).unwrap();
        assert_eq!((wide.shape(), wide.bytes()), (vec![2, 8, 5, 5], 2 * 8 * 25 * 2));
    }
}
