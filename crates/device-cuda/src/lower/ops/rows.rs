//! Softmax and normalisations: kernels over contiguous rows.

use super::ctype::{attribute, computed, stored};
use super::operands::{around, input, is_row_major, optional, output};
use super::target::{Launch, Target};
use crate::driver::LaunchShape;
use crate::lower::{LowerError, Value};
use crate::program::Argument;
use sublet_graph::{DType, shape};

/// Which function of the axis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Softmax {
    Plain,
    Logarithm,
    OneHot,
}

/// How a row's elements are divided among threads. Depends on the row alone.
struct Rows {
    lanes: usize,
    rows: usize,
    pack: usize,
    held: bool,
}

/// Elements that a thread keeps at most.
const HELD_MAX: usize = 32;

impl Rows {
    /// `size`: bytes of the largest element; `addresses`: where rows that are read in packs start.
    fn new(len: usize, size: usize, addresses: &[u64]) -> Rows {
        let lanes = match len {
            0..=512 => 32,
            513..=4096 => 128,
            4097..=8192 => 256,
            _ => 1024,
        };
        let mut pack = 16 / size;
        let aligned = |pack: usize| {
            let bytes = (pack * size) as u64;
            len.is_multiple_of(pack) && addresses.iter().all(|address| address % bytes == 0)
        };
        while pack > 1 && !aligned(pack) {
            pack /= 2;
        }
        let held = len.div_ceil(lanes * pack) * pack <= HELD_MAX;
        Rows { lanes, rows: if lanes == 32 { 4 } else { 1 }, pack, held }
    }

    fn shape(&self, rows: usize) -> Result<LaunchShape, LowerError> {
        let grid = u32::try_from(rows.div_ceil(self.rows)).ok().filter(|&grid| grid < 1 << 31);
        let grid = grid.ok_or_else(|| LowerError::unsupported("so many rows"))?;
        let block = (self.lanes * self.rows) as u32;
        Ok(LaunchShape { grid: [grid, 1, 1], block: [block, 1, 1], shared_bytes: 0 })
    }

    fn definitions(&self, dtype: DType, len: usize) -> String {
        format!(
            "\ntypedef {} T;\ntypedef {} C;\n#define LEN {len}\n#define LANES {}\n#define ROWS {}\n\
             #define PACK {}\n#define HELD {}\n{}",
            stored(dtype),
            computed(dtype),
            self.lanes,
            self.rows,
            self.pack,
            i32::from(self.held),
            include_str!("../../kernels/rows.cuh"),
        )
    }
}

/// Softmax, its logarithm, or the one-hot maximum along an axis.
pub fn softmax(
    target: &mut dyn Target,
    kind: Softmax,
    along: i64,
    inputs: &[Option<Value>],
    outputs: &[Option<Value>],
) -> Result<(), LowerError> {
    let (x, y) = (input(inputs, 0)?, output(outputs, 0)?);
    if !x.dtype.is_float() {
        return Err(LowerError::unsupported(format!("softmax of {}", x.dtype)));
    }
    let one = [1];
    let of = if x.shape.is_empty() { &one[..] } else { &x.shape[..] };
    let (outer, len, inner) = around(of, shape::axis(along, of.len().max(1))?);
    if x.elements() == 0 {
        return Ok(());
    }
    let ends = [Argument::Address(x.address), Argument::Address(y.address)];
    if inner == 1 && kind != Softmax::OneHot {
        let rows = Rows::new(len, x.dtype.size(), &[x.address, y.address]);
        let logarithm = i32::from(kind == Softmax::Logarithm);
        let definitions = rows.definitions(x.dtype, len);
        return target.launch(Launch {
            name: "softmax".into(),
            source: format!(
                "{definitions}#define LOGARITHM {logarithm}\n{}",
                include_str!("../../kernels/softmax.cu")
            ),
            entry: "softmax",
            shape: rows.shape(outer)?,
            arguments: [&ends[..], &[Argument::I64(outer as i64)]].concat(),
        });
    }
    let columns = outer * inner;
    let source = format!(
        "\ntypedef {} T;\ntypedef {} C;\n#define LEN {len}ll\n#define INNER {inner}ll\n#define KIND {}\n{}",
        stored(x.dtype),
        computed(x.dtype),
        kind as i32,
        include_str!("../../kernels/columns.cu"),
    );
    target.launch(Launch {
        name: "softmax_columns".into(),
        source,
        entry: "columns",
        shape: LaunchShape::linear(columns, 64),
        arguments: [&ends[..], &[Argument::I64(columns as i64)]].concat(),
    })
}

