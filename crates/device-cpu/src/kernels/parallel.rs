//! Splitting a kernel's output over the threads of the current pool.
//!
//! Every element of an output is computed by one task, in an order that does not depend on how the output was
//! split: results are the same for any number of threads. Closures are called through references to `dyn Fn`, so that
//! the machinery of parallel iteration is compiled once per element type rather than once per kernel.

use rayon::prelude::*;

/// Elements of cheap work worth a task of their own.
const CHUNK: usize = 16 * 1024;

/// Calls `f(start, part)` for parts that cover `out`, with `start` the index of the part's first element.
pub fn chunks<T: Send>(out: &mut [T], f: impl Fn(usize, &mut [T]) + Sync) {
    split_chunks(out, &f);
}

/// Calls `f(row, values)` for each row of `row_len` elements. `row_work` is about how many simple operations
/// a row takes.
pub fn rows<T: Send>(
    out: &mut [T],
    row_len: usize,
    row_work: usize,
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    if !out.is_empty() && row_len > 0 {
        split(out, row_len, rows_per_task(row_work), &f);
    }
}

/// The results of `f(index)` for `0..count`, where each call takes about `work` simple operations.
pub fn tasks<R: Send>(count: usize, work: usize, f: impl Fn(usize) -> R + Sync) -> Vec<R> {
    collect(count, rows_per_task(work), &f)
}

fn split_chunks<T: Send>(out: &mut [T], f: &(dyn Fn(usize, &mut [T]) + Sync)) {
    if out.len() < 2 * CHUNK || rayon::current_num_threads() == 1 {
        f(0, out);
    } else {
        split(out, CHUNK, 1, &|index, part| f(index * CHUNK, part));
    }
}

fn split<T: Send>(
    out: &mut [T],
    len: usize,
    per_task: usize,
    f: &(dyn Fn(usize, &mut [T]) + Sync),
) {
    let call = |(index, part): (usize, &mut [T])| f(index, part);
    if out.len() / len <= per_task || rayon::current_num_threads() == 1 {
        out.chunks_mut(len).enumerate().for_each(call);
    } else {
        out.par_chunks_mut(len).with_min_len(per_task).enumerate().for_each(call);
    }
}

fn collect<R: Send>(count: usize, per_task: usize, f: &(dyn Fn(usize) -> R + Sync)) -> Vec<R> {
    if count <= per_task || rayon::current_num_threads() == 1 {
        (0..count).map(f).collect()
    } else {
        (0..count).into_par_iter().with_min_len(per_task).map(f).collect()
    }
}

fn rows_per_task(row_work: usize) -> usize {
    (CHUNK / row_work.max(1)).max(1)
}
