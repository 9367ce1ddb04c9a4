//! Which elements of a dense tensor belong to which output of a reduction.

/// A tensor seen as kept and reduced axes.
///
/// Outputs are numbered in row-major order. Output `o` combines the elements at `base(o) + offset + r` for each offset
/// and, when the last axis is reduced, each `r < run`.
pub struct Layout {
    /// Kept axes before the last reduced one: length and stride, outermost first.
    outer: Vec<(usize, usize)>,
    /// Outputs that lie side by side in the input; 1 when the last axis is reduced.
    pub inner: usize,
    /// Contiguous reduced elements; 1 when the last axis is kept.
    pub run: usize,
    /// Where the runs of one output start, in increasing order.
    pub offsets: Vec<usize>,
}

impl Layout {
    pub fn new(shape: &[usize], reduced: &[usize]) -> Self {
        let mut outer = Vec::new();
        let mut folded: Vec<(usize, usize)> = Vec::new();
        let (mut inner, mut run, mut stride) = (1, 1, 1);
        for axis in (0..shape.len()).rev() {
            let len = shape[axis];
            match reduced.contains(&axis) {
                _ if len == 1 => {}
                true if stride == run && inner == 1 => run *= len,
                true => folded.push((len, stride)),
                false if stride == inner && run == 1 => inner *= len,
                false => outer.push((len, stride)),
            }
            stride *= len;
        }
        outer.reverse();
        let mut offsets = vec![0];
        for &(len, stride) in &folded {
            offsets = (0..len)
                .flat_map(|index| offsets.iter().map(move |offset| index * stride + offset))
                .collect();
        }
        Layout { outer, inner, run, offsets }
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.outer.iter().map(|(len, _)| len).product::<usize>() * self.inner
    }

    /// Number of elements that one output combines.
    pub fn reduced_len(&self) -> usize {
        self.offsets.len() * self.run
    }

    /// Where the first element of an output lies.
    pub fn base(&self, output: usize) -> usize {
        if let [(_, stride)] = self.outer[..] {
            return output / self.inner * stride + output % self.inner;
        }
        let mut rest = output / self.inner;
        let mut base = output % self.inner;
        for &(len, stride) in self.outer.iter().rev() {
            base += rest % len * stride;
            rest /= len;
        }
        base
    }

    /// Calls `visit(output, input)` for each input element.
    pub fn for_each_output(&self, mut visit: impl FnMut(usize, usize)) {
        for output in 0..self.outputs() {
            let base = self.base(output);
            for offset in &self.offsets {
                (0..self.run).for_each(|index| visit(output, base + offset + index));
            }
        }
    }
}