/// What a normalisation of rows does.
struct Normalization<'a> {
    name: &'static str,
    x: &'a Value,
    /// Added to `x` first.
    added: Option<&'a Value>,
    /// Where that sum goes as well.
    total: Option<&'a Value>,
    scale: &'a Value,
    bias: Option<&'a Value>,
    y: &'a Value,
    mean: Option<&'a Value>,
    inverse: Option<&'a Value>,
    len: usize,
    epsilon: f32,
    centred: bool,
    /// The body of `scale_at(row, at)`; `None` when each element of a row has its own scale.
    scale_at: Option<String>,
}

/// x, scale, bias (optional). Outputs: y, mean, inverse standard deviation. `total`: what `x` is the sum of, and where
/// the sum goes.
pub fn layer_norm(
    target: &mut dyn Target,
    from: i64,
    epsilon: f32,
    inputs: &[Option<Value>],
    outputs: &[Option<Value>],
    sum: Option<(&Value, Option<&Value>)>,
) -> Result<(), LowerError> {
    let x = input(inputs, 0)?;
    let len = x.shape[shape::axis(from, x.shape.len())?..].iter().product();
    let Some(y) = optional(outputs, 0) else {
        return Err(LowerError::unsupported("LayerNormalization without its first output"));
    };
    let (scale, bias) = (input(inputs, 1)?, optional(inputs, 2));
    let inner = &x.shape[shape::axis(from, x.shape.len())?..];
    normalize(
        target,
        &Normalization {
            name: "layer_norm",
            x,
            added: sum.map(|(added, _)| added),
            total: sum.and_then(|(_, total)| total),
            scale,
            bias,
            y,
            mean: optional(outputs, 1),
            inverse: optional(outputs, 2),
            len,
            epsilon,
            centred: true,
            scale_at: spread(scale, bias, inner)?,
        },
    )
}

/// x, scale.
pub fn rms_norm(
    target: &mut dyn Target,
    from: i64,
    epsilon: f32,
    inputs: &[Option<Value>],
    outputs: &[Option<Value>],
    sum: Option<(&Value, Option<&Value>)>,
) -> Result<(), LowerError> {
    let (x, scale, y) = (input(inputs, 0)?, input(inputs, 1)?, output(outputs, 0)?);
    let inner = &x.shape[shape::axis(from, x.shape.len())?..];
    normalize(
        target,
        &Normalization {
            name: "rms_norm",
            x,
            added: sum.map(|(added, _)| added),
            total: sum.and_then(|(_, total)| total),
            scale,
            bias: None,
            y,
            mean: None,
            inverse: None,
            len: inner.iter().product(),
            epsilon,
            centred: false,
            scale_at: spread(scale, None, inner)?,
        },
    )
}

/// x, scale and bias, the latter one per channel; statistics of `groups` groups of channels, `None`: of each channel.
pub fn group_norm(
    target: &mut dyn Target,
    groups: Option<usize>,
    epsilon: f32,
    inputs: &[Option<Value>],
    outputs: &[Option<Value>],
) -> Result<(), LowerError> {
    let (x, scale, bias) = (input(inputs, 0)?, input(inputs, 1)?, input(inputs, 2)?);
    let y = output(outputs, 0)?;
    let channels = x.shape.get(1).copied().unwrap_or(1);
    let plane: usize = x.shape.iter().skip(2).product();
    let groups = groups.unwrap_or(channels);
    let fits = groups > 0 && channels.is_multiple_of(groups);
    if !fits || scale.elements() != channels || bias.elements() != channels {
        return Err(LowerError::Invalid(format!("{groups} groups of {channels} channels")));
    }
    let members = channels / groups;
    let scale_at = format!("return row % {groups} * {members} + at / {};", plane.max(1));
    normalize(
        target,
        &Normalization {
            name: "group_norm",
            x,
            added: None,
            total: None,
            scale,
            bias: Some(bias),
            y,
            mean: None,
            inverse: None,
            len: members * plane,
            epsilon,
            centred: true,
            scale_at: Some(scale_at),
        },
    )
}

/// Where in a scale (and a bias of the same shape) the element stands that belongs to one of a row.
fn spread(
    scale: &Value,
    bias: Option<&Value>,
    inner: &[usize],
) -> Result<Option<String>, LowerError> {
    let len: usize = inner.iter().product();
    if scale.elements() == len && bias.is_none_or(|bias| bias.elements() == len) {
        return Ok(None);
    }
    if bias.is_some_and(|bias| bias.shape != scale.shape) {
        return Err(LowerError::unsupported("a scale and a bias of different shapes"));
    }
    let strides = super::fused::broadcast_strides(scale, inner)?;
    let mut body = String::from("i64 place = 0; ");
    for (dim, stride) in inner.iter().zip(strides).rev() {
        body.push_str(&format!("place += at % {dim} * {stride}; at /= {dim}; "));
    }
    body.push_str("return place;");
    Ok(Some(body))
}

fn normalize(target: &mut dyn Target, of: &Normalization<'_>) -> Result<(), LowerError> {
    let x = of.x;
    let every = [Some(x), of.added, of.total, Some(of.scale), of.bias, Some(of.y)];
    let float = every.iter().flatten().all(|value| value.dtype.is_float());
    let alike =
        [of.added, of.total, Some(of.y)].into_iter().flatten().all(|value| value.dtype == x.dtype);
    let dense = every.iter().flatten().all(|value| is_row_major(value));
    if !float || !alike || !dense {
        return Err(LowerError::unsupported(format!("{} of {}", of.name, x.dtype)));
    }
    if x.elements() == 0 {
        return Ok(());
    }
    let rows_count = x.elements() / of.len;
    let by_element = of.scale_at.is_none();
    let mut addresses: Vec<u64> =
        [Some(x), of.added, of.total, Some(of.y)].iter().flatten().map(|v| v.address).collect();
    let mut size = x.dtype.size();
    if by_element {
        for value in [Some(of.scale), of.bias].into_iter().flatten() {
            addresses.push(value.address);
            size = size.max(value.dtype.size());
        }
    }
    let rows = Rows::new(of.len, size, &addresses);
    if of.added.is_some() && !rows.held {
        return Err(LowerError::unsupported(format!("a sum with rows of {}", of.len)));
    }
    let flag = |name: &str, on: bool| format!("#define {name} {}\n", i32::from(on));
    let source = [
        rows.definitions(x.dtype, of.len),
        format!("typedef {} S;\n", stored(of.scale.dtype)),
        format!("typedef {} B;\n", stored(of.bias.map_or(x.dtype, |bias| bias.dtype))),
        format!("typedef {} M;\n", stored(of.mean.or(of.inverse).map_or(x.dtype, |m| m.dtype))),
        format!("#define EPSILON {}\n", attribute(of.epsilon, x.dtype)),
        flag("CENTRED", of.centred),
        flag("ADDED", of.added.is_some()),
        flag("SUM", of.total.is_some()),
        flag("BIAS", of.bias.is_some()),
        flag("MEAN", of.mean.is_some()),
        flag("INVERSE", of.inverse.is_some()),
        flag("BY_ELEMENT", by_element),
        format!(
            "static INLINE i64 scale_at(i64 row, i64 at) {{ {} }}\n",
            of.scale_at.as_deref().unwrap_or("return at;")
        ),
        include_str!("../../kernels/normalize.cu").to_owned(),
    ]
    .concat();
    let pointer = |value: Option<&Value>| Argument::Address(value.map_or(0, |v| v.address));
    target.launch(Launch {
        name: of.name.into(),
        source,
        entry: "normalize",
        shape: rows.shape(rows_count)?,
        arguments: vec![
            pointer(Some(x)),
            pointer(of.added),
            pointer(of.total),
            pointer(Some(of.scale)),
            pointer(of.bias),
            pointer(Some(of.y)),
            pointer(of.mean),
            pointer(of.inverse),
            Argument::I64(rows_count as i64),
        ],
    })
}
